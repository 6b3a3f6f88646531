"""A PostgreSQL in memory, at the seam of `edges.store.connection.Store`: it knows the ledger's statements, no others.

It keeps what the proofs lean on: a row goes in once and takes its share of the roll-up with it, or neither happens; a
row needs its month's partition; one bad row spoils its statement. `tests/proofs/test_fake_postgresql.py` holds it to
the real one.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from psycopg2.extensions import STRINGARRAY

from chatgpt_agent.adapters.postgres.connection import SqlRow, Store
from chatgpt_agent.adapters.postgres.usage import _COLUMNS, SHIP_SQL
from chatgpt_agent.core.errors import StoreBadValue, StoreRejected, StoreUnavailable
from chatgpt_agent.core.ledger import NOT_DONE, State
from chatgpt_agent.core.money.kinds import TOKEN_COLUMNS

Usage = dict[str, Any]  # a row of the table, by column
Day = tuple[date, int, int, str, str]  # day, user, token, model, endpoint
Sums = tuple[Any, ...]  # requests, not_done, tokens of each kind, cost, uncertain_cost

_NULLABLE = {
    "served_model",
    "service_tier",
    "upstream_id",
    "upstream_request_id",
    *TOKEN_COLUMNS,
    "status",
    "error",
    "duration_ms",
}
_NULLABLE |= {"first_byte_ms", "corrects", "reason"}


class PostgreSQL:
    """The server: its tables, and what it may do to those who ask it."""

    def __init__(self) -> None:
        # Its tables.
        self.usage: dict[tuple[str, datetime], Usage] = {}
        self.daily: dict[Day, Sums] = {}
        self.partitions: set[tuple[int, int]] = set()
        self.dead_letters: dict[str, SqlRow] = {}
        self.agents: dict[str, SqlRow] = {}
        self.shipped: list[Sequence[Any]] = []  # the parameters of every statement that brought rows
        # What it does to who asks.
        self.up = True
        self.lost_answers = 0  # so many statements more that bring rows run, and nobody hears of it
        self.refused: set[str] = set()  # request ids that it does not take

    def copy(self) -> "PostgreSQL":
        """The same tables in a server of their own, which is up and does nobody any harm."""
        other = PostgreSQL()
        for table in ("usage", "daily", "partitions", "dead_letters", "agents"):
            setattr(other, table, deepcopy(getattr(self, table)))
        return other

    def run(self, sql: str, parameters: Sequence[Any]) -> list[SqlRow]:
        """Runs a statement to its end, or raises StoreRejected and changes nothing."""
        kind = kind_of(sql)
        if kind == "ship":
            new = self._ship(sql, parameters)
            self.shipped.append(parameters)
            return [(new, "")]
        if kind == "partition":
            self.partitions.add(_month(parameters[0]))
            return [("",)]
        if kind == "bury":
            self.dead_letters.setdefault(parameters[0], tuple(parameters))
        else:
            self.agents[parameters[0]] = tuple(parameters)
        return []

    def replay(self) -> None:
        """Runs every statement with rows again, the last one first."""
        for parameters in reversed(self.shipped):
            self._ship(SHIP_SQL, parameters)

    def _ship(self, sql: str, parameters: Sequence[Any]) -> int:
        columns = [_values(text, kind) for text, kind in zip(parameters, _COLUMNS.values(), strict=True)]
        lines = [dict(zip(_COLUMNS, line, strict=True)) for line in zip(*columns, strict=True)]
        once = "ON CONFLICT DO NOTHING" in sql.partition("RETURNING")[0]
        fresh: dict[tuple[str, datetime], Usage] = {}
        for line in lines:
            self._check(line)
            key = (line["request_id"], line["started_at"])
            if key not in self.usage and key not in fresh:
                fresh[key] = line
            elif not once:
                raise StoreBadValue('duplicate key value violates unique constraint "usage_pkey"')
        self.usage.update(fresh)
        for day, sums in added_up(fresh.values()).items():
            before = self.daily.get(day)
            self.daily[day] = sums if before is None else _plus(before, sums)
        return len(fresh)

    def _check(self, line: Usage) -> None:
        if line["request_id"] in self.refused:
            raise StoreBadValue("a value that nobody thought of")
        if _month(line["started_at"]) not in self.partitions:
            raise StoreBadValue('no partition of relation "usage" found for row')
        if any(value is None for name, value in line.items() if name not in _NULLABLE):
            raise StoreBadValue("null value violates not-null constraint")
        if line["state"] not in {*State}:
            raise StoreBadValue('row violates check constraint "usage_state_check"')


class FakeStore(Store):
    """A connection to it. `watch` is called at the points `before` and `after` of each statement."""

    def __init__(self, server: PostgreSQL, *, watch: Callable[[str], None] = lambda point: None) -> None:
        self.server = server
        self._watch = watch

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[SqlRow]:
        """Runs one statement. Raises StoreUnavailable (it may have run or not), or StoreRejected."""
        self._watch(f"PostgreSQL before {kind_of(sql)}")
        if not self.server.up:
            raise StoreUnavailable("the database is unavailable: it is away")
        found = self.server.run(sql, parameters)
        self._watch(f"PostgreSQL after {kind_of(sql)}")
        if self.server.lost_answers and kind_of(sql) in ("ship", "bury"):
            self.server.lost_answers -= 1
            raise StoreUnavailable("the database is unavailable: the answer was lost")
        return found

    async def close(self) -> None:
        """Nothing is open."""


def kind_of(sql: str) -> str:
    """Which of the ledger's statements it is. Raises StoreRejected where it is none."""
    if sql == SHIP_SQL:
        return "ship"
    for start, kind in (
        ("SELECT ensure_usage_partition(", "partition"),
        ("INSERT INTO dead_letters", "bury"),
        ("INSERT INTO agents", "report"),
    ):
        if sql.strip().startswith(start):
            return kind
    raise StoreRejected(f"this is not the ledger's: {sql}")


def added_up(lines: Iterable[Usage]) -> dict[Day, Sums]:
    """What the roll-up of these rows must be."""
    days: dict[Day, Sums] = {}
    for line in lines:
        date_ = line["started_at"].astimezone(UTC).date()
        day = (date_, line["user_id"], line["token_id"], line["model"], line["endpoint"])
        counts = [line[name] or 0 for name in TOKEN_COLUMNS]
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
}


def _values(text: str, kind: str) -> list[Any]:
    """The values of an array, as psycopg2 reads what a server says."""
    read = _READ.get(kind, str)
    return [None if value is None else read(value) for value in STRINGARRAY(text, None)]  # type: ignore[arg-type]


def _plus(one: Sums, other: Sums) -> Sums:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _month(moment: datetime | date) -> tuple[int, int]:
    moment = moment.astimezone(UTC) if isinstance(moment, datetime) else moment
    return moment.year, moment.month
