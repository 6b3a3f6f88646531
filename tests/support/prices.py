"""Hypothesis strategies of prices, tiers and usages: with every kind of token and tier, and with parts that overlap."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from chatgpt_agent.core.money.kinds import TOKEN_RATES, Rates
from chatgpt_agent.core.money.pricing import (
    MAX_MULTIPLIER,
    MAX_PLACES,
    MAX_PRICE,
    MULTIPLIER_PLACES,
    NewPrice,
    Price,
    Tier,
)
from chatgpt_agent.core.usage import MAX_COUNT, Usage

SERVICE_TIERS = [None, "default", "auto", "flex", "priority", "batch", "scale"]

usd = st.integers(0, int(MAX_PRICE) * 10**MAX_PLACES).map(lambda parts: Decimal(parts).scaleb(-MAX_PLACES))
cents = st.integers(0, 10_000).map(lambda parts: Decimal(parts).scaleb(-2))
amounts = cents | usd
multipliers = st.integers(0, int(MAX_MULTIPLIER) * 10**MULTIPLIER_PLACES).map(
    lambda parts: Decimal(parts).scaleb(-MULTIPLIER_PLACES)
)
counts = st.integers(0, 20) | st.integers(0, 400_000) | st.integers(0, MAX_COUNT)


@st.composite
def rates(draw: st.DrawFn) -> dict[str, Decimal]:
    """Draws rates of input and output, and any of the others."""
    return {**draw(token_rates()), **({"minute": draw(amounts)} if draw(st.booleans()) else {})}


@st.composite
def token_rates(draw: st.DrawFn) -> dict[str, Decimal]:
    """Draws rates of input and output tokens, and any of their parts."""
    optional = {kind: draw(st.none() | amounts) for kind in TOKEN_RATES}
    return {**{kind: rate for kind, rate in optional.items() if rate is not None}, **_both(draw)}


def _both(draw: st.DrawFn) -> dict[str, Decimal]:
    return {"input": draw(amounts), "output": draw(amounts)}


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Tier, ...]:
    """Draws up to five tiers, no two of which apply to the same answers."""
    when = st.tuples(
        st.sampled_from([None, "flex", "priority", "batch"]), st.sampled_from([0, 1, 10, 128_000, 272_000])
    )
    conditions = draw(st.lists(when.filter(lambda condition: condition != (None, 0)), unique=True, max_size=5))
    effect: Any = st.fixed_dictionaries({"multiplier": multipliers}) | token_rates()
    return tuple(Tier(service_tier=name, above=above, **draw(effect)) for name, above in conditions)


@st.composite
def new_prices(draw: st.DrawFn, model: str = "m") -> NewPrice:
    """Draws a price of a model."""
    return NewPrice(model, Rates(**draw(rates())), draw(tiers()))


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Draws token counts of an answer: each part is at most its total, but the parts together may be more."""
    inputs, outputs = draw(counts), draw(counts)
    parts_in = [min(draw(counts), inputs) for _ in range(4)]
    parts_out = [min(draw(counts), outputs) for _ in range(3)]
    cached, cache_write, audio_input, image_input = parts_in
    reasoning, audio_output, image_output = parts_out
    return Usage(
        input=inputs,
        output=outputs,
        cached=cached,
        reasoning=reasoning,
        cache_write=cache_write,
        audio_input=audio_input,
        image_input=image_input,
        audio_output=audio_output,
        image_output=image_output,
    )


def exact_cost(price: Price | NewPrice, usage: Usage, service_tier: str | None) -> Fraction:
    """Returns the cost of a usage in fractions, kind by kind: an independent implementation of the rules."""
    own = price.rates
    fits = [
        tier
        for tier in price.tiers
        if (tier.service_tier is None or tier.service_tier == service_tier)
        and (tier.above == 0 or usage.input > tier.above)
    ]
    fits.sort(key=lambda tier: (tier.above, tier.service_tier is not None))
    tier = fits[-1] if fits else None
    factor = Fraction(1)
    table: Rates = own
    if tier is not None and tier.multiplier is not None:
        factor = Fraction(tier.multiplier)
    elif tier is not None:
        table = tier
    total = Fraction(0)
    for side, kinds, whole in (
        ("input", ("cached_input", "cache_write", "audio_input", "image_input"), usage.input),
        ("output", ("audio_output", "image_output"), usage.output),
    ):
        left = whole
        for kind in kinds:
            part = min(left, getattr(usage, "cached" if kind == "cached_input" else kind))
            left -= part
            rate = getattr(table, kind)
            total += part * Fraction(getattr(table, side) if rate is None else rate)
        total += left * Fraction(getattr(table, side))
    return total * factor / 1_000_000
