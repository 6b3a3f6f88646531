-- A row of usage is final: what turns out to be wrong is corrected by another row, with its reason.

ALTER TABLE usage ADD COLUMN corrects uuid;       -- the row that this one corrects; tokens and cost are then differences
ALTER TABLE usage ADD COLUMN reason text;
ALTER TABLE usage DROP CONSTRAINT usage_state_check;
ALTER TABLE usage ADD CONSTRAINT usage_state_check CHECK (state IN
    ('done', 'usage_unknown', 'upstream_error', 'incomplete', 'not_sent', 'unknown', 'correction'));
ALTER TABLE usage ADD CONSTRAINT usage_correction_check CHECK
    ((state = 'correction') = (corrects IS NOT NULL) AND (state = 'correction') = (reason IS NOT NULL));
-- A correction has the started_at of the row that it corrects, so that this also means: once.
CREATE UNIQUE INDEX usage_corrects ON usage (corrects, started_at) WHERE corrects IS NOT NULL;
CREATE INDEX usage_state ON usage (state, started_at) WHERE state <> 'done';

CREATE FUNCTION usage_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a row of usage is final: it is corrected by another row'
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER usage_is_final BEFORE UPDATE OR DELETE ON usage FOR EACH ROW EXECUTE FUNCTION usage_is_final();

-- Rows that PostgreSQL refused for what is in them. They block nothing, and are not lost.
CREATE TABLE dead_letters (
    request_id uuid PRIMARY KEY,
    record     text NOT NULL,             -- the row as the outbox had it, in JSON
    error      text NOT NULL,
    buried_at  timestamptz NOT NULL
);

-- What each agent last said of itself.
CREATE TABLE agents (
    id              uuid PRIMARY KEY,     -- of its outbox
    seen_at         timestamptz NOT NULL,
    last_shipped_at timestamptz,
    waiting         bigint NOT NULL,      -- rows in its outbox
    oldest_at       timestamptz           -- when the oldest of them began
);
