"""The differences between the ledger and OpenAI's figures, the largest first, with rows that may explain them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import reduce

import msgspec

from chatgpt_agent.core.money.exact import EXACT, exact_sum
from chatgpt_agent.core.openai_usage import TOOLS, Counts, Figures, Kind, Number, Span
from chatgpt_agent.core.reconcile.costs import cost_lines, other_costs, with_costs
from chatgpt_agent.core.reconcile.lines import (
    MAX_CANDIDATE_ROWS,
    Candidates,
    ChargedItem,
    ComparedLine,
    Finding,
    LedgerSum,
    Reconciliation,
    Users,
    days_to_compare,
    is_snapshot,
    kind_of,
    within,
)
from chatgpt_agent.core.reconcile.usage import other_usage, usage_lines


def compare(
    figures: Figures,
    sums: Sequence[LedgerSum],
    candidates: Sequence[Candidates],
    *,
    keys: Mapping[str, str],
    month: date | None = None,
) -> Reconciliation:
    """Returns the differences. `keys` maps ids of OpenAI keys or projects to users; without it users are not told
    apart. Raises InvalidValue if there are keys and the figures are not grouped by key."""
    users = Users(keys)
    usage = usage_lines(figures, sums, users, month)
    lines, others = list(usage.values()), other_usage(figures, users, month)
    cost_days = days_to_compare(month, figures.cost_days)
    costs = None
    if cost_days:
        ours = [line for line in sums if within(cost_days, line.day)]
        theirs = [figure for figure in figures.costs if within(cost_days, figure.day)]
        lines = with_costs(usage, cost_lines(theirs, ours, users))
        others += other_costs(theirs, ours, users)
        costs = exact_sum(line.cost for line in ours), exact_sum(figure.amount for figure in theirs)
    return Reconciliation(
        usage_days=_usage_days(figures, month),
        cost_days=cost_days,
        lines=sorted([*_differences(lines, candidates, users), *others], key=_order),
        total=_total(usage.values(), costs),
        kinds=[kind for kind in Kind if kind in figures.usage_days],
        left_out=_left_out(figures, sums, month),
        unavailable=list(figures.unavailable),
        unused_keys=_unused_keys(figures, keys),
    )


def costs_by_day(figures: Figures, sums: Sequence[LedgerSum], days: Span | None) -> list[tuple[date, Decimal, Decimal]]:
    """Returns what each of these days cost by the ledger and by OpenAI, in USD; nothing where costs are not
    compared."""
    if days is None:
        return []
    ours: dict[date, list[Decimal]] = {}
    theirs: dict[date, list[Decimal]] = {}
    for line in sums:
        if within(days, line.day):
            ours.setdefault(line.day, []).append(line.cost)
    for figure in figures.costs:
        if within(days, figure.day):
            theirs.setdefault(figure.day, []).append(figure.amount)
    return [(day, exact_sum(ours.get(day, ())), exact_sum(theirs.get(day, ()))) for day in sorted({*ours, *theirs})]


def _usage_days(figures: Figures, month: date | None) -> Span | None:
    spans = [span for days in figures.usage_days.values() if (span := days_to_compare(month, days))]
    return (min(span[0] for span in spans), max(span[1] for span in spans)) if spans else None


def _left_out(figures: Figures, sums: Iterable[LedgerSum], month: date | None) -> dict[str, int]:
    """Returns the requests, by endpoint, of whose kind OpenAI's figures have nothing, while they have other usage."""
    days = _usage_days(figures, month)
    left_out: dict[str, int] = {}
    for line in sums:
        if days and within(days, line.day) and line.kind not in figures.usage_days and line.tool is None:
            requests = int(line.counts.requests or 0)
            if requests:
                left_out[line.endpoint] = left_out.get(line.endpoint, 0) + requests
    return left_out


def _unused_keys(figures: Figures, keys: Iterable[str]) -> list[str]:
    used = {id_ for figure in figures.usage for id_ in (figure.key, figure.project)}
    used |= {id_ for figure in figures.costs for id_ in (figure.key, figure.project)}
    return [key for key in keys if key not in used] if figures.usage else []


def _with_candidates(line: ComparedLine, candidates: Iterable[Candidates], users: Users) -> ComparedLine:
    matching = [
        rows
        for rows in candidates
        if rows.day == line.day
        and (line.kind in (None, Kind.COSTS, *TOOLS) or kind_of(rows.endpoint) is line.kind)
        and (line.model is None or _may_be(rows, line.model))
        and (line.user is None or users.of_ledger(rows.user) == line.user)
        # Where OpenAI has more, the tokens of some rows are missing; an incomplete answer may lack some, too. Where the
        # ledger has more, OpenAI may not have billed tokens that it holds.
        and (True in line.signs or rows.has_tokens)
    ]
    ids = sorted(id_ for rows in matching for id_ in rows.ids)[:MAX_CANDIDATE_ROWS]
    return msgspec.structs.replace(line, candidate_rows=ids, candidate_count=sum(rows.count for rows in matching))


def _may_be(rows: Candidates, model: str) -> bool:
    """Whether rows are of this model, or of a model that OpenAI may have served as this one."""
    return rows.model == model or (not rows.served and is_snapshot(model, rows.model))


def _differences(lines: Iterable[ComparedLine], candidates: Sequence[Candidates], users: Users) -> list[ComparedLine]:
    """Returns the lines that differ. Those of a model, tool and user that one side lacks on all days become one."""
    groups: dict[tuple[object, ...], list[ComparedLine]] = {}
    for line in lines:
        groups.setdefault((line.kind, line.model, line.user), []).append(line)
    differences = []
    for group in groups.values():
        differing = [_with_candidates(line, candidates, users) for line in group if line.signs]
        if len(differing) > 1 and group[0].kind is not Kind.COSTS and _is_one_sided(group):
            differing = [_summed(differing)]
        differences += [msgspec.structs.replace(line, finding=_finding(line)) for line in differing]
    return differences


def _is_one_sided(lines: Sequence[ComparedLine]) -> bool:
    return all(line.is_missing_in_ledger for line in lines) or all(line.is_missing_at_openai for line in lines)


def _finding(line: ComparedLine) -> Finding:
    if line.is_missing_in_ledger:
        return Finding.NOT_IN_LEDGER
    return Finding.NOT_AT_OPENAI if line.is_missing_at_openai else Finding.DIFFERS


def _summed(lines: Sequence[ComparedLine]) -> ComparedLine:
    """Returns one line for several days of the same model, tool and user."""
    days = sorted(line.day for line in lines if line.day)
    quantities = [line.quantity for line in lines if line.quantity is not None]
    models: dict[str, Number] = {}
    items: dict[tuple[str, str | None], ChargedItem] = {}
    for line in lines:
        for model, calls in line.models.items():
            models[model] = models.get(model, 0) + calls
        for item in line.items:
            place = (item.line_item, item.unit)
            items[place] = _added(items[place], item) if place in items else item
    return msgspec.structs.replace(
        lines[0],
        day=None,
        days=(days[0], days[-1]),
        ledger=_sum_of([line.ledger for line in lines]),
        openai=_sum_of([line.openai for line in lines]),
        ledger_cost=_amount([line.ledger_cost for line in lines]),
        openai_cost=_amount([line.openai_cost for line in lines]),
        quantity=sum(quantities) if quantities else None,
        models=models,
        items=sorted(items.values(), key=lambda item: (-item.amount, item.line_item)),
        keys=sorted({key for line in lines for key in line.keys}),
        candidate_rows=sorted(id_ for line in lines for id_ in line.candidate_rows)[:MAX_CANDIDATE_ROWS],
        candidate_count=sum(line.candidate_count for line in lines),
    )


def _added(one: ChargedItem, other: ChargedItem) -> ChargedItem:
    quantity = None
    if one.quantity is not None and other.quantity is not None:
        quantity = EXACT.add(one.quantity, other.quantity)
    return msgspec.structs.replace(one, amount=EXACT.add(one.amount, other.amount), quantity=quantity)


def _order(line: ComparedLine) -> tuple[object, ...]:
    amount = line.missing_cost
    first = line.day or (line.days[0] if line.days else date.min)
    return (
        amount is None,
        -abs(amount or Decimal(0)),
        first,
        line.kind or "",
        line.model or "",
        line.name or "",
        line.user or "",
    )


def _total(lines: Iterable[ComparedLine], costs: tuple[Decimal, Decimal] | None) -> ComparedLine:
    """Returns the sums of what was counted, and the costs of the ledger and of OpenAI."""
    counted = list(lines)

    def counts(side: Callable[[ComparedLine], Counts | None]) -> Counts | None:
        return _sum_of([side(line) for line in counted])

    ours, theirs = costs or (None, None)
    return ComparedLine(
        day=None,
        kind=None,
        ledger=counts(lambda line: line.ledger),
        openai=counts(lambda line: line.openai),
        ledger_cost=ours,
        openai_cost=theirs,
    )


def _sum_of(counts: Iterable[Counts | None]) -> Counts | None:
    values = [value for value in counts if value is not None]
    return reduce(Counts.__add__, values) if values else None


def _amount(amounts: Iterable[Decimal | None]) -> Decimal | None:
    values = [value for value in amounts if value is not None]
    return exact_sum(values) if values else None
