"""Tests of the comparison of the ledger with OpenAI's figures."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.openai_pages import read_pages
from chatgpt_agent.core.openai_usage import Counts, Figures, Kind, UsageFigure, merge
from chatgpt_agent.core.reconcile.compare import compare
from chatgpt_agent.core.reconcile.lines import Candidates, ComparedLine, LedgerSum, Reconciliation, days_to_compare
from tests.support.openai_organization import SNAPSHOT, costs_page

DAY = date(2026, 11, 1)
MINI = "gpt-6-luna"


def ours(
    counts: Counts = Counts(1, 10, 0, 2),
    *,
    model: str = SNAPSHOT,
    user: str = "alice",
    served: bool = True,
    cost: str = "0",
) -> LedgerSum:
    """Returns a sum of the ledger."""
    return LedgerSum(day=DAY, model=model, user=user, served=served, counts=counts, cost=Decimal(cost))


def theirs(
    counts: Counts = Counts(1, 10, 0, 2), *, model: str | None = SNAPSHOT, key: str | None = None
) -> UsageFigure:
    """Returns a figure of OpenAI."""
    return UsageFigure(DAY, model, key, counts)


def compared(
    sums: Sequence[LedgerSum],
    figures: Sequence[UsageFigure],
    candidates: Sequence[Candidates] = (),
    keys: Mapping[str, str] | None = None,
) -> Reconciliation:
    """Compares the usage of one day."""
    return compare(Figures(list(figures), [], {Kind.COMPLETIONS: (DAY, DAY)}, None), sums, candidates, keys=keys or {})


def compared_costs(cost: str, value: str) -> Reconciliation:
    """Compares the costs of one day."""
    pages = read_pages(costs_page(value), "costs.json")
    return compare(merge(pages), [ours(cost=cost)], [], keys={})


def rows(
    count: int = 1, *, model: str = SNAPSHOT, served: bool = True, has_tokens: bool = False, user: str = "alice"
) -> Any:
    """Returns rows that may explain a difference."""
    return Candidates(
        day=DAY,
        model=model,
        user=user,
        served=served,
        has_tokens=has_tokens,
        count=count,
        ids=[f"id-{number}" for number in range(min(count, 5))],
    )


def test_equal_figures_give_no_lines() -> None:
    """The total states what was compared."""
    result = compared([ours()], [theirs()])
    assert (result.equal, result.total.ledger, result.total.openai) == (True, Counts(1, 10, 0, 2), Counts(1, 10, 0, 2))


@pytest.mark.parametrize("other", [Counts(2, 10, 0, 2), Counts(1, 11, 0, 2), Counts(1, 10, 1, 2), Counts(1, 10, 0, 1)])
def test_a_difference_of_one_is_a_line(other: Counts) -> None:
    """A difference in any count gives a line with both sides."""
    [line] = compared([ours()], [theirs(other)]).lines
    assert line == ComparedLine(day=DAY, model=SNAPSHOT, user=None, ledger=Counts(1, 10, 0, 2), openai=other)


def test_only_differing_lines_are_reported() -> None:
    """The total covers all lines."""
    result = compared([ours(), ours(model="gpt-6-astra")], [theirs(), theirs(Counts(1, 9, 0, 2), model="gpt-6-astra")])
    assert [line.model for line in result.lines] == ["gpt-6-astra"]
    assert result.total.missing == Counts(0, -1, 0, 0)


def test_figures_of_one_side_alone_are_a_line() -> None:
    """The other side has zero."""
    result = compared([ours(model="a")], [theirs(model="b")])
    assert [(line.model, line.missing) for line in result.lines] == [
        ("a", Counts(-1, -10, 0, -2)),
        ("b", Counts(1, 10, 0, 2)),
    ]


def test_unknown_cached_tokens_are_not_compared() -> None:
    """A count that OpenAI does not report is no difference."""
    assert compared([ours(Counts(1, 10, 5, 2))], [theirs(Counts(1, 10, None, 2))]).equal


def test_figures_without_models_are_compared_over_all_models() -> None:
    """The ledger's models are added up."""
    assert compared([ours(model="a"), ours(model="b")], [theirs(Counts(2, 20, 0, 4), model=None)]).equal


def test_without_keys_users_are_added_up() -> None:
    """The figures of all keys are added up, too."""
    assert compared([ours(user="alice"), ours(user="bob")], [theirs(Counts(2, 20, 0, 4), key="key_a")]).equal


def test_with_keys_users_are_compared_one_by_one() -> None:
    """Users without a key mapping are added up as others."""
    sums = [ours(user="alice"), ours(user="bob"), ours(user="carol")]
    figures = [theirs(key="key_a"), theirs(Counts(2, 20, 0, 5), key="key_b")]
    [line] = compared(sums, figures, keys={"key_a": "alice"}).lines
    assert (line.user, line.missing) == ("(others)", Counts(0, 0, 0, 1))


def test_a_user_may_have_several_keys() -> None:
    """A key may have been replaced."""
    figures = [theirs(key="key_a"), theirs(key="key_b")]
    assert compared([ours(Counts(2, 20, 0, 4))], figures, keys={"key_a": "alice", "key_b": "alice"}).equal


def test_figures_without_keys_cannot_be_compared_by_key() -> None:
    """The error states how to get figures by key."""
    with pytest.raises(InvalidValue, match="group_by=api_key_id"):
        compared([ours()], [theirs()], keys={"key_a": "alice"})


@pytest.mark.parametrize(
    ("requested", "snapshot"), [(MINI, SNAPSHOT), ("gpt-6", "gpt-6-0915"), ("gpt-6", "gpt-6-0915-preview")]
)
def test_row_without_an_answer_counts_for_the_snapshot(requested: str, snapshot: str) -> None:
    """OpenAI names the snapshot, while the ledger has only the requested name."""
    sums = [ours(model=snapshot), ours(model=requested, served=False)]
    assert compared(sums, [theirs(Counts(2, 20, 0, 4), model=snapshot)]).equal


def test_other_model_is_not_a_snapshot() -> None:
    """A snapshot of gpt-5.4-mini is not one of gpt-5.4."""
    result = compared([ours(model="gpt-5.4", served=False)], [theirs(model="gpt-5.4-mini-2026-03-17")])
    assert [line.model for line in result.lines] == ["gpt-5.4", "gpt-5.4-mini-2026-03-17"]


def test_rows_without_tokens_may_explain_missing_tokens() -> None:
    """Five rows are named, and all are counted."""
    [line] = compared([ours()], [theirs(Counts(1, 99, 0, 2))], [rows(7)]).lines
    assert (line.candidate_rows, line.candidate_count) == (["id-0", "id-1", "id-2", "id-3", "id-4"], 7)


def test_rows_with_tokens_may_explain_surplus_tokens() -> None:
    """A row without tokens cannot be why the ledger has more."""
    [line] = compared([ours()], [theirs(Counts(1, 1, 0, 2))], [rows(2), rows(1, has_tokens=True)]).lines
    assert (line.candidate_rows, line.candidate_count) == (["id-0"], 1)


def test_row_without_an_answer_is_a_candidate_for_any_snapshot() -> None:
    """Another model has other candidates."""
    candidates = [rows(model=MINI, served=False), rows(2, model="gpt-6-sol", served=False), rows(4, model=MINI)]
    [line] = compared([], [theirs()], candidates).lines
    assert line.candidate_count == 1


def test_candidate_rows_belong_to_the_user() -> None:
    """This holds where users are compared one by one."""
    result = compared([], [theirs(key="key_a")], [rows(2, user="bob"), rows(user="alice")], {"key_a": "alice"})
    assert [line.candidate_count for line in result.lines] == [1]


@pytest.mark.parametrize(("cost", "value"), [("0.06", "0.060000000000000005"), ("0.06", "0.06"), ("0.06", "0.0600")])
def test_amounts_that_differ_by_a_float_are_equal(cost: str, value: str) -> None:
    """OpenAI's digits after the sixteenth have no meaning."""
    assert compared_costs(cost, value).equal


def test_cheapest_token_is_a_difference() -> None:
    """The reported difference is exact."""
    [line] = compared_costs("12345678901.000000025", "12345678901.00000005").lines
    assert (line.model, line.missing, line.missing_cost) == (None, None, Decimal("0.000000025"))


def test_costs_have_no_counts() -> None:
    """A comparison of costs has no token counts."""
    total = compared_costs("1", "2").total
    assert (total.ledger, total.openai_cost) == (None, Decimal(2))


@pytest.mark.parametrize(
    ("first", "last"),
    [(date(2026, 12, 1), 31), (date(2028, 2, 1), 29), (date(2026, 2, 1), 28), (date(2026, 11, 1), 30)],
)
def test_month_is_compared_to_its_last_day(first: date, last: int) -> None:
    """The whole month is compared, whatever days the figures cover."""
    assert days_to_compare(first, (first, first)) == (first, first.replace(day=last))


def test_days_outside_the_month_are_ignored() -> None:
    """This holds on both sides."""
    figures = Figures([theirs()], [], {Kind.COMPLETIONS: (DAY, DAY)}, None)
    assert compare(figures, [ours()], [], keys={}, month=date(2026, 10, 1)).total.openai is None
