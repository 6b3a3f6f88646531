"""Compares the ledger with OpenAI's bill: the costs of each model and tool by day and user. What the agent does not
serve, and what is not recognized, is named and never added to a model."""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import cache
from operator import itemgetter
from typing import TypeVar

import msgspec

from chatgpt_agent.core.money.exact import EXACT, exact_sum
from chatgpt_agent.core.openai_usage import TOOLS, CostFigure, Counts, Kind, Number
from chatgpt_agent.core.reconcile.line_items import Item, ItemClass, classify
from chatgpt_agent.core.reconcile.lines import (
    NOISE,
    ChargedItem,
    ComparedLine,
    Finding,
    LedgerSum,
    Lines,
    Place,
    Users,
    is_snapshot,
    keys_without_user,
    model_at_openai,
)

T = TypeVar("T")
K = TypeVar("K")

NO_LINE_ITEM = "(no line item)"
_FINDINGS = {ItemClass.NOT_THROUGH_AGENT: Finding.NOT_THROUGH_AGENT, ItemClass.UNKNOWN: Finding.NOT_RECOGNIZED}


def cost_lines(figures: Sequence[CostFigure], sums: Sequence[LedgerSum], users: Users) -> Lines:
    """Returns what both sides charged, by place: of a model (without kind) or of a tool. Costs that are not grouped by
    line items are compared as a whole."""
    by_item = any(figure.line_item for figure in figures)
    by_user = users.are_separate(figures)
    items = _classified(figures, sums)
    served = [figure for figure in figures if not by_item or items(figure).item_class not in _FINDINGS]
    models = {(figure.day, model) for figure in served if (model := items(figure).model)}

    def ledger_place(line: LedgerSum) -> Place:
        user = users.of_ledger(line.user) if by_user else None
        if not by_item:
            return line.day, Kind.COSTS, None, user
        return (line.day, line.tool, None, user) if line.tool else (line.day, None, model_at_openai(line, models), user)

    def openai_place(figure: CostFigure) -> Place:
        user = users.of_figure(figure) if by_user else None
        item = items(figure)
        return figure.day, item.tool if by_item else Kind.COSTS, item.model if by_item else None, user

    ours = _grouped(sums, ledger_place)
    theirs = _grouped(served, openai_place)
    return {place: _line(place, ours.get(place, []), theirs.get(place, [])) for place in ours.keys() | theirs.keys()}


def other_costs(figures: Sequence[CostFigure], sums: Sequence[LedgerSum], users: Users) -> list[ComparedLine]:
    """Returns the line items that are not compared, each summed up over all days: what the agent does not serve, and
    what is not recognized."""
    if not any(figure.line_item for figure in figures):
        return []
    by_user = users.are_separate(figures)
    items = _classified(figures, sums)

    def name(figure: CostFigure) -> tuple[Finding, str, str | None]:
        user = users.of_figure(figure) if by_user else None
        return _FINDINGS[items(figure).item_class], figure.line_item or NO_LINE_ITEM, user

    others = [figure for figure in figures if figure.amount and items(figure).item_class in _FINDINGS]
    lines = []
    for (finding, line_item, user), group in _grouped(others, name).items():
        days = sorted({figure.day for figure in group})
        [item, *more] = _items(group)
        lines.append(
            ComparedLine(
                day=days[0] if len(days) == 1 else None,
                days=(days[0], days[-1]),
                kind=Kind.COSTS,
                user=user,
                finding=finding,
                name=line_item,
                ledger_cost=Decimal(0),
                openai_cost=exact_sum(figure.amount for figure in group),
                quantity=None if more else item.quantity,
                unit=None if more else item.unit,
                items=[item, *more],
                keys=keys_without_user(group, user),
            )
        )
    return [line for line in lines if line.openai_cost and abs(line.openai_cost) > NOISE]


def with_costs(usage: Lines, costs: Lines) -> list[ComparedLine]:
    """Returns the lines of usage with their costs, and lines of their own for costs that are those of several lines or
    of none."""
    lines = dict(usage)
    for place in _replaced_by_bill(usage, costs):
        del lines[place]
    counted = {(day, kind) for day, kind, _, _ in lines}
    for (day, kind, model, user), cost in costs.items():
        kinds = [kind] if kind else [kind for kind in Kind if kind not in TOOLS]
        places = [place for kind in kinds if (place := (day, kind, model, user)) in lines]
        if len(places) == 1:
            line = lines[places[0]]
            lines[places[0]] = msgspec.structs.replace(
                line,
                ledger_cost=cost.ledger_cost,
                openai_cost=cost.openai_cost,
                items=cost.items,
                keys=sorted({*line.keys, *cost.keys}),
            )
        else:
            is_counted = kind in TOOLS and (day, kind) in counted
            place = (day, kind, model, user)
            lines[place] = msgspec.structs.replace(cost, ledger=None, openai=None) if is_counted else cost
    return list(lines.values())


def _replaced_by_bill(usage: Lines, costs: Lines) -> set[Place]:
    """Returns the places of tools that OpenAI's usage does not divide by user, where the bill does and has as many
    calls."""
    replaced = set()
    bills = _grouped(((place[:2], cost.openai) for place, cost in costs.items()), itemgetter(0))
    for place, line in usage.items():
        day, kind, _, user = place
        if kind in TOOLS and user is None and place not in costs and line.openai is not None:
            bill = [counts for _, counts in bills.get((day, kind), [])]
            calls = [None if counts is None else counts.calls for counts in bill]
            if calls and None not in calls and sum(count or 0 for count in calls) == line.openai.calls:
                replaced.add(place)
    return replaced


def _classified(figures: Iterable[CostFigure], sums: Iterable[LedgerSum]) -> Callable[[CostFigure], Item]:
    names = {line.model for line in sums}

    @cache
    def is_in_ledger(model: str) -> bool:
        return any(model == name or is_snapshot(model, name) or is_snapshot(name, model) for name in names)

    names_and_units = {(figure.line_item or "", figure.unit) for figure in figures}
    items = {(name, unit): classify(name, unit, is_in_ledger) for name, unit in names_and_units if name}

    def item(figure: CostFigure) -> Item:
        if figure.source:
            return Item(ItemClass.NOT_THROUGH_AGENT)
        return items.get((figure.line_item or "", figure.unit), Item(ItemClass.UNKNOWN))

    return item


def _grouped(values: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups


def _line(place: Place, ours: Sequence[LedgerSum], theirs: Sequence[CostFigure]) -> ComparedLine:
    day, kind, model, user = place
    items = _items(theirs)
    calls = _calls(items) if kind in TOOLS else None
    return ComparedLine(
        day=day,
        kind=kind,
        model=model,
        user=user,
        ledger=None if calls is None else Counts(calls=sum(line.counts.calls or 0 for line in ours)),
        openai=None if calls is None else Counts(calls=calls),
        ledger_cost=exact_sum(line.cost for line in ours),
        openai_cost=exact_sum(figure.amount for figure in theirs),
        items=[item for item in items if item.line_item != NO_LINE_ITEM],
        keys=keys_without_user(theirs, user),
    )


def _items(figures: Iterable[CostFigure]) -> list[ChargedItem]:
    """Returns the line items of figures, each once, the largest amount first."""
    items = []
    for (name, unit), group in _grouped(
        figures, lambda figure: (figure.line_item or NO_LINE_ITEM, figure.unit)
    ).items():
        quantities = [figure.quantity for figure in group if figure.quantity is not None]
        quantity = exact_sum(quantities) if len(quantities) == len(group) else None
        items.append(ChargedItem(name, exact_sum(figure.amount for figure in group), quantity, unit))
    return sorted(items, key=lambda item: (-item.amount, item.line_item))


def _calls(items: Sequence[ChargedItem]) -> Number | None:
    """Returns the calls of a tool, or None where the bill does not have them."""
    calls = Decimal(0)
    for item in items:
        if item.quantity is None:
            return None
        factor = 1000 if (item.unit or "").startswith("1000_") else 1
        calls = EXACT.add(calls, EXACT.multiply(item.quantity, Decimal(factor)))
    return int(calls) if calls == int(calls) else calls
