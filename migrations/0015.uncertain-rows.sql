-- The rows of a month whose cost is not certain: without an index they would be searched for in all rows of the month.
CREATE INDEX usage_uncertain ON usage (started_at) WHERE uncertain_cost <> 0 OR uncertain_reason IS NOT NULL;
