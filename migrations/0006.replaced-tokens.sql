-- Which token a rotation has made to replace this one. No foreign key: it would be circular, which breaks
-- pg_restore --data-only, and tokens are never deleted.
ALTER TABLE tokens ADD COLUMN IF NOT EXISTS replaced_by bigint;
CREATE UNIQUE INDEX IF NOT EXISTS tokens_replaced_by ON tokens (replaced_by) WHERE replaced_by IS NOT NULL;
