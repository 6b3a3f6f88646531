-- A page of the rows of an endpoint would read the whole ledger where the endpoint has few rows. The two that most
-- requests go to are left out: their rows are found quickly without it, and shipping them costs nothing more.
CREATE INDEX usage_endpoint ON usage (endpoint, started_at)
    WHERE endpoint NOT IN ('/v1/chat/completions', '/v1/responses');
