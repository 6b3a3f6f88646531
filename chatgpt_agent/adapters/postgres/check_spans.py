"""The spans that checks of the ledger go through one after the other: months of rows, months of days, ranges of ids.

A month of rows is one of UTC, as partitions are. Sums have days of the time zone of reports, and around midnight at the
ends of a month such a day has rows of two months; so sums are compared by months of days, each day in one piece. What
only an edit in SQL can store, before 1970 or after 9999, is in a span without a bound.
"""

import itertools
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import msgspec

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.settings import DAY_SQL, TIME_ZONE_SQL
from chatgpt_agent.core.archive import next_month

Span = tuple[str, str]  # values for two placeholders: the first one is in the span, the second one behind it

_FIRST, _LAST = date(1970, 1, 1), date(9999, 1, 1)
_ID_SLICES = 4  # of the ids that are not from the months of the ledger, such as those of imported rows
_MAX_ID = 2**128

# Whether a row is in a month. The bound is moved as a timestamp without time zone, which the planner can compute: it
# then plans with the partition of the month only. The end includes infinity.
IN_MONTH = """started_at BETWEEN (%s::timestamp AT TIME ZONE 'UTC')
              AND ((%s::timestamp - interval '1 microsecond') AT TIME ZONE 'UTC')"""
# Whether a day is in a month, and whether a row is of such a day: the time zone is less than two days from UTC.
DAY_IN_MONTH = "{day} BETWEEN %s::date AND %s::date - 1"
ROW_DAY_IN_MONTH = f"""started_at BETWEEN ((%s::date::timestamp - interval '2 days') AT TIME ZONE 'UTC')
                  AND ((%s::date::timestamp + interval '2 days') AT TIME ZONE 'UTC')
              AND {DAY_IN_MONTH.format(day=DAY_SQL)}"""

_NEXT_ROW = "SELECT min(started_at) FROM usage WHERE started_at >= %s"
_DAYS_OF_ROWS = f"""
    SELECT (first AT TIME ZONE {TIME_ZONE_SQL})::date, (last AT TIME ZONE {TIME_ZONE_SQL})::date
    FROM (SELECT min(started_at) AS first, max(started_at) AS last FROM usage WHERE {IN_MONTH}) ends"""
_DAYS_OF_SUMS = " UNION ".join(
    f"SELECT day FROM {table} GROUP BY day"
    for table in ("usage_daily", "usage_by_model", "usage_latency", "archived_daily", "archived_latency")
)


class LedgerSpans(msgspec.Struct, frozen=True):
    """The months that have rows, the months that have rows or sums of their days, and the ranges of request ids."""

    rows: list[Span]
    days: list[Span]
    ids: list[Span]


async def ledger_spans(store: Store) -> LedgerSpans:
    """Returns the spans that together have everything that is in the ledger now."""
    months = await _months_of_rows(store)
    days = {day for (day,) in await store.fetch(_DAYS_OF_SUMS)}
    for span in _spans(months):
        days.update(*await store.fetch(_DAYS_OF_ROWS, span))
    months_of_days = {day.replace(day=1) for day in days}
    return LedgerSpans(rows=_spans(months), days=_spans(months_of_days), ids=_id_ranges(months))


async def _months_of_rows(store: Store) -> list[date]:
    months: list[date] = []
    after = "-infinity"
    while True:
        [(moment,)] = await store.fetch(_NEXT_ROW, [after])
        if moment is None:
            return months
        months.append(max(moment.date(), _FIRST - timedelta(days=1)).replace(day=1))
        if months[-1] >= _LAST:
            return months
        after = f"{next_month(months[-1])} UTC"


def _spans(months: Iterable[date]) -> list[Span]:
    """Returns each month from its first day to that of the next one. All before 1970 is one span, all after 9998."""
    return sorted({_span(month) for month in months}, key=lambda span: (span[0] != "-infinity", span))


def _span(month: date) -> Span:
    if month < _FIRST:
        return "-infinity", str(_FIRST)
    return (str(month), str(next_month(month))) if month < _LAST else (str(_LAST), "infinity")


def _id_ranges(months: Iterable[date]) -> list[Span]:
    """Returns ranges of all ids, with the first and the last id of each. Agents make ids that begin with the time
    (RFC 9562, section 5.7), so that a month's rows are in one range; other ids are anywhere."""
    ends = {end for month in months if _FIRST <= month < _LAST for end in (month, next_month(month))}
    firsts = {number * (_MAX_ID // _ID_SLICES) for number in range(_ID_SLICES)}
    firsts |= {int(_midnight(day).timestamp() * 1000) << 80 for day in ends}
    return [(f"{first:032x}", f"{behind - 1:032x}") for first, behind in itertools.pairwise([*sorted(firsts), _MAX_ID])]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
