"""Prices, tiers and usages as hypothesis draws them: of every kind, with every tier, and parts that overlap."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from chatgpt_agent.core.money.kinds import RATE_NAMES, Rates
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
    """Input and output, and any of the others."""
    given = {kind: draw(st.none() | amounts) for kind in RATE_NAMES}
    return {**{kind: rate for kind, rate in given.items() if rate is not None}, **_both(draw)}


def _both(draw: st.DrawFn) -> dict[str, Decimal]:
    return {"input": draw(amounts), "output": draw(amounts)}


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Tier, ...]:
    """Up to five, no two for the same answers."""
    when = st.tuples(
        st.sampled_from([None, "flex", "priority", "batch"]), st.sampled_from([0, 1, 10, 128_000, 272_000])
    )
    chosen = draw(st.lists(when.filter(lambda found: found != (None, 0)), unique=True, max_size=5))
    what: Any = st.fixed_dictionaries({"multiplier": multipliers}) | rates()
    return tuple(Tier(service_tier=name, above=above, **draw(what)) for name, above in chosen)


@st.composite
def new_prices(draw: st.DrawFn, model: str = "m") -> NewPrice:
    """A price of a model."""
    return NewPrice(model, Rates(**draw(rates())), draw(tiers()))


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """An answer's tokens; each part fits into its side, and all parts together may not."""
    inputs, outputs = draw(counts), draw(counts)
    parts_in = [min(draw(counts), inputs) for _ in range(4)]
    parts_out = [min(draw(counts), outputs) for _ in range(3)]
    cached, written, heard, seen = parts_in
    thought, spoken, drawn = parts_out
    return Usage(
        input=inputs,
        output=outputs,
        cached=cached,
        reasoning=thought,
        cache_write=written,
        audio_input=heard,
        image_input=seen,
        audio_output=spoken,
        image_output=drawn,
    )


def exact_cost(price: Price | NewPrice, usage: Usage, service_tier: str | None) -> Fraction:
    """What a usage costs, in another arithmetic, and token by token kind: an independent reading of the rules."""
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
