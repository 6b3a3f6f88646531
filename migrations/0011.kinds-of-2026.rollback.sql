-- The rows keep their costs: those of the older program's tokens do not add up to them where something else was charged.
CREATE OR REPLACE FUNCTION rebuild_usage_daily() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE usage_daily IN EXCLUSIVE MODE;
    DELETE FROM usage_daily;
    INSERT INTO usage_daily
    SELECT (started_at AT TIME ZONE (SELECT value FROM settings WHERE name = 'time_zone'))::date,
           user_id, token_id, model, endpoint,
           count(*) FILTER (WHERE state <> 'correction'),
           count(*) FILTER (WHERE state NOT IN ('done', 'correction', 'imported')),
           coalesce(sum(input_tokens), 0), coalesce(sum(cached_tokens), 0), coalesce(sum(cache_write_tokens),
           0), coalesce(sum(audio_input_tokens), 0), coalesce(sum(image_input_tokens), 0),
           coalesce(sum(output_tokens), 0), coalesce(sum(reasoning_tokens), 0),
           coalesce(sum(audio_output_tokens), 0), coalesce(sum(image_output_tokens), 0), sum(cost), sum(uncertain_cost)
    FROM usage GROUP BY 1, 2, 3, 4, 5;
END
$$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION rebuild_usage_daily() SET search_path = %I, pg_temp', current_schema());
END
$$;
ALTER TABLE agents DROP COLUMN unknown_usage_fields;
DROP TABLE model_dates;
DROP TABLE surcharges;
ALTER TABLE users DROP COLUMN standard_tier_only;
-- A price of time alone would make recordings free: it ends, and the rows that it charged keep it.
INSERT INTO prices (model, effective_at, created_at)
SELECT DISTINCT model, now(), now() FROM prices WHERE minute IS NOT NULL;
ALTER TABLE prices DROP COLUMN cached_audio, DROP COLUMN cached_image, DROP COLUMN cache_write_12h, DROP COLUMN minute;
ALTER TABLE usage_daily
    DROP COLUMN cached_audio_tokens,
    DROP COLUMN cached_image_tokens,
    DROP COLUMN cache_write_12h_tokens,
    DROP COLUMN image_tool_input_tokens,
    DROP COLUMN image_tool_cached_image_tokens,
    DROP COLUMN image_tool_cached_tokens,
    DROP COLUMN image_tool_image_input_tokens,
    DROP COLUMN image_tool_output_tokens,
    DROP COLUMN image_tool_image_output_tokens,
    DROP COLUMN web_search_calls,
    DROP COLUMN file_search_calls,
    DROP COLUMN code_interpreter_sessions,
    DROP COLUMN seconds;

-- Rows of free endpoints have no price, which the older program knows of imported rows alone.
ALTER TABLE usage DISABLE TRIGGER usage_is_final;
UPDATE usage SET price_id = 0, state = 'imported' WHERE price_id IS NULL;
ALTER TABLE usage ENABLE TRIGGER usage_is_final;
ALTER TABLE usage ALTER COLUMN price_id SET NOT NULL;
ALTER TABLE usage
    DROP COLUMN cached_audio_tokens,
    DROP COLUMN cached_image_tokens,
    DROP COLUMN cache_write_12h_tokens,
    DROP COLUMN image_tool_input_tokens,
    DROP COLUMN image_tool_cached_image_tokens,
    DROP COLUMN image_tool_cached_tokens,
    DROP COLUMN image_tool_image_input_tokens,
    DROP COLUMN image_tool_output_tokens,
    DROP COLUMN image_tool_image_output_tokens,
    DROP COLUMN web_search_calls,
    DROP COLUMN file_search_calls,
    DROP COLUMN code_interpreter_sessions,
    DROP COLUMN seconds,
    DROP COLUMN image_price_id,
    DROP COLUMN surcharge_ids,
    DROP COLUMN uncertain_reason;
DO $$
BEGIN
    IF EXISTS (SELECT FROM usage WHERE state = 'imported' AND price_id = 0) THEN
        PERFORM rebuild_usage_daily();
    END IF;
END
$$;
