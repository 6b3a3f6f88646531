-- Months of `usage` can be archived: their rows are in a file, and their sums stay. Rows of such a month are not added any
-- more: the database could not tell which of them it has had.

CREATE TABLE archived_months (
    month          date PRIMARY KEY CHECK (month = date_trunc('month', month::timestamp)::date),   -- in UTC
    file           text NOT NULL,
    sha256         text NOT NULL CHECK (length(sha256) = 64),   -- of the file
    bytes          bigint NOT NULL,
    rows           bigint NOT NULL,
    requests       bigint NOT NULL,      -- the rows without corrections
    cost           numeric NOT NULL,
    uncertain_cost numeric NOT NULL,
    counts         jsonb NOT NULL,       -- sums of tokens, calls and seconds, by column; numbers are texts
    time_zone      text NOT NULL,        -- whose days the sums below have, also after another one was set
    archived_at    timestamptz NOT NULL,
    archived_by    text NOT NULL
);
CREATE TRIGGER archived_months_audit AFTER INSERT OR UPDATE OR DELETE ON archived_months
    FOR EACH ROW EXECUTE FUNCTION audit_change();

-- What the rows of an archived month have added to the daily sums, and to the counts of durations. A migration that adds
-- a column to `usage_daily` adds it here, too.
CREATE TABLE archived_daily (
    month date NOT NULL,
    LIKE usage_daily INCLUDING DEFAULTS,
    PRIMARY KEY (month, day, user_id, token_id, model, endpoint)
);
CREATE TABLE archived_latency (
    month date NOT NULL,
    LIKE usage_latency,
    PRIMARY KEY (month, day, model, measure, bucket)
);

CREATE OR REPLACE FUNCTION rebuild_usage_daily() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE usage_daily IN EXCLUSIVE MODE;
    DELETE FROM usage_daily;
    INSERT INTO usage_daily (
        day, user_id, token_id, model, endpoint, requests, not_done, input_tokens, cached_tokens, cache_write_tokens,
        audio_input_tokens, image_input_tokens, output_tokens, reasoning_tokens, audio_output_tokens,
        image_output_tokens, cached_audio_tokens, cached_image_tokens, cache_write_12h_tokens,
        image_tool_input_tokens, image_tool_cached_image_tokens, image_tool_cached_tokens,
        image_tool_image_input_tokens, image_tool_output_tokens, image_tool_image_output_tokens, web_search_calls,
        file_search_calls, code_interpreter_sessions, seconds, cost, uncertain_cost
    )
    SELECT day, user_id, token_id, model, endpoint,
           sum(requests), sum(not_done), sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens),
           sum(audio_input_tokens), sum(image_input_tokens), sum(output_tokens), sum(reasoning_tokens),
           sum(audio_output_tokens), sum(image_output_tokens), sum(cached_audio_tokens), sum(cached_image_tokens),
           sum(cache_write_12h_tokens), sum(image_tool_input_tokens), sum(image_tool_cached_image_tokens),
           sum(image_tool_cached_tokens), sum(image_tool_image_input_tokens), sum(image_tool_output_tokens),
           sum(image_tool_image_output_tokens), sum(web_search_calls), sum(file_search_calls),
           sum(code_interpreter_sessions), sum(seconds), sum(cost), sum(uncertain_cost)
    FROM (
        SELECT day, user_id, token_id, model, endpoint, requests, not_done, input_tokens, cached_tokens, cache_write_tokens,
               audio_input_tokens, image_input_tokens, output_tokens, reasoning_tokens, audio_output_tokens,
               image_output_tokens, cached_audio_tokens, cached_image_tokens, cache_write_12h_tokens,
               image_tool_input_tokens, image_tool_cached_image_tokens, image_tool_cached_tokens,
               image_tool_image_input_tokens, image_tool_output_tokens, image_tool_image_output_tokens, web_search_calls,
               file_search_calls, code_interpreter_sessions, seconds, cost, uncertain_cost
        FROM archived_daily
        UNION ALL
        SELECT (started_at AT TIME ZONE (SELECT value FROM settings WHERE name = 'time_zone'))::date,
               user_id, token_id, model, endpoint,
               count(*) FILTER (WHERE state <> 'correction'),
               count(*) FILTER (WHERE state NOT IN ('done', 'correction', 'imported')),
               coalesce(sum(input_tokens), 0), coalesce(sum(cached_tokens), 0), coalesce(sum(cache_write_tokens),
               0), coalesce(sum(audio_input_tokens), 0), coalesce(sum(image_input_tokens), 0),
               coalesce(sum(output_tokens), 0), coalesce(sum(reasoning_tokens), 0),
               coalesce(sum(audio_output_tokens), 0), coalesce(sum(image_output_tokens), 0),
               coalesce(sum(cached_audio_tokens), 0), coalesce(sum(cached_image_tokens), 0),
               coalesce(sum(cache_write_12h_tokens), 0), coalesce(sum(image_tool_input_tokens), 0),
               coalesce(sum(image_tool_cached_image_tokens), 0), coalesce(sum(image_tool_cached_tokens), 0),
               coalesce(sum(image_tool_image_input_tokens), 0), coalesce(sum(image_tool_output_tokens), 0),
               coalesce(sum(image_tool_image_output_tokens), 0), coalesce(sum(web_search_calls), 0),
               coalesce(sum(file_search_calls), 0), coalesce(sum(code_interpreter_sessions), 0),
               coalesce(sum(seconds), 0),
               sum(cost), sum(uncertain_cost)
        FROM usage GROUP BY 1, 2, 3, 4, 5
    ) s GROUP BY 1, 2, 3, 4, 5;
END
$$;

CREATE OR REPLACE FUNCTION rebuild_usage_latency() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE usage_latency IN EXCLUSIVE MODE;
    DELETE FROM usage_latency;
    INSERT INTO usage_latency (day, model, measure, bucket, requests)
    SELECT day, model, measure, bucket, sum(requests) FROM (
        SELECT day, model, measure, bucket, requests FROM archived_latency
        UNION ALL
        SELECT (started_at AT TIME ZONE (SELECT value FROM settings WHERE name = 'time_zone'))::date, model, measure,
               floor(16 * log(greatest(milliseconds, 1)::double precision))::smallint, count(*)
        FROM usage,
             LATERAL (VALUES ('duration', duration_ms), ('first_byte', first_byte_ms)) AS m (measure, milliseconds)
        WHERE state = 'done' AND milliseconds IS NOT NULL
        GROUP BY 1, 2, 3, 4
    ) s GROUP BY 1, 2, 3, 4;
END
$$;

-- Makes the partition of a month (UTC) where there is none, unless the month is archived.
CREATE OR REPLACE FUNCTION ensure_usage_partition(moment timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first timestamp := date_trunc('month', moment AT TIME ZONE 'UTC');
    name  text := 'usage_' || to_char(first, 'YYYY_MM');
BEGIN
    IF to_regclass(name) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('ensure_usage_partition'));
        IF EXISTS (SELECT FROM archived_months WHERE month = first::date) THEN
            RAISE EXCEPTION 'the rows of % are archived', to_char(first, 'YYYY-MM')
                USING ERRCODE = 'restrict_violation';
        END IF;
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF usage FOR VALUES FROM (%L) TO (%L)',
                       name, first AT TIME ZONE 'UTC', (first + interval '1 month') AT TIME ZONE 'UTC');
    END IF;
END
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'rebuild_usage_daily()', 'rebuild_usage_latency()', 'ensure_usage_partition(timestamptz)'
    ] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
    END LOOP;
END
$$;
