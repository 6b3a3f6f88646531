-- What each agent has used of the limits of users and tokens, for the other agents. The figures are of the last minutes:
-- the table is not in PostgreSQL's log, and empty after a crash or on a replica that takes over. The sums count from the
-- beginning of `run`; what was given back is taken off, so they can be negative.
CREATE UNLOGGED TABLE limit_use (
    agent_id      uuid             NOT NULL,
    owner_kind    text             NOT NULL CONSTRAINT owner_kind_is_readable CHECK (owner_kind IN ('user', 'token')),
    owner_id      bigint           NOT NULL,
    run           uuid             NOT NULL,
    number        bigint           NOT NULL,
    requests      bigint           NOT NULL,
    tokens        bigint           NOT NULL,
    running       integer          NOT NULL,
    -- NaN and Infinity are greater than every number.
    requests_used double precision NOT NULL CONSTRAINT requests_used_is_readable CHECK (requests_used BETWEEN 0 AND 1e15),
    tokens_used   double precision NOT NULL CONSTRAINT tokens_used_is_readable CHECK (tokens_used BETWEEN 0 AND 1e15),
    updated_at    timestamptz      NOT NULL
        CONSTRAINT updated_at_is_readable CHECK (updated_at >= '2000-01-01Z' AND updated_at < '9999-01-01Z'),
    PRIMARY KEY (agent_id, owner_kind, owner_id)
) WITH (fillfactor = 50);   -- room for the next figures beside the last ones, so that the index does not grow
