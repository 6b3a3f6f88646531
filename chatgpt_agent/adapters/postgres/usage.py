"""Writing rows of the ledger: in batches, as often as wanted, each row once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from operator import attrgetter
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.postgres.budgets import COUNT_AND_TELL
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.ledger import NOT_DONE, Row, State
from chatgpt_agent.core.money.kinds import TOKEN_COLUMNS, TOKEN_KINDS
from chatgpt_agent.core.usage import Usage

_COLUMNS = {
    "request_id": "uuid",
    "user_id": "bigint",
    "token_id": "bigint",
    "endpoint": "text",
    "model": "text",
    "served_model": "text",
    "upstream_id": "text",
    "upstream_request_id": "text",
    **dict.fromkeys(TOKEN_COLUMNS, "bigint"),
    "price_id": "bigint",
    "cost": "numeric",
    "state": "text",
    "status": "smallint",
    "client_closed": "boolean",
    "streamed": "boolean",
    "error": "text",
    "started_at": "timestamptz",
    "duration_ms": "bigint",
    "first_byte_ms": "bigint",
    "service_tier": "text",
    "uncertain_cost": "numeric",
}


def in_states(states: Iterable[State]) -> str:
    """Returns the states as a list for SQL's `IN`."""
    return "({})".format(", ".join(f"'{state}'" for state in states))


# Over some rows: how many are requests, and how many of these are not done.
COUNT_REQUESTS = f"count(*) FILTER (WHERE state <> '{State.CORRECTION}')"
COUNT_NOT_DONE = f"count(*) FILTER (WHERE state IN {in_states(NOT_DONE)})"

# The day of a row, in the books' time zone.
DAY = "(started_at AT TIME ZONE (SELECT value FROM settings WHERE name = 'time_zone'))::date"

# What is added up, and by what, of rows as `fresh` has them.
_SUMMED = ("requests", "not_done", *TOKEN_COLUMNS, "cost", "uncertain_cost")
ROLL_UP = f"""
    INSERT INTO usage_daily AS daily (day, user_id, token_id, model, endpoint, {", ".join(_SUMMED)})
    SELECT day, user_id, token_id, model, endpoint, {COUNT_REQUESTS}, {COUNT_NOT_DONE},
           {", ".join(f"coalesce(sum({name}), 0)" for name in TOKEN_COLUMNS)}, sum(cost), sum(uncertain_cost)
    FROM fresh GROUP BY day, user_id, token_id, model, endpoint ORDER BY day, user_id, token_id, model, endpoint
    ON CONFLICT (day, user_id, token_id, model, endpoint) DO UPDATE SET
        {", ".join(f"{name} = daily.{name} + excluded.{name}" for name in _SUMMED)}"""
FRESH = f"{DAY} AS day, user_id, token_id, model, endpoint, state, {', '.join(TOKEN_COLUMNS)}, cost, uncertain_cost"

# One statement, so that a row and its share of the roll-up come to be together or not at all, and no transaction
# can be cut in the middle. A row that is there already comes out of neither. Rows of the roll-up are locked in one
# order, so that two agents do not wait for each other.
_SHIP = f"""
WITH fresh AS (
    INSERT INTO usage ({", ".join(_COLUMNS)})
    SELECT * FROM unnest({", ".join(f"%s::{kind}[]" for kind in _COLUMNS.values())})
    ON CONFLICT DO NOTHING
    RETURNING {FRESH}
), rolled AS ({ROLL_UP}
)
{COUNT_AND_TELL}"""


async def ship(store: Store, rows: Sequence[Row]) -> int:
    """Writes rows, and returns how many of them were new. Their partitions must be there."""
    lines = [_line(row) for row in rows]
    [(new, _)] = await store.fetch(_SHIP, [array(column) for column in zip(*lines, strict=True)])
    return int(new)


def array(values: Sequence[object]) -> str:
    """Values as the text of a PostgreSQL array (https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO): one
    parameter and one constant. psycopg2 would write ARRAY[…], every value of which is a constant for the parser."""
    return f"{{{','.join(map(_element, values))}}}"


def _element(value: object) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return "NULL" if value is None else str(value)


async def ensure_partition(store: Store, moment: datetime | date) -> None:
    """Makes the partition of a moment's month, where there is none."""
    await store.fetch("SELECT ensure_usage_partition(%s)", [moment])


async def bury(store: Store, row: Row, error: str, now: datetime) -> None:
    """Keeps a row that the ledger does not take, so that the rows behind it can pass."""
    sql = "INSERT INTO dead_letters VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
    await store.fetch(sql, [str(row.intent.request_id), msgspec.json.encode(row).decode(), error, now])


class AgentState(msgspec.Struct, frozen=True):
    """What an agent says of its outbox: rows that wait, when the oldest of them began, when it last shipped any."""

    id: UUID
    seen_at: datetime
    last_shipped_at: datetime | None
    backlog: int
    oldest_at: datetime | None


async def report_agent(store: Store, state: AgentState) -> None:
    """Writes down what an agent says of itself."""
    sql = """
        INSERT INTO agents AS a (id, seen_at, last_shipped_at, backlog, oldest_at) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, backlog = excluded.backlog,
            last_shipped_at = coalesce(excluded.last_shipped_at, a.last_shipped_at), oldest_at = excluded.oldest_at"""
    await store.fetch(sql, [str(state.id), state.seen_at, state.last_shipped_at, state.backlog, state.oldest_at])


# The counts of a usage in the order of `TOKEN_COLUMNS`.
token_counts: Callable[[Usage], tuple[int, ...]] = attrgetter(*(kind.name for kind in TOKEN_KINDS))


def usage_of(counts: Mapping[str, int | None]) -> Usage:
    """Returns the usage of a row with these columns."""
    return Usage(**{kind.name: counts[kind.column] or 0 for kind in TOKEN_KINDS})


def _line(row: Row) -> tuple[object, ...]:
    intent, usage = row.intent, row.usage
    return (
        str(intent.request_id),
        intent.user_id,
        intent.token_id,
        intent.endpoint,
        intent.model,
        row.served_model,
        row.upstream_id,
        row.upstream_request_id,
        *(token_counts(usage) if usage else [None] * len(TOKEN_COLUMNS)),
        row.price_id,
        row.cost,
        str(row.state),
        row.status,
        row.client_closed,
        intent.streamed,
        row.error,
        intent.started_at,
        row.duration_ms,
        row.first_byte_ms,
        row.service_tier,
        row.uncertain_cost,
    )
