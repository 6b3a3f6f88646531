-- How many rows of an agent's outbox the ledger has: written together with the rows, so that a server which takes over
-- without the last of them says so.
ALTER TABLE agents ADD COLUMN shipped_rows bigint NOT NULL DEFAULT 0;
-- Rows that a server lost after it had confirmed them, and that the outbox no longer had.
ALTER TABLE agents ADD COLUMN lost_rows bigint NOT NULL DEFAULT 0;
-- When the agent stopped in good order; NULL: it runs, or has died.
ALTER TABLE agents ADD COLUMN ended_at timestamptz;

-- The id of this ledger, which copies and restored backups share: made from the time when its first table was created,
-- so that a backup from before this migration gets the same id.
CREATE TABLE ledger (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id  text NOT NULL
);
INSERT INTO ledger (id)
SELECT md5(coalesce(min(applied_at_utc)::text, clock_timestamp()::text || random()::text)) FROM _yoyo_migration;
