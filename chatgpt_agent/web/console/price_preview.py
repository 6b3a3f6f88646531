"""What past requests would have cost at other prices, as parts of pages."""

import asyncio
from typing import Any

from chatgpt_agent.admin.price_what_if import WhatIfQuery, WhatIfReport, WhatIfRow
from chatgpt_agent.core.errors import NotFound
from chatgpt_agent.web.console.parts import Also, Column, Figure, Figures, Kind, Message, Part, Table
from chatgpt_agent.web.console.price_cells import percent_change
from chatgpt_agent.web.console.routing import ConsoleRequest

MAX_SECONDS = 20.0  # for reading the ledger while a browser waits
MAX_ROWS = 1000


async def what_if(request: ConsoleRequest, query: WhatIfQuery) -> WhatIfReport | None:
    """Returns the report; None: it takes too long for a page. Raises InvalidValue, NotFound."""
    try:
        async with asyncio.timeout(MAX_SECONDS):
            return await request.administration.what_if.report(query, max_rows=MAX_ROWS)
    except TimeoutError:
        return None


async def preview(request: ConsoleRequest, query: WhatIfQuery, *, title: str, also: Also | None = None) -> Part:
    """Returns what the requests of a query would have cost, as figures or, if there is nothing to compare, in words."""
    _ = request._
    try:
        report = await what_if(request, query)
    except NotFound:  # the model has no request, and no price yet
        return Message(title=title, text=_("There is no request to compare."))
    if report is None:
        return too_long(request, title)
    if report.total.requests == 0:
        return Message(title=title, text=_("There is no request to compare."))
    return figures(request, report.total, title=title, also=also)


def too_long(request: ConsoleRequest, title: str) -> Part:
    """Returns a message for a report that takes longer than a browser should wait."""
    text = request._("This takes too long for a page; `chatgpt-agent price what-if` has no limit.")
    return Message(title=title, text=text, level="warning")


def figures(request: ConsoleRequest, total: WhatIfRow, *, title: str, also: Also | None = None) -> Figures:
    """Returns the sums of a report."""
    _ = request._
    note = ""
    if total.unpriced_requests:
        note = _("%(n)s for models without a price, whose cost is unchanged") % {
            "n": request.formats.number(total.unpriced_requests)
        }
    change = percent_change(total.cost, total.what_if)
    return Figures(
        title=title,
        figures=[
            Figure(label=_("Requests"), value=total.requests, note=note),
            Figure(label=_("Cost as charged"), value=total.cost, kind=Kind.USD),
            Figure(label=_("Cost at these prices"), value=total.what_if, kind=Kind.USD),
            Figure(
                label=_("Difference"),
                value=total.difference,
                kind=Kind.USD,
                note="" if change is None else request.formats.change(change),
                level="warning" if total.difference > 0 else "plain",
            ),
        ],
        also=also,
    )


def what_if_table(request: ConsoleRequest, report: WhatIfReport, also: Also) -> Table:
    """Returns a report by its groups."""
    _ = request._
    labels = {"model": _("Model"), "user": _("User"), "day": _("Day"), "month": _("Month")}
    columns = [
        *(Column(name, labels[name]) for name in report.by),
        Column("requests", _("Requests"), Kind.NUMBER),
        Column("cost", _("Cost as charged"), Kind.USD),
        Column("what_if", _("Cost at these prices"), Kind.USD),
        Column("difference", _("Difference"), Kind.USD),
        Column("change", _("Change, %"), Kind.CHANGE),
    ]
    blank = [_("Total"), *([None] * (len(report.by) - 1))]
    return Table(
        name="what-if",
        title=_("By %(groups)s") % {"groups": ", ".join(labels[name] for name in report.by)},
        columns=columns,
        rows=[[*row.group.values(), *_sums(row)] for row in report.rows],
        total=[*blank, *_sums(report.total)],
        empty=_("There is no request on these days."),
        also=also,
    )


def _sums(row: WhatIfRow) -> list[Any]:
    return [row.requests, row.cost, row.what_if, row.difference, percent_change(row.cost, row.what_if)]
