DROP TABLE agents;
DROP TABLE dead_letters;
DROP TRIGGER usage_is_final ON usage;
DROP FUNCTION usage_is_final();
DROP INDEX usage_state;
DROP INDEX usage_corrects;
ALTER TABLE usage DROP CONSTRAINT usage_correction_check;
ALTER TABLE usage DROP CONSTRAINT usage_state_check;
DELETE FROM usage WHERE state = 'correction';
DELETE FROM usage_daily;
INSERT INTO usage_daily
SELECT (started_at AT TIME ZONE 'UTC')::date, user_id, model, count(*), count(*) FILTER (WHERE state <> 'done'),
       coalesce(sum(input_tokens), 0), coalesce(sum(cached_tokens), 0),
       coalesce(sum(output_tokens), 0), coalesce(sum(reasoning_tokens), 0), sum(cost)
FROM usage GROUP BY 1, 2, 3;
ALTER TABLE usage ADD CONSTRAINT usage_state_check CHECK (state IN
    ('done', 'usage_unknown', 'upstream_error', 'incomplete', 'not_sent', 'unknown'));
ALTER TABLE usage DROP COLUMN reason;
ALTER TABLE usage DROP COLUMN corrects;
