DROP INDEX usage_refused_key;
DROP INDEX usage_model;
DROP INDEX usage_started;
DROP TABLE reconciled_days;
DROP TABLE ledger_checks;
ALTER TABLE agents DROP COLUMN unpriced_models, DROP COLUMN in_progress, DROP COLUMN version;
DROP FUNCTION rebuild_usage_latency();
DROP TABLE usage_latency;
