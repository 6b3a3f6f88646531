CREATE INDEX usage_state ON usage (state, started_at) WHERE state <> 'done';
DROP INDEX usage_not_done;
CREATE INDEX usage_model ON usage (model, started_at);
DROP INDEX usage_model_endpoint;
