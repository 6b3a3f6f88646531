-- The rows of a month whose cost is not certain: without an index they would be searched for in all rows of the month.
-- It has all that is asked of them, so that the rows themselves are not read.
CREATE INDEX usage_uncertain ON usage (started_at)
    INCLUDE (request_id, corrects, state, uncertain_reason, uncertain_cost)
    WHERE uncertain_cost <> 0 OR uncertain_reason IS NOT NULL;
