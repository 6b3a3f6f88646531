"""Spend by day as a table that script draws as stacked bars."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal

from chatgpt_agent.core.money.exact import ZERO, exact_sum
from chatgpt_agent.web.console.languages import Translator
from chatgpt_agent.web.console.parts import Also, Chart, Column, Kind, Table

MAX_COLUMNS = 7  # names with a column of their own; the others are summed up in one more


def spend_table(
    request: Translator,
    costs: Iterable[tuple[date, str, Decimal]],
    first: date,
    last: date,
    *,
    name: str,
    title: str,
    empty: str,
    also: Also | None = None,
) -> Table:
    """Returns USD by day and name, the most expensive names first. `costs`: a day, a name, and USD; all days from
    `first` to `last` get a row."""
    _ = request._
    by_name: dict[str, dict[date, Decimal]] = defaultdict(lambda: defaultdict(lambda: ZERO))
    for day, each, cost in costs:
        by_name[each][day] = exact_sum([by_name[each][day], cost])
    names = sorted(by_name, key=lambda each: (-exact_sum(by_name[each].values()), each))
    series = {each: by_name[each] for each in names[:MAX_COLUMNS]}
    if rest := names[MAX_COLUMNS:]:
        days = {day for each in rest for day in by_name[each]}
        series[_("others")] = {day: exact_sum(by_name[each][day] for each in rest) for day in days}
    rows = [_row(day, [values.get(day, ZERO) for values in series.values()]) for day in _days(first, last)]
    return Table(
        name=name,
        title=title,
        columns=[
            Column("day", _("Day"), Kind.DAY),
            *(Column(each, each, Kind.USD) for each in series),
            Column("total", _("Total"), Kind.USD),
        ],
        rows=rows if series else [],
        total=[_("Total"), *(exact_sum(column) for column in list(zip(*rows, strict=True))[1:])],
        empty=empty,
        chart=Chart(kind="stacked", label="day", values=list(series)),
        also=also,
    )


def _row(day: date, costs: list[Decimal]) -> list[date | Decimal]:
    return [day, *costs, exact_sum(costs)]


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
