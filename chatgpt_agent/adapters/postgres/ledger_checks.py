"""Looking at the ledger: rows by state, single rows, and the checks that find what must never be there."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.postgres.connection import Line, Store
from chatgpt_agent.adapters.postgres.prices import DUE
from chatgpt_agent.adapters.postgres.reports import LABEL, NAME
from chatgpt_agent.adapters.postgres.usage import COUNT_NOT_DONE, COUNT_REQUESTS, DAY, AgentState
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.kinds import SIDES, TOKEN_COLUMNS, TOKEN_KINDS, TokenCounts


class StateLine(msgspec.Struct, frozen=True):
    """How many rows are in a state, and what they cost in USD."""

    state: State
    rows: int
    cost: Decimal


class RowLine(TokenCounts[int | None], frozen=True, kw_only=True):
    """A row of the ledger in a list. Token counts None: unknown. Costs in USD; `uncertain_cost` is the maximum that a
    row of unknown cost may have cost."""

    request_id: UUID
    started_at: datetime
    user: str
    token_id: int
    token: str
    endpoint: str
    model: str
    served_model: str | None
    service_tier: str | None
    state: State
    status: int | None
    error: str | None
    client_closed: bool
    streamed: bool
    cost: Decimal
    uncertain_cost: Decimal
    upstream_id: str | None
    corrects: UUID | None
    reason: str | None


# The fields of a `RowLine` in the order of lists.
ROW_FIELDS = (
    "request_id", "started_at", "user", "token_id", "token", "endpoint", "model", "served_model", "service_tier",
    "state", "status", "error", "client_closed", "streamed", *TOKEN_COLUMNS, "cost", "uncertain_cost", "upstream_id",
    "corrects", "reason",
)  # fmt: skip


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
    return [StateLine(State(state), *line) for state, *line in await store.fetch(sql, [since, since])]


async def agent_states(store: Store) -> list[AgentState]:
    """What each agent last said of itself."""
    lines = await store.fetch("SELECT id, seen_at, last_shipped_at, backlog, oldest_at FROM agents ORDER BY seen_at")
    return [AgentState(UUID(str(line[0])), *line[1:]) for line in lines]


async def count_dead_letters(store: Store) -> int:
    """How many rows were refused by the ledger."""
    [(count,)] = await store.fetch("SELECT count(*) FROM dead_letters")
    return int(count)


async def list_rows(
    store: Store,
    *,
    states: Sequence[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    user: str | None = None,
    request_id: UUID | None = None,
    after: tuple[datetime, UUID] | None = None,
    limit: int,
) -> list[RowLine]:
    """The newest rows, of these states where any are named, to a moment that is not included; or those behind a row in
    this order, by its time and id."""
    columns = {
        "user": NAME.format(id="r.user_id"),
        "token": LABEL.format(id="r.token_id"),
        "uncertain_cost": "r.uncertain_cost",
    }
    sql = f"""
        SELECT {", ".join(columns.get(name, f"r.{name}") for name in ROW_FIELDS)}
        FROM usage r LEFT JOIN users u ON u.id = r.user_id LEFT JOIN tokens t ON t.id = r.token_id
        WHERE (cardinality(%s::text[]) = 0 OR r.state = ANY(%s::text[]))
          AND (%s::timestamptz IS NULL OR r.started_at >= %s) AND (%s::timestamptz IS NULL OR r.started_at < %s)
          AND (%s::text IS NULL OR u.name = %s) AND (%s::uuid IS NULL OR r.request_id = %s::uuid)
          AND (%s::timestamptz IS NULL OR r.started_at < %s OR (r.started_at = %s AND r.request_id > %s::uuid))
        ORDER BY r.started_at DESC, r.request_id LIMIT %s"""
    chosen, row = list(states), None if request_id is None else str(request_id)
    at, last = after if after is not None else (None, None)
    behind = [at, at, at, None if last is None else str(last)]
    asked = [chosen, chosen, since, since, until, until, user, user, row, row, *behind, limit]
    return [_row_line(line) for line in await store.fetch(sql, asked)]


def _row_line(line: Line) -> RowLine:
    found = dict(zip(ROW_FIELDS, line, strict=True))
    for name in ("request_id", "corrects"):
        found[name] = None if found[name] is None else UUID(str(found[name]))
    return RowLine(**found | {"state": State(found["state"])})


def _part_is_too_large(side: str) -> str:
    parts = (kind.column for kind in TOKEN_KINDS if kind.side == side and kind.is_part)
    return f"greatest({', '.join(parts)}) > {side}_tokens"


# Each check is a statement that finds (subject, text), and finds nothing in books that are right.
_CHECKS = {
    "roll-up": f"""
        WITH added AS (
            SELECT {DAY} AS day, user_id, token_id, model, endpoint,
                   {COUNT_REQUESTS} AS requests, {COUNT_NOT_DONE} AS not_done,
                   {", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in TOKEN_COLUMNS)},
                   sum(cost) AS cost, sum(uncertain_cost) AS uncertain_cost
            FROM usage GROUP BY 1, 2, 3, 4, 5
        )
        SELECT format('%%s, user %%s, token %%s, %%s, %%s', day, user_id, token_id, model, endpoint),
               format('the roll-up says %%s requests and %%s USD, the rows say %%s and %%s',
                      coalesce(d.requests, 0), coalesce(d.cost, 0), coalesce(a.requests, 0), coalesce(a.cost, 0))
        FROM added a FULL JOIN usage_daily d USING (day, user_id, token_id, model, endpoint)
        WHERE (a.requests, a.not_done, {", ".join(f"a.{name}" for name in TOKEN_COLUMNS)}, a.cost, a.uncertain_cost)
              IS DISTINCT FROM
              (d.requests, d.not_done, {", ".join(f"d.{name}" for name in TOKEN_COLUMNS)}, d.cost, d.uncertain_cost)
        ORDER BY 1 LIMIT %s""",
    "price": f"""
        SELECT r.request_id::text, format('its price %%s does not exist', r.price_id)
        FROM usage r LEFT JOIN prices p ON p.id = r.price_id AND p.input IS NOT NULL
        WHERE p.id IS NULL AND r.state <> '{State.IMPORTED}' ORDER BY r.started_at LIMIT %s""",
    # A correction is right where it makes the row that it corrects right.
    "cost": f"""
        WITH made AS (
            SELECT u.request_id, u.started_at, u.price_id, u.service_tier, u.cost + coalesce(o.cost, 0) AS cost,
                   {
        ", ".join(
            f"CASE WHEN o.request_id IS NULL THEN u.{name} ELSE coalesce(o.{name}, 0) + u.{name} END AS {name}"
            for name in TOKEN_COLUMNS
        )
    }
            FROM usage u LEFT JOIN usage o
                ON u.state = '{State.CORRECTION}' AND o.request_id = u.corrects AND o.started_at = u.started_at
            WHERE u.state <> '{State.IMPORTED}'
        )
        SELECT r.request_id::text, format('it costs %%s USD, its tokens and price make %%s', r.cost, due.cost)
        FROM made r JOIN prices p ON p.id = r.price_id AND p.input IS NOT NULL {DUE}
        WHERE r.cost <> due.cost ORDER BY r.started_at LIMIT %s""",
    "tokens": f"""
        SELECT request_id::text, format('it is %%s, and its tokens are not all there or contradict each other', state)
        FROM usage
        WHERE (state = '{State.DONE}' AND (input_tokens IS NULL OR output_tokens IS NULL OR cached_tokens IS NULL))
           OR (state <> '{State.CORRECTION}' AND (
               {" OR ".join(map(_part_is_too_large, SIDES))}
               OR least({", ".join(TOKEN_COLUMNS)}) < 0))
        ORDER BY started_at LIMIT %s""",
    "duplicate": """
        SELECT request_id::text, format('there are %%s rows of it', count(*))
        FROM usage GROUP BY request_id HAVING count(*) > 1 LIMIT %s""",
    "correction": f"""
        SELECT c.request_id::text, format('it corrects %%s, which does not exist', c.corrects)
        FROM usage c LEFT JOIN usage r ON r.request_id = c.corrects AND r.started_at = c.started_at
        WHERE c.state = '{State.CORRECTION}' AND r.request_id IS NULL LIMIT %s""",
    "dead letter": """
        SELECT request_id::text, format('refused by the ledger at %%s: %%s', rejected_at, error)
        FROM dead_letters ORDER BY rejected_at LIMIT %s""",
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
