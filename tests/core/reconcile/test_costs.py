"""Tests of the comparison with OpenAI's bill."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.core.openai_usage import CostFigure, Counts, Figures, Kind, UsageFigure
from chatgpt_agent.core.reconcile.compare import compare
from chatgpt_agent.core.reconcile.lines import Candidates, ChargedItem, Finding, LedgerSum, Reconciliation

DAY, NEXT = date(2026, 11, 1), date(2026, 11, 2)
SOL = "gpt-6-sol"
KEYS = {"key_ann": "ann", "key_bob": "bob"}


def ours(cost: str, *, model: str = SOL, user: str = "ann", tool: Kind | None = None, **other: Any) -> LedgerSum:
    """Returns a sum of the ledger."""
    counts = other.pop("counts", Counts(calls=int(Decimal(cost) * 100) if tool else 0))
    fields: dict[str, Any] = {"day": DAY, "served": True, "endpoint": "/v1/responses"} | other
    return LedgerSum(model=model, user=user, counts=counts, cost=Decimal(cost), tool=tool, **fields)


def charged(amount: str, line_item: str | None = f"{SOL}, input", *, day: date = DAY, **other: Any) -> CostFigure:
    """Returns an amount of OpenAI's bill."""
    if "quantity" in other:
        other["quantity"] = Decimal(other["quantity"])
    return CostFigure(day, Decimal(amount), line_item, **other)


def compared(
    sums: Sequence[LedgerSum],
    costs: Sequence[CostFigure],
    usage: Sequence[UsageFigure] = (),
    keys: Mapping[str, str] | None = None,
    candidates: Sequence[Candidates] = (),
) -> Reconciliation:
    """Compares the costs of two days, and the kinds of these figures of usage."""
    spans = dict.fromkeys((figure.kind for figure in usage), (DAY, NEXT))
    return compare(Figures([*usage], [*costs], spans, (DAY, NEXT)), sums, candidates, keys=keys or {})


def test_line_items_of_a_model_are_added_up() -> None:
    """The ledger has one cost for all tokens of a request."""
    costs = [
        charged("0.02", f"{SOL}, input"),
        charged("0.001", f"{SOL}, cached input"),
        charged("0.3", f"{SOL}, output"),
        charged("0.005", f"{SOL}, cache writes"),
    ]
    assert compared([ours("0.326")], costs).equal
    [line] = compared([ours("0.3")], costs).lines
    assert (line.model, line.missing_cost, line.items[0]) == (
        SOL,
        Decimal("0.026"),
        ChargedItem(f"{SOL}, output", Decimal("0.3")),
    )


def test_costs_are_compared_by_day_model_and_user() -> None:
    """Two errors that cancel each other are two lines."""
    costs = [
        charged("1", key="key_ann"),
        charged("2", key="key_bob"),
        charged("4", "gpt-6-luna, output", key="key_ann"),
        charged("8", key="key_ann", day=NEXT),
    ]
    sums = [ours("2"), ours("1", user="bob"), ours("4", model="gpt-6-luna"), ours("8", day=NEXT)]
    result = compared(sums, costs, keys=KEYS)
    assert [(line.day, line.model, line.user, line.missing_cost) for line in result.lines] == [
        (DAY, SOL, "ann", Decimal(-1)),
        (DAY, SOL, "bob", Decimal(1)),
    ]
    assert result.total.missing_cost == 0


def test_float_noise_is_no_difference() -> None:
    """Each amount of a day may have it."""
    costs = [charged("0.060000000000000005"), charged("0.30000000000000004", f"{SOL}, output")]
    assert compared([ours("0.36")], costs).equal
    assert not compared([ours("0.360000002")], costs).equal


def test_snapshot_and_alias_are_the_same_model() -> None:
    """The bill may name either."""
    sums = [ours("1", model="gpt-6-sol-2026-09-01"), ours("1", model="gpt-6-luna", served=False)]
    assert compared(sums, [charged("1", "gpt-6-sol, input"), charged("1", "gpt-6-luna-2026-09-01, input")]).equal


def test_tool_that_the_ledger_lacks_is_named_with_its_calls() -> None:
    """It is one line for all days."""
    costs = [
        charged("1.2", "web search tool calls", key="key_ann", quantity="120.0"),
        charged("2", "web search tool calls", key="key_ann", quantity="200.0", day=NEXT),
    ]
    [line] = compared([], costs, keys=KEYS).lines
    assert (line.finding, line.kind, line.user, line.openai, line.openai_cost) == (
        Finding.NOT_IN_LEDGER,
        Kind.WEB_SEARCH,
        "ann",
        Counts(calls=320),
        Decimal("3.2"),
    )


def test_cost_of_tools_is_not_that_of_the_model() -> None:
    """The ledger's calls are compared with the bill's."""
    sums = [ours("0.5"), ours("3.20", tool=Kind.WEB_SEARCH)]
    assert compared(sums, [charged("0.5"), charged("3.2", "web search tool calls", quantity="320")]).equal
    [line] = compared(sums, [charged("0.5"), charged("3.3", "web search tool calls", quantity="330")]).lines
    assert (line.kind, line.differences, line.missing_cost) == (Kind.WEB_SEARCH, {"calls": 10}, Decimal("0.1"))


def test_thousands_of_calls_are_calls() -> None:
    """The unit says how many a quantity of 1 is."""
    sums = [ours("2.5", tool=Kind.FILE_SEARCH, counts=Counts(calls=1000))]
    assert compared(sums, [charged("2.5", "file search", quantity="1", unit="1000_calls")]).equal


def test_usage_and_costs_of_a_model_are_one_line() -> None:
    """Tokens and their amount are named together."""
    usage = [UsageFigure(DAY, SOL, None, Counts(requests=2, input=20))]
    sums = [ours("0.1", counts=Counts(requests=1, input=10))]
    [line] = compared(sums, [charged("0.2")], usage).lines
    assert (line.differences, line.missing_cost) == ({"requests": 1, "input": 10}, Decimal("0.1"))


def test_usage_and_costs_of_a_tool_are_one_line() -> None:
    """The calls are those of the usage."""
    usage = [UsageFigure(DAY, SOL, None, Counts(calls=320), kind=Kind.WEB_SEARCH)]
    [line] = compared([], [charged("3.2", "web search tool calls", quantity="320")], usage).lines
    assert (line.models, line.openai, line.openai_cost) == ({SOL: 320}, Counts(calls=320), Decimal("3.2"))


def test_wrong_price_is_a_line_without_counts() -> None:
    """The tokens are equal, the amounts are not."""
    usage = [UsageFigure(DAY, SOL, None, Counts(requests=1, input=10))]
    [line] = compared([ours("0.1", counts=Counts(requests=1, input=10))], [charged("0.2")], usage).lines
    assert (line.differences, line.missing_cost) == ({}, Decimal("0.1"))


def test_costs_of_a_model_of_several_kinds_are_a_line_of_their_own() -> None:
    """The bill does not tell chats and decisions apart."""
    usage = [UsageFigure(DAY, SOL, None, Counts(requests=1), kind=kind) for kind in (Kind.COMPLETIONS, Kind.DECISIONS)]
    sums = [
        ours("1", counts=Counts(requests=1)),
        ours("1", counts=Counts(requests=1), endpoint="/v1/decisions"),
    ]
    assert compared(sums, [charged("2")], usage).equal
    [line] = compared(sums, [charged("3")], usage).lines
    assert (line.kind, line.model, line.missing_cost) == (None, SOL, Decimal(1))


def test_sessions_are_divided_by_user_as_the_bill_does() -> None:
    """OpenAI's usage of the code interpreter has no keys."""
    costs = [
        charged("0.3", "code interpreter sessions", key="key_ann", quantity="10"),
        charged("0.06", "code interpreter sessions", key="key_bob", quantity="2"),
    ]
    usage = [UsageFigure(DAY, None, None, Counts(calls=12), kind=Kind.CODE_INTERPRETER)]
    sums = [ours("0.06", user="bob", tool=Kind.CODE_INTERPRETER, counts=Counts(calls=2))]
    [line] = compared(sums, costs, usage, KEYS).lines
    assert (line.user, line.openai, line.finding) == ("ann", Counts(calls=10), Finding.NOT_IN_LEDGER)


def test_sessions_that_the_bill_lacks_are_a_line() -> None:
    """The calls of the bill are not taken where the usage has others."""
    costs = [charged("0.3", "code interpreter sessions", key="key_ann", quantity="10")]
    usage = [UsageFigure(DAY, None, None, Counts(calls=12), kind=Kind.CODE_INTERPRETER)]
    result = compared([], costs, usage, KEYS)
    assert [(line.user, line.openai, line.openai_cost) for line in result.lines] == [
        ("ann", None, Decimal("0.3")),
        (None, Counts(calls=12), None),
    ]


@pytest.mark.parametrize(
    ("line_item", "finding"),
    [
        ("vector store storage", Finding.NOT_THROUGH_AGENT),
        ("something new", Finding.NOT_RECOGNIZED),
        (None, Finding.NOT_RECOGNIZED),
    ],
)
def test_line_item_that_is_not_compared_is_named(line_item: str | None, finding: Finding) -> None:
    """It is summed up over all days, under its own name, and its amount is in the total."""
    costs = [charged("1"), charged("0.4", line_item, quantity="4"), charged("0.2", line_item, quantity="2", day=NEXT)]
    result = compared([ours("1")], costs)
    [line] = result.lines
    assert (line.finding, line.name, line.openai_cost, line.quantity) == (
        finding,
        line_item or "(no line item)",
        Decimal("0.6"),
        6,
    )
    assert result.total.openai_cost == Decimal("1.6")


def test_agents_of_openai_are_not_through_this_agent() -> None:
    """Their tokens have the line items of models."""
    [line] = compared([ours("1")], [charged("1"), charged("0.5", source="Agents API")]).lines
    assert (line.finding, line.openai_cost) == (Finding.NOT_THROUGH_AGENT, Decimal("0.5"))


def test_free_line_items_are_not_named() -> None:
    """A bill has many of them with an amount of 0."""
    assert compared([], [charged("0", "something new", quantity="7"), charged("0", "batch storage")]).equal


def test_costs_without_line_items_are_compared_as_a_whole() -> None:
    """Exports of the dashboard may have none."""
    sums = [ours("1"), ours("2", tool=Kind.WEB_SEARCH), ours("4", model="gpt-6-luna", day=NEXT)]
    assert compared(sums, [charged("3", None), charged("4", None, day=NEXT)]).equal
    result = compared(sums, [charged("4", None), charged("5", None, day=NEXT)])
    assert [(line.kind, line.day, line.missing_cost) for line in result.lines] == [
        (Kind.COSTS, DAY, Decimal(1)),
        (Kind.COSTS, NEXT, Decimal(1)),
    ]


def test_whole_costs_that_the_ledger_lacks_stay_by_day() -> None:
    """Nothing else tells the days apart."""
    result = compared([], [charged("4", None), charged("5", None, day=NEXT)])
    assert [(line.day, line.finding) for line in result.lines] == [
        (NEXT, Finding.NOT_IN_LEDGER),
        (DAY, Finding.NOT_IN_LEDGER),
    ]


def test_largest_amount_comes_first() -> None:
    """Lines without an amount come last."""
    usage = [UsageFigure(DAY, "gpt-6-astra", None, Counts(requests=1))]
    costs = [charged("1"), charged("5", "something new"), charged("0.5", "vector store storage")]
    lines = compared([ours("4")], costs, usage).lines
    assert [line.missing_cost for line in lines] == [Decimal(5), Decimal(-3), Decimal("0.5"), None]


def test_candidate_rows_explain_a_cost() -> None:
    """Rows of any endpoint may have used the model."""
    rows = Candidates(day=DAY, model=SOL, user="ann", served=True, has_tokens=False, count=1, ids=["id-1"])
    [line] = compared([], [charged("1")], candidates=[rows]).lines
    assert line.candidate_rows == ["id-1"]
