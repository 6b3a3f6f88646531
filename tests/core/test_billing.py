"""The ledger charges for an answer what OpenAI bills, computed independently: to the last digit where it is exact."""

from decimal import Decimal
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.http.endpoints import METERED
from chatgpt_agent.core.ledger import Row, State
from tests.support.billed_answers import ANSWERS, EVENTS, Billed, billed, events
from tests.support.billing import book_of, read_passing, read_stream, read_whole, settled
from tests.support.openai_bill import bill

WHOLE = list(ANSWERS)
STREAMED = list(EVENTS)


def charges_the_bill(row: Row, case: Billed) -> None:
    """An exact bill is the cost; of one with a range, the cost is in it, and the row says that it may be higher."""
    due = bill(case.path, case.body, case.terms)
    assert due is not None
    cost = Fraction(row.cost)
    assert row.state is State.DONE
    if due.exact:
        assert cost == due.lowest
    else:
        assert due.lowest <= cost <= due.highest
        assert cost + Fraction(row.uncertain_cost) >= due.highest
        assert row.uncertain_reason is not None


def test_every_metered_endpoint_has_generated_answers() -> None:
    """An endpoint whose answers report a usage is compared with the bill, whole and, where it can be, as a stream."""
    assert {endpoint.path for endpoint in METERED} == set(ANSWERS)
    assert {endpoint.path for endpoint in METERED if endpoint.can_stream} == set(EVENTS)


@pytest.mark.parametrize("path", WHOLE)
@settings(max_examples=50)
@given(data=st.data())
def test_whole_answer_costs_what_openai_bills(path: str, data: st.DataObject) -> None:
    """Any usage that an answer may report, at any price, costs what the bill says."""
    case = data.draw(billed(path))
    charges_the_bill(settled(path, read_whole(path, case.body), book_of(case.terms)), case)


@pytest.mark.parametrize("path", STREAMED)
@settings(max_examples=25)
@given(data=st.data())
def test_stream_costs_what_openai_bills(path: str, data: st.DataObject) -> None:
    """A stream costs what the same answer costs whole, wherever its bytes are cut."""
    case = data.draw(billed(path))
    cuts = data.draw(st.lists(st.integers(0, 10**4), max_size=4))
    charges_the_bill(settled(path, read_stream(path, events(path, case.answer), cuts), book_of(case.terms)), case)


UNCOUNTED = ("calls_unknown", "no_price")  # reasons for which the uncertain cost goes up to the reservation


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@settings(max_examples=50)
@given(data=st.data())
def test_answer_without_room_costs_the_bill_or_says_that_it_does_not_know(path: str, data: st.DataObject) -> None:
    """An answer that is read as it passes costs the same; calls that are only in its output are in the uncertain cost,
    up to the reservation."""
    case = data.draw(billed(path))
    due = bill(case.path, case.body, case.terms)
    assert due is not None
    reserved = Decimal(ceil(due.highest * 10**10)).scaleb(-10)
    row = settled(path, read_passing(path, case.body), book_of(case.terms), max_cost=reserved)
    if row.uncertain_reason not in UNCOUNTED:
        charges_the_bill(row, case)
    assert row.cost <= due.highest <= row.budget_cost
