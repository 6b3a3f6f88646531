"""Requests about prices. Amounts are text, which no reader rounds."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType, field

from chatgpt_agent.admin.price_what_if import GROUPS
from chatgpt_agent.core.access.settings import Moment, Name
from chatgpt_agent.core.money.kinds import Rates, RateTable
from chatgpt_agent.core.money.litellm_surcharges import REGIONS
from chatgpt_agent.core.money.pricing import Tier
from chatgpt_agent.core.names import SERVICE_TIER
from chatgpt_agent.web.admin.schemas import IdPage, Strict

# As many digits as the largest allowed value has: a larger one is refused by the same rule as a command's.
RateText = Annotated[
    str,
    Meta(
        pattern=r"^(0|[1-9][0-9]{0,6})(\.[0-9]{1,10})?$",
        description="USD, exactly.",
        extra={"words": "USD as text, with at most 10 decimal places", "example": '"2.50"'},
    ),
]
Multiplier = Annotated[
    str,
    Meta(
        pattern=r"^(0|[1-9][0-9]{0,3})(\.[0-9]{1,6})?$",
        extra={"words": "a number as text, with at most 6 decimal places", "example": '"0.5"'},
    ),
]
ServiceTier = Annotated[
    str,
    Meta(pattern=f"^{SERVICE_TIER}$", extra={"words": "one word of at most 32 lowercase letters", "example": '"flex"'}),
]
WhatIfGroup = Annotated[str, Meta(pattern=f"^({'|'.join(GROUPS)})$", extra={"words": f"one of {', '.join(GROUPS)}"})]
Region = Annotated[str, Meta(pattern=f"^({'|'.join(REGIONS)})$", extra={"words": f"one of {', '.join(REGIONS)}"})]
LastDay = Annotated[date, Meta(extra={"last": True})]


class ByModel(Strict, frozen=True, kw_only=True):
    model: Name


class HistoryQuery(IdPage, frozen=True, kw_only=True):
    """`upcoming`: only prices, and ends of prices, of later dates."""

    model: Name | UnsetType = UNSET
    upcoming: bool = False


class PriceListQuery(Strict, frozen=True, kw_only=True):
    """`apply`: set the prices, not only show them; `only`: names or patterns of models to choose; `from`: the date from
    which all of them are in force; `region`: that of the upstream, whose host then has its factors."""

    apply: bool = False
    only: tuple[Name, ...] = ()
    since: Moment | UnsetType = field(default=UNSET, name="from")
    region: Region | UnsetType = UNSET


class ExportQuery(Strict, frozen=True, kw_only=True):
    """`history`: also prices that are superseded, removed or of a later date."""

    history: bool = False


class RatesBody(Strict, RateTable[RateText], frozen=True, kw_only=True):
    """USD per 1,000,000 tokens. null: the rate of `input` or `output`."""


class TierBody(RatesBody, frozen=True, kw_only=True):
    """Either a multiplier, or `input`, `output` and the other rates that differ, in USD per 1,000,000 tokens."""

    service_tier: ServiceTier | None = None
    above: Annotated[int, Meta(ge=0, le=10**12)] = 0
    multiplier: Multiplier | None = None


class OtherPrice(RatesBody, frozen=True, kw_only=True):
    """A price to compute past requests at, in USD per 1,000,000 tokens. null: the rate of `input` or `output`."""

    input: RateText
    output: RateText
    tiers: Annotated[tuple[TierBody, ...], Meta(max_length=20)] = ()


class PriceBody(OtherPrice, frozen=True, kw_only=True):
    """A price in USD per 1,000,000 tokens. null: the rate of `input` or `output`. `effective_at`: from when it is in
    force; else from now."""

    model: Name
    effective_at: Moment | None = None


class WhatIfBody(Strict, frozen=True, kw_only=True):
    """Requests for `model` (null: for any) on these days of the configured time zone, both included (`until` null:
    until now); at this `price`, at the current price of `as_model`, or, without either, at the current price of each
    one's own model."""

    since: date
    until: LastDay | None = None
    model: Name | None = None
    as_model: Name | None = None
    price: OtherPrice | None = None
    by: Annotated[tuple[WhatIfGroup, ...], Meta(min_length=1, max_length=4)] = ("model",)


def rates(body: OtherPrice) -> Rates:
    """The rates of a body."""
    return Rates(**_amounts(body))


def tiers(body: OtherPrice) -> tuple[Tier, ...]:
    """The tiers of a body."""
    return tuple(
        Tier(service_tier=tier.service_tier, above=tier.above, multiplier=_decimal(tier.multiplier), **_amounts(tier))
        for tier in body.tiers
    )


def _amounts(body: RatesBody) -> dict[str, Decimal]:
    return {name: Decimal(text) for name, text in body.set_rates().items()}


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
