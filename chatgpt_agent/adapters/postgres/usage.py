"""Writes rows to `usage` and their sums to `usage_daily`: in batches, each row once however often it is written."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, cast
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.settings import DAY_SQL
from chatgpt_agent.adapters.postgres.spending import COUNT_AND_NOTIFY
from chatgpt_agent.core.ledger import NOT_DONE, Row, State
from chatgpt_agent.core.money.kinds import (
    CALL_COLUMNS,
    COUNT_COLUMNS,
    COUNT_TYPES,
    IMAGE_TOOL_COLUMNS,
    IMAGE_TOOL_KINDS,
    TIME_COLUMN,
    TOKEN_KINDS,
)
from chatgpt_agent.core.percentiles import PER_DECADE
from chatgpt_agent.core.usage import Usage

# The columns of counts that most rows have none of: there NULL is 0, which takes no room.
_SPARSE = frozenset(
    {*IMAGE_TOOL_COLUMNS, *CALL_COLUMNS.values(), TIME_COLUMN, *(kind.column for kind in TOKEN_KINDS if kind.fallback)}
)
_STORED = tuple(sorted(COUNT_COLUMNS, key=lambda name: name in _SPARSE))  # these last

USAGE_COLUMNS = {
    "request_id": "uuid",
    "user_id": "bigint",
    "token_id": "bigint",
    "endpoint": "text",
    "model": "text",
    "served_model": "text",
    "upstream_id": "text",
    "upstream_request_id": "text",
    **{name: COUNT_TYPES[name] for name in _STORED},
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
    "uncertain_reason": "text",
    "image_price_id": "bigint",
    "surcharge_ids": "text",  # an array of arrays would have one size: each is the text of one
}


def in_states(states: Iterable[State]) -> str:
    """Returns the states as a list for `IN`."""
    return "({})".format(", ".join(f"'{state}'" for state in states))


# Aggregates over rows of `usage`.
COUNT_REQUESTS = f"count(*) FILTER (WHERE state <> '{State.CORRECTION}')"
COUNT_NOT_DONE = f"count(*) FILTER (WHERE state IN {in_states(NOT_DONE)})"

# The columns that `ADD_TO_DAILY_SUMS` needs of inserted rows, for RETURNING. Their day is added afterwards: a server
# of a cluster, which computes RETURNING, has no time zone to select.
INSERTED = (
    f"started_at, user_id, token_id, model, endpoint, state, {', '.join(COUNT_COLUMNS)}, cost, uncertain_cost, "
    "duration_ms, first_byte_ms"
)
_SUMMED = ("requests", "not_done", *COUNT_COLUMNS, "cost", "uncertain_cost")
BY_MODEL = ("requests", "not_done", "tokens", "cost", "uncertain_cost")  # the sums in `usage_by_model`
# Adds the rows of `inserted` to the daily sums, and to those by model. All statements lock rows of `usage_daily` in the
# same order, so that two agents cannot deadlock.
ADD_TO_DAILY_SUMS = f"""dated AS (
    SELECT {DAY_SQL} AS day, i.* FROM inserted i
), summed AS (
    INSERT INTO usage_daily AS daily (day, user_id, token_id, model, endpoint, {", ".join(_SUMMED)})
    SELECT day, user_id, token_id, model, endpoint, {COUNT_REQUESTS}, {COUNT_NOT_DONE},
           {", ".join(f"coalesce(sum({name}), 0)" for name in COUNT_COLUMNS)}, sum(cost), sum(uncertain_cost)
    FROM dated GROUP BY day, user_id, token_id, model, endpoint ORDER BY day, user_id, token_id, model, endpoint
    ON CONFLICT (day, user_id, token_id, model, endpoint) DO UPDATE SET
        {", ".join(f"{name} = daily.{name} + excluded.{name}" for name in _SUMMED)}
), summed_by_model AS (
    INSERT INTO usage_by_model AS s (day, model, requests, not_done, tokens, cost, uncertain_cost)
    SELECT day, model, {COUNT_REQUESTS}, {COUNT_NOT_DONE}, coalesce(sum(input_tokens), 0) +
           coalesce(sum(output_tokens), 0), sum(cost), sum(uncertain_cost)
    FROM dated GROUP BY day, model ORDER BY day, model
    ON CONFLICT (day, model) DO UPDATE SET
        {", ".join(f"{name} = s.{name} + excluded.{name}" for name in BY_MODEL)}
)"""

# The bucket of a duration in `usage_latency`. The function `rebuild_usage_latency` in `migrations/` has the same.
BUCKET_SQL = f"floor({PER_DECADE} * log(greatest({{ms}}, 1)::double precision))::smallint"
# Counts the rows of `dated` by duration, after `ADD_TO_DAILY_SUMS`, and in the same order for all agents.
ADD_TO_LATENCIES = f"""
    INSERT INTO usage_latency AS l (day, model, measure, bucket, requests)
    SELECT day, model, measure, {BUCKET_SQL.format(ms="milliseconds")}, count(*)
    FROM dated,
         LATERAL (VALUES ('duration', duration_ms), ('first_byte', first_byte_ms)) AS m (measure, milliseconds)
    WHERE state = '{State.DONE}' AND milliseconds IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (day, model, measure, bucket) DO UPDATE SET requests = l.requests + excluded.requests"""

_CASTS = {"surcharge_ids": "surcharge_ids::bigint[]"}

# One statement, so that rows, their daily sums and the agent's position are written together or not at all, without a
# transaction that could break in the middle. A row that exists already is neither inserted nor summed. The position
# moves on only from where the batch begins: so a server with this position has all rows up to it.
# The notice also makes each repetition write WAL: with a synchronous replica it then waits until that has the rows.
SHIP_SQL = f"""
WITH agent AS (
    INSERT INTO agents AS a (id, seen_at, backlog, shipped_rows, last_shipped_at)
    SELECT b.agent, CURRENT_TIMESTAMP, 0, CASE WHEN b.after = 0 THEN b.last ELSE 0 END, CURRENT_TIMESTAMP
    FROM (VALUES (%s::uuid, %s::bigint, %s::bigint)) AS b(agent, after, last)
    WHERE b.agent IS NOT NULL
    ON CONFLICT (id) DO UPDATE SET last_shipped_at = CURRENT_TIMESTAMP, shipped_rows =
        CASE WHEN a.shipped_rows >= %s THEN %s ELSE a.shipped_rows END
    RETURNING shipped_rows
), inserted AS (
    INSERT INTO usage ({", ".join(USAGE_COLUMNS)})
    SELECT {", ".join(_CASTS.get(name, name) for name in USAGE_COLUMNS)}
    FROM unnest({", ".join(f"%s::{kind}[]" for kind in USAGE_COLUMNS.values())}) AS row({", ".join(USAGE_COLUMNS)})
    ON CONFLICT DO NOTHING
    RETURNING {INSERTED}
), {ADD_TO_DAILY_SUMS}, timed AS ({ADD_TO_LATENCIES}
)
{COUNT_AND_NOTIFY.replace("SELECT", "SELECT (SELECT shipped_rows FROM agent),", 1)}"""


async def ship_batch(store: Store, agent: UUID, rows: Sequence[Row], *, after: int, last: int) -> int:
    """Inserts rows of an agent's outbox, the first of which comes after row number `after`, and moves the agent's
    position to `last`. Returns the position: less than `after` if the server does not have all rows before these. The
    partitions of their months must exist."""
    _, position = await _ship(store, rows, [str(agent), after, last, after, last])
    return position


async def ship(store: Store, rows: Sequence[Row]) -> int:
    """Inserts rows that are in no outbox, and returns how many of them were new."""
    inserted, _ = await _ship(store, rows, [None] * 5)
    return inserted


async def _ship(store: Store, rows: Sequence[Row], batch: Sequence[object]) -> tuple[int, int]:
    columns = zip(*map(_sql_values, rows), strict=True) if rows else [()] * len(USAGE_COLUMNS)
    [(position, inserted, _)] = await store.fetch(SHIP_SQL, [*batch, *map(sql_array, columns)])
    return int(inserted), int(position or 0)


async def reserve_ids(store: Store, rows: Sequence[Row]) -> None:
    """Lets the next users, tokens, prices and surcharges get ids after those in these rows. A server that has lost rows
    may have lost these, too, and would give their ids to others, who would get these rows."""
    sql = """
        SELECT setval(sequence, id)
        FROM (VALUES ('users', %s::bigint), ('tokens', %s), ('prices', greatest(%s, %s)), ('surcharges', %s))
                 AS used(relation, id),
             LATERAL (SELECT pg_get_serial_sequence(relation, 'id')::regclass AS sequence) AS s
        WHERE id > coalesce(pg_sequence_last_value(sequence), 0)"""
    intents = [row.intent for row in rows]
    values = (
        max(intent.user_id for intent in intents),
        max(intent.token_id for intent in intents),
        max(row.price_id or 0 for row in rows),
        max(row.image_price_id or 0 for row in rows),
        max(max(row.surcharge_ids, default=0) for row in rows),
    )
    await store.fetch(sql, values)


def sql_array(values: Sequence[object]) -> str:
    """Returns values of one type, or None, as the text of a PostgreSQL array
    (https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO): one parameter that the server parses as one
    constant. psycopg2 would write ARRAY[…], with a constant for each value."""
    first = values[0] if values else None
    # As of most columns, which are NULL, or one user's. Decimals that are equal may have different texts.
    if not isinstance(first, Decimal) and values.count(first) == len(values):
        return f"{{{','.join([_element(first)] * len(values))}}}"
    nulls = values.count(None)
    if not nulls and not isinstance(values[0], str):
        return f"{{{','.join(map(str, values))}}}"
    if not nulls:
        text = '","'.join(cast(Sequence[str], values))
        if "\\" not in text and text.count('"') == 2 * len(values) - 2:  # none needs an escape, as in most columns
            return f'{{"{text}"}}'
    return f"{{{','.join(map(_element, values))}}}"


def _element(value: object) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return "NULL" if value is None else str(value)


async def ensure_partition(store: Store, moment: datetime | date) -> None:
    """Creates the partition of a moment's month (UTC) if it does not exist."""
    await store.fetch("SELECT ensure_usage_partition(%s)", [moment])


async def add_dead_letter(store: Store, row: Row, error: str, now: datetime) -> None:
    """Stores a row that `usage` rejected, so that the shipper can continue with the rows after it."""
    sql = "INSERT INTO dead_letters VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
    await store.fetch(sql, [str(row.intent.request_id), msgspec.json.encode(row).decode(), error, now])


async def count_dead_letters(store: Store) -> int:
    """Returns the number of rejected rows."""
    [(count,)] = await store.fetch("SELECT count(*) FROM dead_letters")
    return int(count)


# The counts of nearly every usage, in the order of `COUNT_COLUMNS`: between tokens and calls stand those of the image
# tool, which few usages have.
_TOKENS = attrgetter(*(kind.name for kind in TOKEN_KINDS))
_CALLS = attrgetter(*CALL_COLUMNS.values(), TIME_COLUMN)
_DRAWN = attrgetter(*(kind.name for kind in IMAGE_TOOL_KINDS))
_NOT_DRAWN = (0,) * len(IMAGE_TOOL_KINDS)


def counts_of(usage: Usage) -> tuple[object, ...]:
    """Returns the counts of a usage in the order of `COUNT_COLUMNS`."""
    drawn = _NOT_DRAWN if usage.image_tool is None else _DRAWN(usage.image_tool)
    return (*_TOKENS(usage), *drawn, *_CALLS(usage))


def usage_from(counts: Mapping[str, int | Decimal | None]) -> Usage:
    """Returns the usage of a row, from its columns by name."""
    columns = zip(IMAGE_TOOL_KINDS, IMAGE_TOOL_COLUMNS, strict=True)
    drawn: dict[str, Any] = {kind.name: counts[name] or 0 for kind, name in columns}
    used: dict[str, Any] = {
        **{kind.name: counts[kind.column] or 0 for kind in TOKEN_KINDS},
        **{name: counts[name] or 0 for name in CALL_COLUMNS.values()},
        TIME_COLUMN: Decimal(counts[TIME_COLUMN] or 0),
    }
    return Usage(**used, image_tool=Usage(**drawn) if any(drawn.values()) else None)


_DENSE = attrgetter(*(kind.name for kind in TOKEN_KINDS if kind.column not in _SPARSE))
_NO_SPARSE = (None,) * len(_SPARSE)
_NO_COUNTS = (None,) * len(COUNT_COLUMNS)


# The model that drew for a row `r` of `usage`, whose price was charged.
IMAGE_MODEL_SQL = "(SELECT ip.model FROM prices ip WHERE ip.id = r.image_price_id)"


def known_count(name: str, relation: str) -> str:
    """Returns a column of counts in SQL, NULL only where the usage is not known."""
    column = f"{relation}.{name}"
    return (
        f"CASE WHEN {relation}.input_tokens IS NOT NULL THEN coalesce({column}, 0) END" if name in _SPARSE else column
    )


def _stored_counts(usage: Usage) -> tuple[object, ...]:
    """Returns the counts of a row in the order of `_STORED`."""
    if usage.is_text and usage.is_simple:  # as of nearly every row
        return (*_DENSE(usage), *_NO_SPARSE)
    counts = dict(zip(COUNT_COLUMNS, counts_of(usage), strict=True))
    return tuple(counts[name] or None if name in _SPARSE else counts[name] for name in _STORED)


def _sql_values(row: Row) -> tuple[object, ...]:
    intent, usage = row.intent, row.usage
    return (
        intent.request_id.hex,  # which PostgreSQL reads, too, and which takes a third of the time of its text
        intent.user_id,
        intent.token_id,
        intent.endpoint,
        intent.model,
        row.served_model,
        row.upstream_id,
        row.upstream_request_id,
        *(_stored_counts(usage) if usage else _NO_COUNTS),
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
        row.uncertain_reason,
        row.image_price_id,
        f"{{{','.join(map(str, row.surcharge_ids))}}}" if row.surcharge_ids else None,
    )
