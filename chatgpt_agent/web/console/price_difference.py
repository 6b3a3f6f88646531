"""What a list of prices would change, as tables: new, changed, gone, surcharges, shutdown dates, what is skipped."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from chatgpt_agent.admin.price_import import ListDifference
from chatgpt_agent.core.money.litellm import OTHER_PROVIDER
from chatgpt_agent.core.money.price_csv import Change
from chatgpt_agent.core.money.price_files import PriceFile
from chatgpt_agent.core.money.shutdowns import ShutdownChange
from chatgpt_agent.core.money.surcharge_lists import SurchargeChange
from chatgpt_agent.web.console.parts import Column, Figure, Figures, Kind, Link, Mark, Message, Part, Table
from chatgpt_agent.web.console.price_cells import (
    changed_rates,
    changed_tiers,
    percent_change,
    price_cells,
    price_columns,
    price_url,
)
from chatgpt_agent.web.console.routing import ConsoleRequest
from chatgpt_agent.web.console.surcharges import amount_cell, kind_names

MAX_ROWS = 1000  # of a table; figures count all


def difference_tables(request: ConsoleRequest, changes: ListDifference) -> list[Part]:
    """Returns the tables, without those that have no rows."""
    by_kind = _by_kind(changes)
    tables = [
        _changed(request, by_kind["changed"]),
        _removed(request, by_kind["removed"]),
        _new(request, by_kind["new"]),
        _surcharges(request, changes.surcharges.changes),
        _shutdowns(request, changes.shutdown_dates),
    ]
    return [_cut(request, table) for table in tables if table.rows]


def skipped_parts(request: ConsoleRequest, file: PriceFile) -> list[Part]:
    """Returns what is not taken of a list, and why."""
    tables = [_reasons(request, file), _skipped(request, file)]
    return [*_ignored(request, file), *(_cut(request, table) for table in tables if table.rows)]


def _by_kind(changes: ListDifference) -> dict[str, list[Change]]:
    return {
        kind: [change for change in changes.prices.changes if change.kind == kind]
        for kind in ("new", "changed", "removed")
    }


def _cut(request: ConsoleRequest, table: Table) -> Table:
    """Returns at most so many rows as a page should have."""
    if len(table.rows) <= MAX_ROWS:
        return table
    values = {"n": request.formats.number(MAX_ROWS), "all": request.formats.number(len(table.rows))}
    return Table(
        name=table.name,
        title=table.title,
        columns=table.columns,
        rows=table.rows[:MAX_ROWS],
        note=request._("The first %(n)s of %(all)s.") % values,
    )


def difference_figures(request: ConsoleRequest, changes: ListDifference) -> Figures:
    """Returns how many prices, surcharges and dates change."""
    _ = request._
    by_kind = _by_kind(changes)
    return Figures(
        figures=[
            Figure(label=_("New prices"), value=len(by_kind["new"])),
            Figure(label=_("Changed prices"), value=len(by_kind["changed"])),
            Figure(
                label=_("Removed prices"),
                value=len(by_kind["removed"]),
                level="warning" if by_kind["removed"] else "plain",
            ),
            Figure(label=_("Unchanged prices"), value=changes.prices.unchanged),
            Figure(label=_("Changed surcharges"), value=len(changes.surcharges.changes)),
            Figure(label=_("Changed shutdown dates"), value=len(changes.shutdown_dates)),
        ]
    )


def _changed(request: ConsoleRequest, changes: Iterable[Change]) -> Table:
    _ = request._
    rows: list[list[Any]] = []
    for change in changes:
        assert change.before is not None
        model, since = Link(change.new.model, price_url(change.new.model)), change.new.effective_at
        for name, before, after, part in changed_rates(request, change.before, change.new):
            rows.append([model, name, before, after, part, since])
        tiers = changed_tiers(change.before.tiers, change.new.tiers)
        rows += [[model, _("Tier: %(tier)s") % {"tier": tier}, None, None, None, since] for tier in tiers]
    return Table(
        name="changed",
        title=_("Changed"),
        columns=[
            Column("model", _("Model")),
            Column("rate", _("Rate")),
            Column("before", _("Now"), Kind.EXACT_USD),
            Column("after", _("Then"), Kind.EXACT_USD),
            Column("change", _("Change, %"), Kind.CHANGE),
            Column("effective_at", _("From"), Kind.TIME),
        ],
        rows=rows,
    )


def _new(request: ConsoleRequest, changes: Iterable[Change]) -> Table:
    _ = request._
    return Table(
        name="new",
        title=_("New"),
        note=_("Models without a price now, which can be used from then on."),
        columns=[Column("model", _("Model")), *price_columns(request), Column("effective_at", _("From"), Kind.TIME)],
        rows=[[change.new.model, *price_cells(request, change.new), change.new.effective_at] for change in changes],
    )


def _removed(request: ConsoleRequest, changes: Iterable[Change]) -> Table:
    _ = request._
    rows = [
        [
            Link(change.new.model, price_url(change.new.model)),
            *(price_cells(request, change.before) if change.before else [None] * len(price_columns(request))),
            change.new.effective_at,
        ]
        for change in changes
    ]
    return Table(
        name="removed",
        title=_("Removed"),
        note=_("Requests for these models are refused from then on."),
        columns=[Column("model", _("Model")), *price_columns(request), Column("effective_at", _("From"), Kind.TIME)],
        rows=rows,
    )


def _surcharges(request: ConsoleRequest, changes: Iterable[SurchargeChange]) -> Table:
    _ = request._
    names = kind_names(request)
    rows = [
        [
            names[change.new.kind],
            change.new.host or None,
            change.new.model or _("every model"),
            amount_cell(request, change.new.kind, change.before),
            amount_cell(request, change.new.kind, change.new.amount),
            percent_change(change.before, change.new.amount),
            change.new.effective_at,
        ]
        for change in changes
    ]
    return Table(
        name="surcharges",
        title=_("Surcharges"),
        columns=[
            Column("kind", _("Kind")),
            Column("host", _("Host")),
            Column("model", _("Model")),
            Column("before", _("Now")),
            Column("after", _("Then")),
            Column("change", _("Change, %"), Kind.CHANGE),
            Column("effective_at", _("From"), Kind.TIME),
        ],
        rows=rows,
    )


def _shutdowns(request: ConsoleRequest, changes: Iterable[ShutdownChange]) -> Table:
    _ = request._
    none = Mark(_("not announced"))
    return Table(
        name="shutdowns",
        title=_("Shutdown dates"),
        columns=[
            Column("model", _("Model")),
            Column("before", _("Now"), Kind.DAY),
            Column("after", _("Then"), Kind.DAY),
        ],
        rows=[[change.model, change.before or none, change.shutdown_date or none] for change in changes],
    )


def _ignored(request: ConsoleRequest, file: PriceFile) -> list[Part]:
    _ = request._
    if not file.ignored_rates:
        return []
    items = [
        _("%(rate)s of %(models)s") % {"rate": rate, "models": ", ".join(models[:3]) + ("…" if len(models) > 3 else "")}
        for rate, models in file.ignored_rates.items()
    ]
    return [Message(title=_("Rates that are not taken, because they are not charged here"), items=items)]


def _skipped(request: ConsoleRequest, file: PriceFile) -> Table:
    _ = request._
    entries = sorted((each.model, each.reason) for each in file.skipped if each.reason != OTHER_PROVIDER)
    return Table(
        name="skipped",
        title=_("Skipped entries of OpenAI"),
        columns=[Column("model", _("Model")), Column("reason", _("Reason"))],
        rows=[[model, request.message(reason)] for model, reason in entries],
    )


def _reasons(request: ConsoleRequest, file: PriceFile) -> Table:
    _ = request._
    reasons = Counter(each.reason for each in file.skipped)
    by_count = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return Table(
        name="reasons",
        title=_("Skipped entries by reason"),
        columns=[Column("reason", _("Reason")), Column("entries", _("Entries"), Kind.NUMBER)],
        rows=[[request.message(reason), count] for reason, count in by_count],
    )
