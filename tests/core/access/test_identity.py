"""Access rules: whether a token is valid, and which models it may use."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from typing import Any

import pytest
from msgspec import structs

from chatgpt_agent.core.access.identity import Identity, Token, User, denial_reason, may_use, price_for
from chatgpt_agent.core.access.model_patterns import compile_patterns
from chatgpt_agent.core.access.networks import Networks
from chatgpt_agent.core.errors import InvalidRequest, ModelNotFound
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import Price, PriceBook, Tier

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
PRICE = Price(id=1, model="gpt-6-sol", effective_at=NOON, rates=Rates(input=Decimal("2.5"), output=Decimal(10)))


ANN = User(id=1, name="ann", upstream_key=b"", disabled=False)
TOKEN = Token(id=1, user_id=1, digest=b"", revoked=False)
HOME = ip_address("192.0.2.7")


def identity(user: User = ANN, **token: Any) -> Identity:
    """Returns a user with a token that has these settings."""
    return Identity(user, structs.replace(TOKEN, **token))


def limited(models: tuple[str, ...] | None, token_models: tuple[str, ...] | None) -> Identity:
    """A user and a token that may use these models."""
    user, token = (None if names is None else compile_patterns(names) for names in (models, token_models))
    return identity(structs.replace(ANN, allowed_models=user), allowed_models=token)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (identity(), None),
        (identity(revoked=True), "revoked"),
        (identity(structs.replace(ANN, disabled=True)), "of a disabled user"),
        (identity(expires_at=NOON), "expired"),
        (identity(expires_at=NOON + timedelta(microseconds=1)), None),
        (identity(allowed_networks=Networks(["192.0.2.0/24"])), None),
        (identity(allowed_networks=Networks(["192.0.3.0/24"])), "not for this network"),
        (identity(allowed_networks=Networks()), "not for this network"),
    ],
)
def test_token_that_is_not_valid_has_a_reason(case: Identity, reason: str | None) -> None:
    """The reason is for the log; a valid token has none."""
    assert denial_reason(case, NOON, lambda: HOME) == reason


@pytest.mark.parametrize(
    ("models", "token_models", "model", "allowed"),
    [
        (None, None, "gpt-6-sol", True),
        (("gpt-6*",), None, "gpt-6-luna", True),
        (("gpt-6*",), None, "gpt-5.5", False),
        (None, ("gpt-5.5",), "gpt-6-sol", False),
        (("gpt-6*", "gpt-5.5"), ("gpt-5*",), "gpt-5.5", True),
        (("gpt-6*", "gpt-5.5"), ("gpt-5*",), "gpt-6-sol", False),
    ],
)
def test_user_and_token_must_both_be_allowed_a_model(
    models: tuple[str, ...] | None, token_models: tuple[str, ...] | None, model: str, allowed: bool
) -> None:
    """If only one of the two has a list, that list counts."""
    assert may_use(limited(models, token_models), model) is allowed


def test_model_that_is_not_allowed_is_refused_as_one_without_a_price() -> None:
    """The two errors are identical, so that a client does not learn which models other users may use."""
    errors = []
    for client, book in ((limited(("gpt-5.5",), None), PriceBook([PRICE])), (identity(), PriceBook())):
        with pytest.raises(ModelNotFound) as caught:
            price_for(client, "gpt-6-sol", book, NOON)
        errors.append(caught.value.envelope())
    assert errors[0] == errors[1]


def test_priced_model_is_admitted_at_its_price() -> None:
    """A call is made at the price in force."""
    assert price_for(identity(), "gpt-6-sol", PriceBook([PRICE]), NOON) is PRICE


@pytest.mark.parametrize("model", ["gpt-5.5", "GPT-6-sol", "gpt-6-sol ", "gpt-6-sol-2026-09-15", "gpt-6", ""])
def test_unpriced_model_is_refused(model: str) -> None:
    """Only the exact name has a price; the refusal says `model_not_found`, as OpenAI does."""
    with pytest.raises(ModelNotFound) as caught:
        price_for(identity(), model, PriceBook([PRICE]), NOON)
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")


def test_price_of_tomorrow_admits_nothing_today() -> None:
    """A model whose first price is not in force yet is refused."""
    with pytest.raises(ModelNotFound):
        price_for(identity(), "gpt-6-sol", PriceBook([PRICE]), NOON - timedelta(microseconds=1))


def test_removed_price_admits_nothing() -> None:
    """A model whose price was removed is refused from then on, and not a moment before."""
    later = NOON + timedelta(days=1)
    book = PriceBook([PRICE, Price(id=2, model="gpt-6-sol", effective_at=later, rates=Rates(input=None, output=None))])
    assert price_for(identity(), "gpt-6-sol", book, later - timedelta(microseconds=1)) is PRICE
    with pytest.raises(ModelNotFound):
        price_for(identity(), "gpt-6-sol", book, later)


PRIORITY = Tier(service_tier="priority", multiplier=Decimal(2))


@pytest.mark.parametrize("service_tier", [None, "auto", "default", "priority"])
def test_service_tier_with_a_price_is_admitted(service_tier: str | None) -> None:
    """The tiers of the price may be asked for, and those that need none."""
    price = structs.replace(PRICE, tiers=(PRIORITY,))
    assert price_for(identity(), "gpt-6-sol", PriceBook([price]), NOON, service_tier=service_tier) is price


@pytest.mark.parametrize(
    "tiers",
    [
        (),
        (Tier(service_tier="flex", multiplier=Decimal(1)),),
        (Tier(above=9, multiplier=Decimal(2)),),
        (Tier(service_tier="priority", above=9, multiplier=Decimal(2)),),
    ],
)
def test_service_tier_without_a_price_is_refused(tiers: tuple[Tier, ...]) -> None:
    """A request is refused if it asks for a service tier whose price is not known at every length."""
    book = PriceBook([structs.replace(PRICE, tiers=tiers)])
    with pytest.raises(InvalidRequest, match="no price for the service tier 'priority'") as caught:
        price_for(identity(), "gpt-6-sol", book, NOON, service_tier="priority")
    assert caught.value.param == "service_tier"
