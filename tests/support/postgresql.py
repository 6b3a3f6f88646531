"""An in-memory PostgreSQL in the place of `adapters.postgres.connection.Store`, for the statements of the ledger only.

It has the properties that the proofs rely on: a row is inserted once, together with its daily sums or not at all; a row
needs the partition of its month; one bad row rejects its statement. `tests/proofs/test_fake_postgresql.py` compares it
with a real server.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg2.extensions import STRINGARRAY

from chatgpt_agent.adapters.postgres.connection import SqlRow, Store
from chatgpt_agent.adapters.postgres.usage import SHIP_SQL, USAGE_COLUMNS
from chatgpt_agent.core.errors import StoreBadValue, StoreRejected, StoreUnavailable
from chatgpt_agent.core.ledger import NOT_DONE, State
from chatgpt_agent.core.money.kinds import COUNT_COLUMNS

Usage = dict[str, Any]  # a row of the table, by column
Day = tuple[date, int, int, str, str]  # day, user, token, model, endpoint
Sums = tuple[Any, ...]  # requests, not_done, all counts, cost, uncertain_cost

_NULLABLE = {
    "served_model",
    "service_tier",
    "upstream_id",
    "upstream_request_id",
    *COUNT_COLUMNS,
    "status",
    "error",
    "duration_ms",
}
_NULLABLE |= {"first_byte_ms", "corrects", "reason", "price_id", "uncertain_reason", "image_price_id", "surcharge_ids"}


class PostgreSQL:
    """The server: its tables, and the faults that it injects."""

    def __init__(self) -> None:
        # Tables.
        self.usage: dict[tuple[str, datetime], Usage] = {}
        self.daily: dict[Day, Sums] = {}
        self.partitions: set[tuple[int, int]] = set()
        self.dead_letters: dict[str, SqlRow] = {}
        self.agents: dict[str, SqlRow] = {}
        self.positions: dict[str, int] = {}  # by agent: how many rows of its outbox are here
        self.reserved = [0] * 5  # the highest used ids of users, tokens, prices (two) and surcharges
        self.shipped: list[Sequence[Any]] = []  # the parameters of every statement that inserted rows
        # Faults.
        self.up = True
        self.lost_answers = 0  # the number of statements with rows that will run without an answer
        self.refused: set[str] = set()  # request ids that it rejects

    def copy(self) -> "PostgreSQL":
        """Another server with copies of the tables and without faults."""
        other = PostgreSQL()
        other.become(self)
        return other

    def become(self, other: "PostgreSQL") -> None:
        """Takes over the tables of another server, without what it has done before."""
        for table in ("daily", "partitions", "dead_letters", "agents", "positions"):
            setattr(self, table, copy(getattr(other, table)))  # of values that cannot change
        self.usage = {key: dict(line) for key, line in other.usage.items()}
        self.shipped = []

    def run(self, sql: str, parameters: Sequence[Any]) -> list[SqlRow]:
        """Runs a statement, or raises StoreRejected and changes nothing."""
        kind = kind_of(sql)
        if kind == "ship":
            new = self._ship(sql, parameters[5:])
            self.shipped.append(parameters[5:])
            return [(self._move_position(*parameters[:3]), new, "")]
        if kind == "partition":
            self.partitions.add(_month(parameters[0]))
            return [("",)]
        if kind == "dead letter":
            self.dead_letters.setdefault(parameters[0], tuple(parameters))
        elif kind == "report":
            self.agents[parameters[0]] = tuple(parameters)
            return [(datetime.now(UTC), None)]
        elif kind == "position":
            return [("the ledger", self.positions.get(parameters[0], 0))]
        elif kind == "ids":
            self.reserved = [max(pair) for pair in zip(self.reserved, parameters, strict=True)]
        else:
            self.positions[parameters[0]] = parameters[1]
        return []

    def _move_position(self, agent: str | None, after: int, last: int) -> int:
        if agent is None:
            return 0
        if self.positions.setdefault(agent, 0) >= after:
            self.positions[agent] = last
        return self.positions[agent]

    def replay(self) -> None:
        """Runs every statement with rows again, in reverse order."""
        for parameters in reversed(self.shipped):
            self._ship(SHIP_SQL, parameters)

    def _ship(self, sql: str, parameters: Sequence[Any]) -> int:
        columns = [_values(text, kind) for text, kind in zip(parameters, USAGE_COLUMNS.values(), strict=True)]
        lines = [dict(zip(USAGE_COLUMNS, line, strict=True)) for line in zip(*columns, strict=True)]
        once = "ON CONFLICT DO NOTHING" in sql.partition("INSERT INTO usage (")[2].partition("RETURNING")[0]
        inserted: dict[tuple[str, datetime], Usage] = {}
        for line in lines:
            self._check(line)
            key = (line["request_id"], line["started_at"])
            if key not in self.usage and key not in inserted:
                inserted[key] = line
            elif not once:
                raise StoreBadValue('duplicate key value violates unique constraint "usage_pkey"')
        self.usage.update(inserted)
        for day, sums in daily_sums(inserted.values()).items():
            before = self.daily.get(day)
            self.daily[day] = sums if before is None else _plus(before, sums)
        return len(inserted)

    def _check(self, line: Usage) -> None:
        if line["request_id"] in self.refused:
            raise StoreBadValue("an unexpected value")
        if _month(line["started_at"]) not in self.partitions:
            raise StoreBadValue('no partition of relation "usage" found for row')
        if any(value is None for name, value in line.items() if name not in _NULLABLE):
            raise StoreBadValue("null value violates not-null constraint")
        if line["state"] not in {*State}:
            raise StoreBadValue('row violates check constraint "usage_state_check"')


class FakeStore(Store):
    """A connection to the server. `watch` is called before and after each statement."""

    def __init__(self, server: PostgreSQL, *, watch: Callable[[str], None] = lambda point: None) -> None:
        self.server = server
        self._watch = watch

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[SqlRow]:
        """Runs one statement. Raises StoreUnavailable (it may have run or not), or StoreRejected."""
        self._watch(f"PostgreSQL before {kind_of(sql)}")
        if not self.server.up:
            raise StoreUnavailable("the database is unavailable: the server is down")
        rows = self.server.run(sql, parameters)
        self._watch(f"PostgreSQL after {kind_of(sql)}")
        if self.server.lost_answers and kind_of(sql) in ("ship", "dead letter"):
            self.server.lost_answers -= 1
            raise StoreUnavailable("the database is unavailable: the answer was lost")
        return rows

    async def close(self) -> None:
        """Nothing is open."""


def kind_of(sql: str) -> str:
    """The kind of a statement of the ledger. Raises StoreRejected for any other statement."""
    if sql == SHIP_SQL:
        return "ship"
    for start, kind in (
        ("SELECT ensure_usage_partition(", "partition"),
        ("INSERT INTO dead_letters", "dead letter"),
        ("INSERT INTO agents AS a", "report"),
        ("SELECT coalesce((SELECT id FROM ledger)", "position"),
        ("INSERT INTO agents (", "adopt"),
        ("SELECT setval(", "ids"),
    ):
        if sql.strip().startswith(start):
            return kind
    raise StoreRejected(f"not a statement of the ledger: {sql}")


def daily_sums(lines: Iterable[Usage]) -> dict[Day, Sums]:
    """The daily sums of these rows."""
    days: dict[Day, Sums] = {}
    for line in lines:
        date_ = line["started_at"].astimezone(UTC).date()
        day = (date_, line["user_id"], line["token_id"], line["model"], line["endpoint"])
        counts = [line[name] or 0 for name in COUNT_COLUMNS]
        sums = (
            int(line["state"] != State.CORRECTION),
            int(line["state"] in NOT_DONE),
            *counts,
            line["cost"],
            line["uncertain_cost"],
        )
        days[day] = _plus(days[day], sums) if day in days else sums
    return days


_READ: dict[str, Callable[[str], Any]] = {
    "bigint": int,
    "smallint": int,
    "numeric": Decimal,
    "boolean": "True".__eq__,
    "timestamptz": datetime.fromisoformat,
    "uuid": lambda text: str(UUID(text)),  # PostgreSQL reads it with and without hyphens
}


def _values(text: str, kind: str) -> list[Any]:
    """The values of an array, as psycopg2 reads them."""
    read = _READ.get(kind, str)
    return [None if value is None else read(value) for value in STRINGARRAY(text, None)]


def _plus(one: Sums, other: Sums) -> Sums:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _month(moment: datetime | date) -> tuple[int, int]:
    moment = moment.astimezone(UTC) if isinstance(moment, datetime) else moment
    return moment.year, moment.month
