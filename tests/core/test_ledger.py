"""Tests of the ledger's row: an intent before a request, an outcome after it."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from chatgpt_agent.core.ledger import (
    TERMINAL,
    Intent,
    Outcome,
    State,
    answered_state,
    failed_state,
    orphan,
    settle,
)
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.core.usage import Answer, Usage

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
REQUESTED = Price(id=1, model="gpt-6-sol", effective_at=NOON, rates=Rates(input=Decimal("2.5"), output=Decimal(10)))
SERVED = Price(id=2, model="gpt-6-sol-2026-09-15", effective_at=NOON, rates=Rates(input=Decimal(5), output=Decimal(20)))
BOOK = PriceBook([REQUESTED, SERVED])
INTENT = Intent(
    request_id=UUID(int=7),
    user_id=3,
    token_id=4,
    endpoint="/v1/chat/completions",
    model="gpt-6-sol",
    price_id=1,
    streamed=True,
    started_at=NOON,
)
USAGE = Usage(input=1000, output=100)


def test_row_holds_intent_outcome_and_cost() -> None:
    """A terminal row has every field of its intent and outcome."""
    answer = Answer(usage=USAGE, model="gpt-6-sol", id="chatcmpl-1", complete=True)
    outcome = Outcome(
        state=State.DONE,
        status=200,
        answer=answer,
        upstream_request_id="req_1",
        client_closed=True,
        error="client_closed",
        duration_ms=1500,
        first_byte_ms=200,
    )
    row = settle(INTENT, outcome, REQUESTED, BOOK)
    assert (row.intent, row.state, row.usage, row.status) == (INTENT, State.DONE, USAGE, 200)
    assert (row.served_model, row.upstream_id, row.upstream_request_id) == ("gpt-6-sol", "chatcmpl-1", "req_1")
    assert (row.client_closed, row.error, row.duration_ms, row.first_byte_ms) == (True, "client_closed", 1500, 200)


@pytest.mark.parametrize(
    ("served", "price_id", "cost"),
    [("gpt-6-sol", 1, "0.0035"), ("gpt-6-sol-2026-09-15", 2, "0.007"), ("gpt-9", 1, "0.0035"), (None, 1, "0.0035")],
)
def test_row_names_the_price_that_it_was_charged(served: str | None, price_id: int, cost: str) -> None:
    """The cost can be computed again from the row alone, because it names the price."""
    row = settle(
        INTENT, Outcome(state=State.DONE, status=200, answer=Answer(usage=USAGE, model=served)), REQUESTED, BOOK
    )
    assert (row.price_id, row.cost) == (price_id, Decimal(cost))
    assert row.cost == {1: REQUESTED, 2: SERVED}[price_id].cost(USAGE)


@pytest.mark.parametrize("state", TERMINAL)
def test_known_tokens_are_charged_in_every_state(state: State) -> None:
    """Tokens that OpenAI counted are charged, however the answer ended."""
    row = settle(INTENT, Outcome(state=state, answer=Answer(usage=USAGE)), REQUESTED, BOOK)
    assert (row.state, row.cost) == (state, Decimal("0.0035"))


def test_unknown_usage_costs_zero() -> None:
    """Without counts the cost is zero, and the missing usage tells it from a count of zero."""
    unknown = settle(INTENT, Outcome(state=State.USAGE_UNKNOWN, status=200), REQUESTED, BOOK)
    zero = settle(
        INTENT, Outcome(state=State.DONE, status=200, answer=Answer(usage=Usage(input=0, output=0))), REQUESTED, BOOK
    )
    assert (unknown.cost, unknown.usage) == (Decimal(0), None)
    assert (zero.cost, zero.usage) == (Decimal(0), Usage(input=0, output=0))


def test_clock_that_steps_back_gives_no_negative_duration() -> None:
    """A duration is at least zero."""
    assert settle(INTENT, Outcome(state=State.DONE, duration_ms=-5), REQUESTED, BOOK).duration_ms == 0


def test_orphan_is_unknown_with_its_reason() -> None:
    """An intent whose process died may have been billed, at the price of its start."""
    row = orphan(INTENT)
    assert (row.intent, row.state, row.price_id, row.error) == (INTENT, State.UNKNOWN, 1, "agent_died")
    assert (row.cost, row.usage, row.status, row.duration_ms) == (Decimal(0), None, None, None)


@pytest.mark.parametrize("status", [200, 201, 299])
def test_full_answer_is_done_if_its_usage_is_known(status: int) -> None:
    """A 2xx answer with counts is `done`, even if they are zero; without counts it is `usage_unknown`."""
    assert answered_state(status, Answer(usage=USAGE)) is State.DONE
    assert answered_state(status, Answer(usage=Usage(input=0, output=0))) is State.DONE
    assert answered_state(status, Answer(complete=True)) is State.USAGE_UNKNOWN


@pytest.mark.parametrize("status", [199, 300, 400, 401, 429, 500, 503])
def test_error_status_is_an_upstream_error(status: int) -> None:
    """Any status other than 2xx is `upstream_error`, whatever the body holds."""
    assert answered_state(status, Answer(usage=USAGE)) is State.UPSTREAM_ERROR


def test_error_event_is_an_upstream_error() -> None:
    """A stream with an error event is `upstream_error`, although its status was 200."""
    assert answered_state(200, Answer(usage=USAGE, failed=True)) is State.UPSTREAM_ERROR


@pytest.mark.parametrize(
    ("sent", "answering", "state"),
    [
        (False, False, State.NOT_SENT),
        (True, False, State.UNKNOWN),
        (True, True, State.INCOMPLETE),
        (False, True, State.INCOMPLETE),
    ],
)
def test_failure_state_depends_on_what_was_sent_and_received(sent: bool, answering: bool, state: State) -> None:
    """Without a full answer the request was not sent, may have been billed, or broke off."""
    assert failed_state(sent=sent, answering=answering) is state


def test_states_have_the_names_of_the_database() -> None:
    """Six states end a request; corrections and imported rows have one more each."""
    assert sorted(TERMINAL) == ["done", "incomplete", "not_sent", "unknown", "upstream_error", "usage_unknown"]
    assert {*State} - {*TERMINAL} == {"correction", "imported"}
