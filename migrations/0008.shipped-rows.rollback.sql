DROP TABLE ledger;
ALTER TABLE agents DROP COLUMN ended_at, DROP COLUMN lost_rows, DROP COLUMN shipped_rows;
