-- The older program knows no expiry, networks, models, limits, budgets and removed users: a token that would be accepted
-- more widely without them is revoked, a removed user is disabled.
UPDATE tokens t SET revoked_at = now() FROM users u
WHERE u.id = t.user_id AND t.revoked_at IS NULL
  AND (num_nonnulls(t.expires_at, t.allowed_models, t.allowed_networks, t.rpm, t.tpm, t.concurrency,
                    u.removed_at, u.allowed_models, u.rpm, u.tpm, u.concurrency) > 0
       OR EXISTS (SELECT FROM budgets b WHERE b.amount IS NOT NULL AND (b.user_id = u.id OR b.token_id = t.id)));
UPDATE users SET disabled_at = removed_at WHERE removed_at IS NOT NULL AND disabled_at IS NULL;
DROP TRIGGER audit_is_final ON audit_log;
DROP FUNCTION audit_is_final();
DROP TRIGGER users_audit ON users;
DROP TRIGGER tokens_audit ON tokens;
DROP TRIGGER prices_audit ON prices;
DROP TRIGGER usage_audit ON usage;
DROP TABLE budgets;
DROP TABLE admins;
DROP FUNCTION audit_change();
DROP TABLE audit_log;
DROP TABLE budget_alerts;
DROP TABLE reservations;
DROP TABLE token_uses;
DROP FUNCTION rebuild_usage_daily();
DROP TABLE usage_daily;
DROP INDEX usage_token;
ALTER TABLE usage DISABLE TRIGGER usage_is_final;
DELETE FROM usage WHERE state = 'imported';
ALTER TABLE usage ENABLE TRIGGER usage_is_final;
ALTER TABLE usage DROP CONSTRAINT usage_state_check;
ALTER TABLE usage ADD CONSTRAINT usage_state_check CHECK (state IN
    ('done', 'usage_unknown', 'upstream_error', 'incomplete', 'not_sent', 'unknown', 'correction'));
ALTER TABLE usage DROP COLUMN service_tier, DROP COLUMN cache_write_tokens, DROP COLUMN audio_input_tokens,
    DROP COLUMN image_input_tokens, DROP COLUMN audio_output_tokens, DROP COLUMN image_output_tokens,
    DROP COLUMN reserved;
CREATE TABLE usage_daily (
    day              date NOT NULL,
    user_id          bigint NOT NULL,
    model            text NOT NULL,
    requests         bigint NOT NULL,
    not_done         bigint NOT NULL,
    input_tokens     bigint NOT NULL,
    cached_tokens    bigint NOT NULL,
    output_tokens    bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost             numeric NOT NULL,
    PRIMARY KEY (day, user_id, model)
);
INSERT INTO usage_daily
SELECT (started_at AT TIME ZONE 'UTC')::date, user_id, model, count(*) FILTER (WHERE state <> 'correction'),
       count(*) FILTER (WHERE state NOT IN ('done', 'correction')),
       coalesce(sum(input_tokens), 0), coalesce(sum(cached_tokens), 0),
       coalesce(sum(output_tokens), 0), coalesce(sum(reasoning_tokens), 0), sum(cost)
FROM usage GROUP BY 1, 2, 3;
ALTER TABLE prices DROP COLUMN tiers, DROP COLUMN cache_write, DROP COLUMN audio_input, DROP COLUMN audio_output,
    DROP COLUMN image_input, DROP COLUMN image_output;
ALTER TABLE tokens DROP COLUMN expires_at, DROP COLUMN allowed_models, DROP COLUMN allowed_networks,
    DROP COLUMN rpm, DROP COLUMN tpm, DROP COLUMN concurrency;
ALTER TABLE users DROP COLUMN comment, DROP COLUMN allowed_models, DROP COLUMN removed_at,
    DROP COLUMN rpm, DROP COLUMN tpm, DROP COLUMN concurrency;
DELETE FROM settings WHERE name = 'time_zone';
