-- A program that does not know cancelled prices would put them in force.
DELETE FROM prices WHERE cancelled_at IS NOT NULL;
ALTER TABLE prices DROP COLUMN cancelled_at;
