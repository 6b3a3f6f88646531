"""Admission: may this token make this call now?"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from chatgpt_agent.core.admission import Token, User, admit, may_call
from chatgpt_agent.core.errors import ModelNotFound
from chatgpt_agent.core.pricing import Price, PriceBook

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
PRICE = Price(1, "gpt-4o", NOON, Decimal("2.5"), Decimal(10))


@pytest.mark.parametrize("revoked", [False, True])
@pytest.mark.parametrize("disabled", [False, True])
def test_token_is_in_force_until_it_or_its_user_is_not(revoked: bool, disabled: bool) -> None:
    """A token works while it is not revoked and its user is not disabled."""
    user = User(1, "ann", b"", disabled=disabled)
    token = Token(1, 1, b"", revoked=revoked)
    assert may_call(user, token) is (not revoked and not disabled)


def test_priced_model_is_admitted_at_its_price() -> None:
    """A call is made at the price in force."""
    assert admit("gpt-4o", PriceBook([PRICE]), NOON) is PRICE


@pytest.mark.parametrize("model", ["gpt-5", "GPT-4o", "gpt-4o ", "gpt-4o-2024-08-06", "gpt-4", ""])
def test_unpriced_model_is_refused(model: str) -> None:
    """Only the exact name has a price; the refusal says `model_not_found`, as OpenAI does."""
    with pytest.raises(ModelNotFound) as caught:
        admit(model, PriceBook([PRICE]), NOON)
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")


def test_price_of_tomorrow_admits_nothing_today() -> None:
    """A model whose first price is not in force yet is refused."""
    with pytest.raises(ModelNotFound):
        admit("gpt-4o", PriceBook([PRICE]), NOON - timedelta(microseconds=1))


def test_removed_price_admits_nothing() -> None:
    """A model whose price was removed is refused from then on, and not a moment before."""
    later = NOON + timedelta(days=1)
    book = PriceBook([PRICE, Price(2, "gpt-4o", later, None, None)])
    assert admit("gpt-4o", book, later - timedelta(microseconds=1)) is PRICE
    with pytest.raises(ModelNotFound):
        admit("gpt-4o", book, later)
