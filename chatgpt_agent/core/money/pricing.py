"""Prices of models, and the exact cost of a usage at the price that was in force.

Prices are in USD per 1,000,000 tokens, and per minute of audio. A cost is the exact product: never a float, and rounded
only for display, but for that of time.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal, Inexact, InvalidOperation
from typing import Any

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.moments import check_moment
from chatgpt_agent.core.money.exact import EXACT, ZERO
from chatgpt_agent.core.money.kinds import RATE_CHAINS, SIDES, TIME_RATE, Rates, charged_parts
from chatgpt_agent.core.money.surcharges import Surcharge, SurchargeBook
from chatgpt_agent.core.names import check_name, is_service_tier
from chatgpt_agent.core.usage import MAX_COUNT, Usage

MAX_PRICE = Decimal(1_000_000)  # USD per 1,000,000 tokens
MAX_PLACES = 10  # decimal places of a price
MAX_MULTIPLIER = Decimal(1000)
MULTIPLIER_PLACES = 6

# What a request may ask for without a tier of the price: the price itself, or OpenAI's choice.
_UNTIERED = frozenset({"default", "auto"})
FAST = ("priority", "fast")
DECISIONS_TIER = "decisions"  # the rates of /v1/decisions, which no request asks for
_RESERVED_TIERS = _UNTIERED | {"above"}  # a keyword of tier_syntax.py


class Tier(Rates, frozen=True, kw_only=True):
    """Other rates for answers in a service tier (None: in any) with more than `above` input tokens: either `multiplier`
    times the rates of the price, or rates of the tier's own, which then include `input` and `output`."""

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
    cancelled_at: datetime | None = None  # if it was cancelled before it was in force: it never is
    created_at: datetime | None = None  # by the clock of the administrator's machine

    @property
    def is_removed(self) -> bool:
        """Whether the model has no price from then on."""
        return self.rates.input is None

    @property
    def has_only_time(self) -> bool:
        """Whether only time has a price, and tokens have none: they are 0 USD beside it."""
        return self.rates.minute is not None and not self.rates.input and not self.rates.output

    def cost(self, usage: Usage, service_tier: str | None = None) -> Decimal:
        """Returns the cost of a usage in USD. Each token is charged once: parts of input and output at their own rates,
        the rest at the rate of its side. Parts may overlap (cached tokens may be audio): they are charged in the order
        of `TOKEN_KINDS`, so that OpenAI's cheapest rate, that of cached tokens, comes first."""
        tier = self.tier_of(service_tier, usage.input) if self.tiers else None
        if tier is None:
            cost = _cost(self.rates, usage)
        elif tier.multiplier is None:
            cost = _cost(tier, usage)
        else:
            cost = EXACT.multiply(_cost(self.rates, usage), tier.multiplier)
        return EXACT.add(cost, time_cost(usage.seconds, self.rates.minute)) if usage.seconds else cost

    def covers(self, service_tier: str | None) -> bool:
        """Whether a request that asks for a service tier can be charged what that tier costs, at any length."""
        if service_tier is None or service_tier in _UNTIERED:
            return True
        name = self.tier_name(service_tier)
        return any(tier.service_tier == name and tier.above == 0 for tier in self.tiers)

    def tier_name(self, service_tier: str | None) -> str | None:
        """Returns the name under which a price has a service tier: `fast` and `priority` are two names of one
        (https://developers.openai.com/api/docs/guides/fast-mode)."""
        if service_tier in FAST and not any(tier.service_tier == service_tier for tier in self.tiers):
            return next((tier.service_tier for tier in self.tiers if tier.service_tier in FAST), service_tier)
        return service_tier

    def tier_of(self, service_tier: str | None, input_tokens: int) -> Tier | None:
        """Returns the tier at which an answer is charged: of those that match, the one with the highest `above`, and
        among these one of its own service tier before one of any. None: the price itself.

        A long request in a service tier without rates for long requests is therefore charged like any long request:
        OpenAI charges more for these than for short ones in every service tier."""
        matching = [
            tier
            for tier in self.tiers
            if tier.service_tier in (None, service_tier) and (tier.above < input_tokens or tier.above == 0)
        ]
        return max(matching, key=lambda tier: (tier.above, tier.service_tier is not None), default=None)


# The rates and the count of each part that has its own rate, and the counts that are charged as others.
_PARTS = {
    side: [(RATE_CHAINS[str(kind.rate)], kind.name, kind.without) for kind in charged_parts(side)] for side in SIDES
}

TIME_PLACES = 15  # decimal places to which the cost of seconds at a rate per minute is rounded, half up


def time_cost(seconds: Decimal, minute: Decimal | None) -> Decimal:
    """Returns USD for seconds at USD per minute, rounded half up to TIME_PLACES: the one cost that may have no end."""
    if minute is None:
        return ZERO
    scaled = EXACT.scaleb(EXACT.multiply(seconds, minute), TIME_PLACES)
    rounded = EXACT.divide_int(EXACT.add(scaled, Decimal(30)), Decimal(60))
    return EXACT.scaleb(rounded, -TIME_PLACES)


def _cost(rates: Rates, usage: Usage) -> Decimal:
    assert rates.input is not None, "a removed price cannot be charged"
    assert rates.output is not None
    if usage.is_text:  # as nearly every answer is
        inputs, cached = usage.input, usage.cached
        if cached > inputs:  # min() would cost as much as a multiplication here
            cached = inputs
        rate = rates.input if rates.cached_input is None else rates.cached_input
        total = EXACT.multiply(rates.input, Decimal(inputs - cached))
        total = EXACT.add(total, EXACT.multiply(rate, Decimal(cached)))
        return EXACT.scaleb(EXACT.add(total, EXACT.multiply(rates.output, Decimal(usage.output))), -6)
    total = _side_cost(rates, usage, "input", (rates.input, usage.input))
    return EXACT.scaleb(EXACT.add(total, _side_cost(rates, usage, "output", (rates.output, usage.output))), -6)


def _side_cost(rates: Rates, usage: Usage, side: str, whole: tuple[Decimal, int]) -> Decimal:
    """USD times a million for the tokens of a side, each charged once. `whole`: the side's rate and count."""
    total = ZERO
    for _, rate, count in _side_parts(rates, usage, side, whole):
        total = EXACT.add(total, EXACT.multiply(rate, Decimal(count)))
    return total


def _side_parts(
    rates: Rates, usage: Usage, side: str, whole: tuple[Decimal, int]
) -> Iterator[tuple[str, Decimal, int]]:
    """Yields each part of a side that has tokens, with its rate and count; the rest has the name of the side."""
    rate, left = whole
    for names, part, without in _PARTS[side]:
        count = getattr(usage, part)
        for name in without:
            count -= getattr(usage, name)
        count = min(max(count, 0), left)
        left -= count
        if count:
            yield part, next(amount for name in names if (amount := rates.get(name)) is not None), count
    yield side, rate, left


class CostPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a cost: so many of something at a rate. `kind`: of a token, of a call, or `seconds`; `unit`: how many
    of them `rate` (USD) is for; `multiplier`: of the tier and of the host; `model`: the one with this rate."""

    kind: str
    count: Decimal
    rate: Decimal
    unit: int
    multiplier: Decimal = Decimal(1)
    amount: Decimal
    model: str = ""


def cost_parts(price: Price, usage: Usage, service_tier: str | None = None) -> list[CostPart]:
    """Returns the parts of `Price.cost`, which add up to it exactly."""
    tier = price.tier_of(service_tier, usage.input) if price.tiers else None
    multiplier = Decimal(1) if tier is None or tier.multiplier is None else tier.multiplier
    rates = price.rates if tier is None or tier.multiplier is not None else tier
    assert rates.input is not None, "a removed price cannot be charged"
    assert rates.output is not None
    sides = {"input": (rates.input, usage.input), "output": (rates.output, usage.output)}
    parts = [
        CostPart(
            kind=kind,
            count=Decimal(count),
            rate=rate,
            unit=1_000_000,
            multiplier=multiplier,
            amount=EXACT.scaleb(EXACT.multiply(EXACT.multiply(rate, Decimal(count)), multiplier), -6),
            model=price.model,
        )
        for side, whole in sides.items()
        for kind, rate, count in _side_parts(rates, usage, side, whole)
    ]
    if usage.seconds and price.rates.minute is not None:
        amount = time_cost(usage.seconds, price.rates.minute)
        time = CostPart(kind="seconds", count=usage.seconds, rate=price.rates.minute, unit=60, amount=amount)
        parts.append(msgspec.structs.replace(time, model=price.model))
    return parts


class NewPrice(msgspec.Struct, frozen=True):
    """A price to be set. `effective_at` None: now. Without any rate the model has no price from then on."""

    model: str
    rates: Rates
    tiers: tuple[Tier, ...] = ()
    effective_at: datetime | None = None

    @property
    def removes(self) -> bool:
        """Whether it removes the model's price."""
        return self.rates == Rates() and not self.tiers


class PriceBook:
    """An immutable snapshot of all prices with their history, so that a request keeps the prices of its start.

    `by_clock`: the moments are those of a machine's clock, which may be wrong. Where a model has no price yet by it,
    the time is at least that at which the model's newest price was made: a clock that was set back refuses no
    model."""

    def __init__(
        self,
        prices: Iterable[Price] = (),
        *,
        by_clock: bool = False,
        surcharges: Iterable[Surcharge] = (),
        host: str = "",
    ) -> None:
        self.surcharges = SurchargeBook(surcharges, host)
        self.memo: dict[tuple[int, object], Any] = {}  # what was computed of its prices, by their `id()`
        self._history: dict[str, list[Price]] = {}
        self._made_at: dict[str, datetime] = {}  # by model: when its newest price was made
        for price in sorted(prices, key=lambda price: (price.effective_at, price.id)):
            if price.cancelled_at is None:
                self._history.setdefault(price.model, []).append(price)
            if by_clock and price.created_at is not None:
                self._made_at[price.model] = max(price.created_at, self._made_at.get(price.model, price.created_at))

    def at(self, model: str, when: datetime) -> Price | None:
        """Returns the price in force at a moment, or None where there is none yet or it is removed. A fine-tuned model
        that never had a price of its own until then has that of its base."""
        price = self._own(model, when)
        if price is None and (base := fine_tuned_base(model)) is not None:
            price = self._own(base, when)
        return None if price is None or price.is_removed else price

    def _own(self, model: str, when: datetime) -> Price | None:
        price = self._newest(model, when)
        if price is None and (made_at := self._made_at.get(model)) is not None and made_at > when:
            price = self._newest(model, made_at)
        return price

    def _newest(self, model: str, when: datetime) -> Price | None:
        for price in reversed(self._history.get(model, ())):
            if price.effective_at <= when:
                return price
        return None

    def charged(self, requested: Price, served: str | None, when: datetime) -> Price:
        """Returns the price of a row: that of the model which served it, or else that of the requested model
        (docs/decisions/0009-prices-by-exact-name-and-date.md)."""
        if served is None or served == requested.model:
            return requested
        own = self._own(served, when)
        if own is None and is_fine_tuned_base(requested.model):
            return self.at(served, when) or requested  # neither has a price of its own: as for their bases
        return requested if own is None or own.is_removed else own

    def models(self, when: datetime) -> list[Price]:
        """Returns the prices in force at a moment, by model name."""
        prices = (self._own(model, when) for model in sorted(self._history))
        return [price for price in prices if price is not None and not price.is_removed]


def fine_tuned_base(model: str) -> str | None:
    """Returns the name under which OpenAI lists the price of all fine-tuned models of a base: `ft:gpt-6-luna` of
    `ft:gpt-6-luna:acme::7p4lURel`. None: it is no such model."""
    prefix, _, rest = model.partition(":")
    base, is_model, _ = rest.partition(":")
    return f"ft:{base}" if prefix == "ft" and base and is_model else None


def is_fine_tuned_base(model: str) -> bool:
    """Whether a model is none itself, but has the price of fine-tuned ones."""
    return fine_tuned_base(f"{model}:") == model


def upcoming(prices: Iterable[Price], now: datetime) -> list[Price]:
    """Returns the prices, and the ends of prices, that take effect after a moment, in this order."""
    last = {
        (price.model, price.effective_at): price
        for price in sorted(prices, key=lambda price: price.id)
        if price.cancelled_at is None and price.effective_at > now
    }
    return sorted(last.values(), key=lambda price: (price.model, price.effective_at))


def check_rates(rates: Rates, tiers: Sequence[Tier] = ()) -> None:
    """Raises InvalidValue if a price cannot have these rates, or if tiers contradict each other."""
    _check_own_rates(rates, "the price")
    for tier in tiers:
        _check_tier(tier, tier_name(tier))
    if len({(tier.service_tier, tier.above) for tier in tiers}) < len(tiers):
        raise InvalidValue("duplicate tier")


def _check_tier(tier: Tier, name: str) -> None:
    if tier.service_tier is not None and not is_service_tier(tier.service_tier):  # first: its name is in the others
        prefix = name if name.isprintable() else repr(name)
        raise InvalidValue(f"{prefix}: a service tier is one word of at most 32 lowercase letters, such as flex")
    if tier.multiplier is None:
        _check_own_rates(tier, name)
    elif tier.set_rates():
        raise InvalidValue(f"{name}: give a multiplier or rates, not both")
    else:
        check_usd(tier.multiplier, f"{name}, multiplier", MAX_MULTIPLIER, MULTIPLIER_PLACES)
    if tier.service_tier is None and tier.above == 0:
        raise InvalidValue(f"{name}: a tier needs a service tier, a number of tokens to be above, or both")
    if not 0 <= tier.above <= MAX_COUNT:
        raise InvalidValue(f"{name}: above must be a count from 0 to {MAX_COUNT}")
    if tier.get(TIME_RATE) is not None:
        raise InvalidValue(f"{name}: a tier has no price of time")
    if tier.service_tier in _RESERVED_TIERS:
        raise InvalidValue(f"{name}: {tier.service_tier!r} cannot have its own price")


def _check_own_rates(rates: Rates, name: str) -> None:
    if rates.input is None or rates.output is None:
        raise InvalidValue(f"{name}: both input and output must have a rate")
    for kind, rate in rates.set_rates().items():
        check_usd(rate, f"{name}, {kind}")


def check_price(new: NewPrice) -> None:
    """Raises InvalidValue if this cannot be set as a model's price."""
    check_model(new.model)
    if new.effective_at is not None:
        check_moment("effective_at", new.effective_at)
    if not new.removes:
        check_rates(new.rates, new.tiers)


def check_model(model: str) -> None:
    """Raises InvalidValue if no request could name such a model."""
    check_name("model", model)


def tier_name(tier: Tier) -> str:
    """Returns a tier as messages name it: `flex`, `above 200000`, `priority above 272000`."""
    return " ".join(filter(None, [tier.service_tier, f"above {tier.above}" if tier.above else ""])) or "a tier"


def check_usd(value: Decimal, name: str, limit: Decimal = MAX_PRICE, places: int = MAX_PLACES) -> None:
    """Raises InvalidValue if a number is not between 0 and a limit, or has too many decimal places."""
    if not value.is_finite() or not 0 <= value <= limit:
        raise InvalidValue(f"{name}: {str(value)[:40]} is not between 0 and {limit}")
    try:
        EXACT.quantize(value, Decimal(1).scaleb(-places))
    except Inexact:
        raise InvalidValue(f"{name}: {str(value)[:40]} has more than {places} decimal places") from None


def parse_usd(text: str, name: str) -> Decimal:
    """Returns a price in USD per 1,000,000 tokens. Raises InvalidValue."""
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        raise InvalidValue(f"{name}: {text!r} is not a number; give USD per 1,000,000 tokens, such as 2.50") from None
    check_usd(value, name)
    return value.copy_abs()  # turns -0 into 0
