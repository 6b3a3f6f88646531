"""Factories of the ledger's records; each number gives a record with other values."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from chatgpt_agent.core.ids import uuid7
from chatgpt_agent.core.ledger import Intent, Outcome, Row, State, settle
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.core.usage import Answer, Usage

NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)
PRICE = Price(
    id=7,
    model="gpt-6-luna",
    effective_at=NOON - timedelta(days=1),
    rates=Rates(input=Decimal("0.15"), output=Decimal("0.60"), cached_input=Decimal("0.075")),
)
BOOK = PriceBook([PRICE])


def this_month_and_next() -> tuple[datetime, datetime]:
    """Returns a moment of each."""
    now = datetime.now(UTC)
    return now, now.replace(day=1) + timedelta(days=31)


def make_intent(number: int = 1, **other: Any) -> Intent:
    """Makes the intent of the request with this number, a second after that of the number before."""
    fields: dict[str, Any] = {
        "request_id": request_id(number),
        "user_id": 1 + number % 3,
        "token_id": 11,
        "endpoint": "/v1/chat/completions",
        "model": ("gpt-6-luna", "gpt-6-sol")[number % 2],
        "price_id": PRICE.id,
        "streamed": number % 2 == 0,
        "started_at": NOON + timedelta(seconds=number),
    }
    return Intent(**{**fields, **other})


def make_outcome(number: int = 1, state: State = State.DONE) -> Outcome:
    """Makes the outcome of the request with this number."""
    usage = Usage(input=1000 + number, output=20 + number, cached=number, reasoning=number % 7)
    answer = Answer(usage=usage, model="gpt-6-luna-2026-09-15", id=f"chatcmpl-{number}")
    return Outcome(
        state=state,
        status=200,
        answer=answer,
        upstream_request_id=f"req_{number}",
        client_closed=False,
        error=None,
        duration_ms=1200 + number,
        first_byte_ms=300,
    )


def make_row(number: int = 1, *, state: State = State.DONE, **other: Any) -> Row:
    """Makes the row of the request with this number; `other` are fields of its intent."""
    return settle(make_intent(number, **other), make_outcome(number, state), PRICE, BOOK)


def request_id(number: int) -> UUID:
    """Returns the id of the request with this number."""
    return uuid7(1_715_000_000_000 + number, number.to_bytes(10, "big"))
