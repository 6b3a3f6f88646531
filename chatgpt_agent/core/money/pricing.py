"""What tokens cost: exact decimals in USD, from the price that was in force.

Prices are per 1,000,000 tokens. A cost is the exact product: never a float, never rounded before it is shown.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal, Inexact, InvalidOperation

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import EXACT
from chatgpt_agent.core.money.kinds import SIDES, Rates, charged_parts
from chatgpt_agent.core.usage import MAX_COUNT, Usage

MAX_MODEL = 128  # characters of a model's name
MAX_PRICE = Decimal(1_000_000)  # USD per 1,000,000 tokens
MAX_PLACES = 10  # decimal places of a price
MAX_MULTIPLIER = Decimal(1000)
MULTIPLIER_PLACES = 6

_TIER_NAME = re.compile(r"[a-z][a-z_-]{0,31}")
_NO_TIER = frozenset({"default", "auto", "above"})  # the price itself, OpenAI's choice, and a word of price_text.py


class Tier(Rates, frozen=True, kw_only=True):
    """Other rates for answers of a service tier (None: of every one) that have more than `above` input tokens: either
    `multiplier` times those of the price, or the tier's own, of which `input` and `output` must be there."""

    service_tier: str | None = None
    above: int = 0
    multiplier: Decimal | None = None


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A model's price from a moment on. Without an input rate the model has no price from then on, so requests for it
    are refused."""

    id: int
    model: str
    effective_at: datetime
    rates: Rates
    tiers: tuple[Tier, ...] = ()

    @property
    def is_removed(self) -> bool:
        """Whether it ends the model's price."""
        return self.rates.input is None

    def cost(self, usage: Usage, service_tier: str | None = None) -> Decimal:
        """USD for these tokens, each charged once: the parts of input and output at their own rates, and what is left
        at that of the whole. Where parts overlap (cached tokens may be audio, too), the cheapest of OpenAI's rates,
        that of cached ones, goes first."""
        tier = self.tier_of(service_tier, usage.input) if self.tiers else None
        if tier is None:
            return _cost(self.rates, usage)
        if tier.multiplier is None:
            return _cost(tier, usage)
        return EXACT.multiply(_cost(self.rates, usage), tier.multiplier)

    def tier_of(self, service_tier: str | None, input_tokens: int) -> Tier | None:
        """The tier that an answer is charged at: of those that fit, the one with the highest `above`, and of these one
        of its own service tier before one of every tier. None: the price itself.

        So a long request in a service tier that has no rates for long ones is charged as any long one: OpenAI takes
        more for it than for a short one, in every service tier."""
        fits = [
            tier
            for tier in self.tiers
            if tier.service_tier in (None, service_tier) and (tier.above < input_tokens or tier.above == 0)
        ]
        return max(fits, key=lambda tier: (tier.above, tier.service_tier is not None), default=None)


# The rate and the count of each part that has its own rate.
_PARTS = {side: [(str(kind.rate), kind.name) for kind in charged_parts(side)] for side in SIDES}


def _cost(rates: Rates, usage: Usage) -> Decimal:
    assert rates.input is not None, "a removed price cannot be charged"
    assert rates.output is not None
    if usage.is_text:  # as nearly every answer is
        cached = min(usage.cached, usage.input)
        rate = rates.input if rates.cached_input is None else rates.cached_input
        total = EXACT.multiply(rates.input, Decimal(usage.input - cached))
        total = EXACT.add(total, EXACT.multiply(rate, Decimal(cached)))
        return EXACT.scaleb(EXACT.add(total, EXACT.multiply(rates.output, Decimal(usage.output))), -6)
    total = _side_cost(rates, usage, "input", (rates.input, usage.input))
    return EXACT.scaleb(EXACT.add(total, _side_cost(rates, usage, "output", (rates.output, usage.output))), -6)


def _side_cost(rates: Rates, usage: Usage, side: str, whole: tuple[Decimal, int]) -> Decimal:
    """USD times a million for the tokens of a side, each charged once. `whole`: the side's rate and count."""
    (rate, left), total = whole, Decimal(0)
    for name, part in _PARTS[side]:
        count = min(getattr(usage, part), left)
        left -= count
        own = rates.get(name)
        total = EXACT.add(total, EXACT.multiply(rate if own is None else own, Decimal(count)))
    return EXACT.add(total, EXACT.multiply(rate, Decimal(left)))


class NewPrice(msgspec.Struct, frozen=True):
    """A price that is to be set. `effective_at` None: now. Without any rate the model has no price from then on."""

    model: str
    rates: Rates
    tiers: tuple[Tier, ...] = ()
    effective_at: datetime | None = None

    @property
    def removes(self) -> bool:
        """Whether it takes the model's price away."""
        return self.rates == Rates() and not self.tiers


class PriceBook:
    """All prices with their history; a frozen snapshot, so that a request keeps the one that it began with."""

    def __init__(self, prices: Iterable[Price] = ()) -> None:
        self._history: dict[str, list[Price]] = {}
        for price in sorted(prices, key=lambda price: (price.effective_at, price.id)):
            self._history.setdefault(price.model, []).append(price)

    def at(self, model: str, when: datetime) -> Price | None:
        """The price in force, or None: no price, not yet, or removed."""
        for price in reversed(self._history.get(model, ())):
            if price.effective_at <= when:
                return None if price.is_removed else price
        return None

    def charged(self, asked: Price, served: str | None, when: datetime) -> Price:
        """The price that a row is charged: the served model's own if it has one, else the asked model's
        (docs/decisions/0009-prices-by-exact-name-and-date.md)."""
        if served is None or served == asked.model:
            return asked
        return self.at(served, when) or asked

    def models(self, when: datetime) -> list[Price]:
        """The prices in force, by model name."""
        found = (self.at(model, when) for model in sorted(self._history))
        return [price for price in found if price is not None]


def check_rates(rates: Rates, tiers: Sequence[Tier] = ()) -> None:
    """Raises InvalidValue where rates are not what a price can have, or tiers contradict each other."""
    for where, each in (("the price", rates), *((tier_name(tier), tier) for tier in tiers)):
        own = each.all_rates()
        multiplier = each.multiplier if isinstance(each, Tier) else None
        if multiplier is not None:
            if any(value is not None for value in own.values()):
                raise InvalidValue(f"{where}: give a multiplier or rates, not both")
            check_usd(multiplier, f"{where}, multiplier", MAX_MULTIPLIER, MULTIPLIER_PLACES)
        elif own["input"] is None or own["output"] is None:
            raise InvalidValue(f"{where}: both input and output must have a rate")
        for kind, value in own.items():
            if value is not None:
                check_usd(value, f"{where}, {kind}")
        if isinstance(each, Tier):
            if each.service_tier is None and each.above == 0:
                raise InvalidValue(f"{where}: a tier is one of a service tier, or above a number of tokens, or both")
            if not 0 <= each.above <= MAX_COUNT:
                raise InvalidValue(f"{where}: above is a count from 0 to {MAX_COUNT}")
            if each.service_tier in _NO_TIER:
                raise InvalidValue(f"{where}: {each.service_tier} is no service tier with a price of its own")
            if each.service_tier is not None and not _TIER_NAME.fullmatch(each.service_tier):
                raise InvalidValue(f"{where}: a service tier is one word of at most 32 small letters, such as flex")
    if len({(tier.service_tier, tier.above) for tier in tiers}) < len(tiers):
        raise InvalidValue("a tier is there twice")


def check_price(new: NewPrice) -> None:
    """Raises InvalidValue where this cannot be a model's price, or the end of one."""
    check_model(new.model)
    if not new.removes:
        check_rates(new.rates, new.tiers)


def check_model(model: str) -> None:
    """Raises InvalidValue where no request could name such a model."""
    if not (0 < len(model) <= MAX_MODEL and model.isprintable() and model == model.strip()):
        raise InvalidValue(
            f"model: {model[:40]!r} must have 1 to {MAX_MODEL} printable characters, no space at the ends"
        )


def tier_name(tier: Tier) -> str:
    """A tier as people read it: `flex`, `above 200000`, `priority above 272000`."""
    return " ".join(filter(None, [tier.service_tier, f"above {tier.above}" if tier.above else ""])) or "a tier"


def check_usd(value: Decimal, name: str, limit: Decimal = MAX_PRICE, places: int = MAX_PLACES) -> None:
    """Raises InvalidValue where a number is not between 0 and a limit, or has too many places to be exact with."""
    if not value.is_finite() or not 0 <= value <= limit:
        raise InvalidValue(f"{name}: {str(value)[:40]} is not between 0 and {limit}")
    try:
        EXACT.quantize(value, Decimal(1).scaleb(-places))
    except Inexact:
        raise InvalidValue(f"{name}: {str(value)[:40]} has more than {places} decimal places") from None


def parse_usd(text: str, name: str) -> Decimal:
    """A price in USD per 1,000,000 tokens out of what somebody typed. Raises InvalidValue."""
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        raise InvalidValue(f"{name}: {text!r} is not a number; give USD per 1,000,000 tokens, such as 2.50") from None
    check_usd(value, name)
    return value.copy_abs()  # -0 is 0
