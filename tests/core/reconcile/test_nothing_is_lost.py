"""Whatever OpenAI's figures are grouped by, the differences add up to the difference of all."""

from datetime import date
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import exact_sum
from chatgpt_agent.core.openai_usage import TOOLS, CostFigure, Counts, Figures, Kind, UsageFigure
from chatgpt_agent.core.reconcile.compare import compare
from chatgpt_agent.core.reconcile.lines import LedgerSum, Reconciliation

DAYS = [date(2026, 11, day) for day in (1, 2, 3)]
SPAN = (DAYS[0], DAYS[-1])
MODELS = ["gpt-6-sol", "gpt-6-luna", "gpt-6-luna-2026-09-15", "gpt-image-2.6"]
ITEMS = [
    *(f"{model}, {part}" for model in MODELS for part in ("input", "cached input")),
    *("web search tool calls", "file search", "code interpreter sessions"),
    *("vector store storage", "something new", "gpt-6-sol, batch input"),
    None,
]
PATHS = ["/v1/responses", "/v1/decisions", "/v1/embeddings", "/v1/images/edits", "/v1/audio/transcriptions"]
IDS = {"key_ann": "ann", "key_bob": "bob", "proj_bob": "bob"}

days, cents = st.sampled_from(DAYS), st.integers(1, 400).map(lambda number: Decimal(number) / 100)
few = st.integers(0, 5)
keys, projects = st.sampled_from(["key_ann", "key_bob", "key_x", None]), st.sampled_from(["proj_bob", None])


@st.composite
def sums(draw: Any) -> LedgerSum:
    """A sum of the ledger."""
    tool = draw(st.sampled_from([None, *TOOLS]))
    counts = Counts(calls=draw(few)) if tool else Counts(draw(few), draw(few), 0, draw(few))
    return LedgerSum(
        day=draw(days),
        model=draw(st.sampled_from(MODELS)),
        user=draw(st.sampled_from(["ann", "bob", "carol"])),
        served=draw(st.booleans()),
        counts=counts,
        cost=draw(cents),
        endpoint=draw(st.sampled_from(PATHS)),
        tool=tool,
    )


@st.composite
def costs(draw: Any) -> CostFigure:
    """An amount of the bill."""
    return CostFigure(
        draw(days),
        draw(cents),
        line_item=draw(st.sampled_from(ITEMS)),
        key=draw(keys),
        project=draw(projects),
        quantity=draw(st.sampled_from([None, Decimal(1), Decimal(3)])),
    )


@st.composite
def usage(draw: Any) -> UsageFigure:
    """Counts of OpenAI."""
    kind = draw(st.sampled_from([kind for kind in Kind if kind is not Kind.COSTS]))
    counts = Counts(calls=draw(few)) if kind in TOOLS else Counts(draw(few), draw(few), 0, draw(few))
    model = None if kind in (Kind.FILE_SEARCH, Kind.CODE_INTERPRETER) else draw(st.sampled_from(MODELS))
    return UsageFigure(
        draw(days),
        model,
        draw(keys),
        counts,
        kind=kind,
        project=draw(projects),
        source=draw(st.sampled_from([None, "batches"])),
    )


def compared(
    ledger: list[LedgerSum], bill: list[CostFigure], counted: list[UsageFigure], users: dict[str, str]
) -> Reconciliation | None:
    """Compares them; None: the figures have no keys."""
    spans = dict.fromkeys((figure.kind for figure in counted), SPAN)
    try:
        return compare(Figures(counted, bill, spans, SPAN), ledger, [], keys=users)
    except InvalidValue:
        return None


groups = st.sampled_from([{}, IDS, {"key_ann": "ann"}])


@given(st.lists(sums(), max_size=8), st.lists(costs(), max_size=8), st.lists(usage(), max_size=6), groups)
def test_amounts_of_all_differences_add_up(
    ledger: list[LedgerSum], bill: list[CostFigure], counted: list[UsageFigure], users: dict[str, str]
) -> None:
    """No amount is dropped or counted twice; the amounts here have no noise."""
    result = compared(ledger, bill, counted, users)
    if result is not None:
        differences = [line.missing_cost for line in result.lines if line.missing_cost is not None]
        assert exact_sum(differences) == result.total.missing_cost


@given(st.lists(sums(), max_size=8), st.lists(usage(), max_size=6), groups)
def test_calls_of_all_differences_add_up(
    ledger: list[LedgerSum], counted: list[UsageFigure], users: dict[str, str]
) -> None:
    """Calls of tools are compared by user where OpenAI tells them apart, and in all where it does not."""
    result = compared(ledger, [], counted, users)
    if result is not None:
        kinds = {figure.kind for figure in counted}
        ours = sum(int(line.counts.calls or 0) for line in ledger if line.tool in kinds)
        theirs = sum(int(figure.counts.calls or 0) for figure in counted if figure.source is None)
        lines = [line for line in result.lines if line.kind in TOOLS and line.name is None]
        assert sum(line.differences.get("calls", 0) for line in lines) == theirs - ours
