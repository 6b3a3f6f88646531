-- A page of the rows of a model and an endpoint that it was hardly used with read all rows of the model. The index has the
-- endpoint behind the time: rows of other endpoints are passed over in the index, and the order stays that of time.
CREATE INDEX usage_model_endpoint ON usage (model, started_at, endpoint);
DROP INDEX usage_model;
-- Rows that are not done are counted without reading them: `ledger status` does so for the whole ledger.
CREATE INDEX usage_not_done ON usage (state, started_at) INCLUDE (cost) WHERE state <> 'done';
DROP INDEX usage_state;
