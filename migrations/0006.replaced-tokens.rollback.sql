DROP INDEX tokens_replaced_by;
ALTER TABLE tokens DROP COLUMN replaced_by;
