"""Archived months: what a file of rows adds up to."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.exact import EXACT, ZERO
from chatgpt_agent.core.money.kinds import COUNT_COLUMNS

_REQUIRED = ("request_id", "state", "cost", "uncertain_cost")


class ArchiveSums(msgspec.Struct, frozen=True, kw_only=True):
    """The number of rows, of requests (rows without corrections), their cost in USD, and their counts by column."""

    rows: int
    requests: int
    cost: Decimal
    uncertain_cost: Decimal
    counts: dict[str, Decimal]


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """An archived month (its first day, in UTC): name, SHA-256 and size of its file, the sums of its rows, the time
    zone of the days of its daily sums, the time of the archiving and its author."""

    month: date
    file: str
    sha256: str
    bytes: int
    sums: ArchiveSums
    time_zone: str
    archived_at: datetime
    archived_by: str


def next_month(month: date) -> date:
    """Returns the first day of the month after one, which is given by any day."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def show_month(month: date) -> str:
    """Returns a month as it is written everywhere: 2026-11."""
    return f"{month:%Y-%m}"


def archive_name(month: date, ledger_id: str) -> str:
    """Returns the name of a month's file. It has a part of the ledger's id, so that no other database writes it."""
    return f"usage-{show_month(month)}-{ledger_id[:8]}.csv.gz"


def sums_of(lines: Iterable[Sequence[str]]) -> ArchiveSums:
    """Returns what the lines of an archive add up to, the first of which has the names of the columns. Raises
    InvalidValue."""
    lines = iter(lines)
    header = list(next(lines, ()))
    missing = [name for name in _REQUIRED if name not in header]
    if missing:
        raise InvalidValue(f"the column {missing[0]} is missing")
    state = header.index("state")
    amounts = {name: header.index(name) for name in (*COUNT_COLUMNS, "cost", "uncertain_cost") if name in header}
    totals = dict.fromkeys(amounts, ZERO)
    rows = corrections = 0
    for line in lines:
        if len(line) != len(header):
            raise InvalidValue(f"line {rows + 2} has {len(line)} columns, the first has {len(header)}")
        rows += 1
        corrections += line[state] == State.CORRECTION
        for name, at in amounts.items():
            if line[at] not in ("", "0"):
                totals[name] = EXACT.add(totals[name], _number(line[at], rows))
    cost, uncertain_cost = totals.pop("cost"), totals.pop("uncertain_cost")
    return ArchiveSums(
        rows=rows, requests=rows - corrections, cost=cost, uncertain_cost=uncertain_cost, counts=dict(totals)
    )


def differences(recorded: ArchiveSums, file: ArchiveSums) -> list[str]:
    """Returns in words what a file has other than what was recorded."""
    pairs = {name: (getattr(recorded, name), getattr(file, name)) for name in ("rows", "requests", "cost")}
    pairs["uncertain_cost"] = (recorded.uncertain_cost, file.uncertain_cost)
    pairs |= {name: (count, file.counts.get(name, ZERO)) for name, count in recorded.counts.items()}
    return [f"{name}: {two} instead of {one}" for name, (one, two) in pairs.items() if one != two]


def _number(text: str, row: int) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise InvalidValue(f"line {row + 1}: {text[:40]!r} is not a number") from None
