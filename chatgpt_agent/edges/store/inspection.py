"""Looking at the ledger: rows by state, single rows, and the checks that find what must never be there."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from chatgpt_agent.edges.store.connection import Store
from chatgpt_agent.edges.store.ledger import AgentState


class StateLine(msgspec.Struct, frozen=True):
    """How many rows are in a state, and what they cost in USD."""

    state: str
    rows: int
    cost: Decimal


class RowLine(msgspec.Struct, frozen=True):
    """A row as lists show one. Tokens None: not known. Cost in USD."""

    request_id: UUID
    started_at: datetime
    user: str
    model: str
    served_model: str | None
    state: str
    status: int | None
    error: str | None
    client_closed: bool
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    cost: Decimal


class Finding(msgspec.Struct, frozen=True):
    """Something that must not be. `subject`: a request id where it is about a row."""

    check: str
    subject: str
    text: str


async def rows_by_state(store: Store, since: datetime | None) -> list[StateLine]:
    """All rows, or those since a moment, by state."""
    sql = """
        SELECT state, count(*), sum(cost) FROM usage
        WHERE %s::timestamptz IS NULL OR started_at >= %s GROUP BY state ORDER BY state"""
    return [StateLine(*line) for line in await store.fetch(sql, [since, since])]


async def agent_states(store: Store) -> list[AgentState]:
    """What each agent last said of itself."""
    lines = await store.fetch("SELECT id, seen_at, last_shipped_at, waiting, oldest_at FROM agents ORDER BY seen_at")
    return [AgentState(UUID(str(line[0])), *line[1:]) for line in lines]


async def count_dead_letters(store: Store) -> int:
    """How many rows were refused by the ledger."""
    [(count,)] = await store.fetch("SELECT count(*) FROM dead_letters")
    return int(count)


async def list_rows(
    store: Store, *, states: Sequence[str] = (), since: datetime | None = None, limit: int
) -> list[RowLine]:
    """The newest rows, of these states where any are named."""
    sql = """
        SELECT r.request_id, r.started_at, coalesce(u.name, 'user ' || r.user_id), r.model, r.served_model, r.state,
               r.status, r.error, r.client_closed, r.input_tokens, r.cached_tokens, r.output_tokens, r.cost
        FROM usage r LEFT JOIN users u ON u.id = r.user_id
        WHERE (cardinality(%s::text[]) = 0 OR r.state = ANY(%s::text[]))
          AND (%s::timestamptz IS NULL OR r.started_at >= %s)
        ORDER BY r.started_at DESC, r.request_id LIMIT %s"""
    chosen = list(states)
    lines = await store.fetch(sql, [chosen, chosen, since, since, limit])
    return [RowLine(UUID(str(line[0])), *line[1:]) for line in lines]


# Each check is a statement that finds (subject, text), and finds nothing in books that are right.
_CHECKS = {
    "roll-up": """
        WITH added AS (
            SELECT (started_at AT TIME ZONE 'UTC')::date AS day, user_id, model,
                   count(*) FILTER (WHERE state <> 'correction') AS requests,
                   count(*) FILTER (WHERE state NOT IN ('done', 'correction')) AS not_done,
                   coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(cached_tokens), 0) AS cached_tokens,
                   coalesce(sum(output_tokens), 0) AS output_tokens,
                   coalesce(sum(reasoning_tokens), 0) AS reasoning_tokens, sum(cost) AS cost
            FROM usage GROUP BY 1, 2, 3
        )
        SELECT format('%%s, user %%s, %%s', day, user_id, model),
               format('the roll-up says %%s requests and %%s USD, the rows say %%s and %%s',
                      coalesce(d.requests, 0), coalesce(d.cost, 0), coalesce(a.requests, 0), coalesce(a.cost, 0))
        FROM added a FULL JOIN usage_daily d USING (day, user_id, model)
        WHERE (a.requests, a.not_done, a.input_tokens, a.cached_tokens, a.output_tokens, a.reasoning_tokens, a.cost)
              IS DISTINCT FROM
              (d.requests, d.not_done, d.input_tokens, d.cached_tokens, d.output_tokens, d.reasoning_tokens, d.cost)
        ORDER BY 1 LIMIT %s""",
    "price": """
        SELECT r.request_id::text, format('its price %%s does not exist', r.price_id)
        FROM usage r LEFT JOIN prices p ON p.id = r.price_id AND p.input IS NOT NULL
        WHERE p.id IS NULL ORDER BY r.started_at LIMIT %s""",
    "cost": """
        WITH expected AS (
            SELECT r.*, CASE WHEN r.input_tokens IS NULL THEN 0 ELSE 0.000001 * (
                (r.input_tokens - r.cached_tokens) * p.input + r.cached_tokens * coalesce(p.cached_input, p.input)
                + r.output_tokens * p.output) END AS right_cost
            FROM usage r JOIN prices p ON p.id = r.price_id AND p.input IS NOT NULL
        )
        SELECT request_id::text, format('it costs %%s USD, its tokens and price make %%s', cost, right_cost)
        FROM expected WHERE cost <> right_cost ORDER BY started_at LIMIT %s""",
    "tokens": """
        SELECT request_id::text, format('it is %%s, and its tokens are not all there or contradict each other', state)
        FROM usage
        WHERE (state = 'done' AND (input_tokens IS NULL OR output_tokens IS NULL OR cached_tokens IS NULL))
           OR (state <> 'correction' AND (cached_tokens > input_tokens OR reasoning_tokens > output_tokens
                                          OR input_tokens < 0 OR output_tokens < 0 OR cached_tokens < 0))
        ORDER BY started_at LIMIT %s""",
    "duplicate": """
        SELECT request_id::text, format('there are %%s rows of it', count(*))
        FROM usage GROUP BY request_id HAVING count(*) > 1 LIMIT %s""",
    "correction": """
        SELECT c.request_id::text, format('it corrects %%s, which does not exist', c.corrects)
        FROM usage c LEFT JOIN usage r ON r.request_id = c.corrects AND r.started_at = c.started_at
        WHERE c.state = 'correction' AND r.request_id IS NULL LIMIT %s""",
    "dead letter": """
        SELECT request_id::text, format('refused by the ledger at %%s: %%s', buried_at, error)
        FROM dead_letters ORDER BY buried_at LIMIT %s""",
    # PostgreSQL lets no two overlap. A past month without one is no fault: a row of it would get one when it comes.
    "partition": """
        WITH bounds AS (
            SELECT c.relname::text AS name, pg_get_expr(c.relpartbound, c.oid) AS bound,
                   regexp_match(pg_get_expr(c.relpartbound, c.oid), $$'([^']+)'.*'([^']+)'$$) AS ends
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'usage'::regclass
        ), months AS (
            SELECT name, bound, ends[1]::timestamptz AT TIME ZONE 'UTC' AS first,
                   ends[2]::timestamptz AT TIME ZONE 'UTC' AS next FROM bounds
        ), wanted AS (
            SELECT generate_series(0, 1) * interval '1 month' + date_trunc('month', now() AT TIME ZONE 'UTC') AS first
        )
        SELECT name, format('it does not cover one month of UTC: %%s', bound) FROM months
        WHERE (first = date_trunc('month', first) AND next = first + interval '1 month') IS NOT TRUE
        UNION ALL
        SELECT to_char(w.first, 'YYYY-MM'), 'this month has no partition' FROM wanted w
        WHERE NOT EXISTS (SELECT FROM months m WHERE m.first = w.first)
        ORDER BY 1 LIMIT %s""",
}


async def findings(store: Store, limit: int) -> list[Finding]:
    """What the checks find, up to `limit` of each."""
    found = []
    for check, sql in _CHECKS.items():
        found += [Finding(check, *line) for line in await store.fetch(sql, [limit])]
    return found
