"""Tests of the most that a request can cost: it is never less than the actual cost."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.budget.max_cost import Assumptions, Size, estimate_tokens, max_cost
from chatgpt_agent.core.money.kinds import RATE_NAMES, Rates
from chatgpt_agent.core.money.pricing import Price, PriceBook, Tier
from chatgpt_agent.core.money.surcharges import Surcharges
from chatgpt_agent.core.usage import Usage
from tests.support.factories import NOON

ASSUMED = Assumptions(attachment_tokens=1000, output_tokens=500)
COUNTS = st.integers(0, 10**6)
AMOUNTS = st.decimals(0, 1000, places=6)


def price(*tiers: Tier, **rates: Any) -> Price:
    """A price of 2 USD for input and 8 USD for output, unless `rates` has others."""
    rates = {"input": Decimal(2), "output": Decimal(8), **rates}
    return Price(id=1, model="m", effective_at=NOON, rates=Rates(**rates), tiers=tiers)


@pytest.mark.parametrize(
    ("size", "usd"),
    [
        (Size(input_bytes=1_000_000, output_limit=0), "2"),
        (Size(input_bytes=0, output_limit=1_000_000), "8"),
        (Size(input_bytes=0, output_limit=250_000, choices=4), "8"),
        (Size(input_bytes=0), "0.004"),
        (Size(input_bytes=0, attachments=500, output_limit=0), "1"),
        (Size(input_bytes=0, files=(500_000, 1), output_limit=0), "1.002"),
        (Size(input_bytes=0, output_limit=0), "0"),
    ],
)
def test_bytes_attachments_and_limits_cost_their_rates(size: Size, usd: str) -> None:
    """Each byte, attachment and output token counts at the rate of its side."""
    assert max_cost(price(), size, ASSUMED) == Decimal(usd)


def test_the_dearest_kind_of_token_is_assumed() -> None:
    """Audio costs more than text, and writing the cache more than reading the input."""
    rates = {"cached_input": Decimal(1), "cache_write": Decimal(3), "audio_output": Decimal(80)}
    assert max_cost(price(**rates), Size(input_bytes=1_000_000, output_limit=1_000_000), ASSUMED) == 83


def test_the_dearest_tier_that_may_be_charged_counts() -> None:
    """The requested service tier and long contexts count; a cheaper tier may not be served, so it does not. Without a
    service tier, that of the project is served."""
    tiers = (
        Tier(service_tier="priority", multiplier=Decimal(2)),
        Tier(service_tier="flex", multiplier=Decimal(0)),
        Tier(above=100, input=Decimal(4), output=Decimal(16)),
    )
    short, long = Size(input_bytes=100, output_limit=100), Size(input_bytes=101, output_limit=0)
    assert max_cost(price(*tiers), short, ASSUMED) == Decimal("0.002")
    assert max_cost(price(*tiers), short, ASSUMED, standard_tier_only=True) == Decimal("0.001")
    assert max_cost(price(*tiers), long, ASSUMED, standard_tier_only=True) == Decimal("0.000404")
    for service_tier, usd in (("priority", "0.002"), ("fast", "0.002"), ("flex", "0.001"), ("default", "0.001")):
        size = Size(input_bytes=100, output_limit=100, service_tier=service_tier)
        assert max_cost(price(*tiers), size, ASSUMED) == Decimal(usd)


@given(st.fixed_dictionaries(dict.fromkeys(RATE_NAMES, AMOUNTS)), COUNTS, COUNTS, st.data())
def test_no_answer_within_its_size_costs_more(
    rates: dict[str, Decimal], tokens: int, limit: int, data: st.DataObject
) -> None:
    """No mix of token kinds costs more, whichever rate is the highest."""
    part = st.integers(0, tokens)
    out = st.integers(0, limit)
    usage = Usage(
        input=tokens, output=limit, cached=data.draw(part), cache_write=data.draw(part), audio_input=data.draw(part),
        image_input=data.draw(part), audio_output=data.draw(out), image_output=data.draw(out),
    )  # fmt: skip
    dear = price(**rates)
    assert dear.cost(usage) <= max_cost(dear, Size(input_bytes=tokens, output_limit=limit), ASSUMED)


def test_rate_limits_estimate_tokens_as_openai_does() -> None:
    """A request counts a quarter of its bytes and its limit of output tokens."""
    assert estimate_tokens(Size(input_bytes=400, output_limit=30, choices=2)) == 160
    assert estimate_tokens(Size(input_bytes=400)) == 100


def test_calls_are_reserved_at_the_dearest_amount() -> None:
    """Each call may be of the dearest tool, and lets the model read its input again, with what was found."""
    amounts = {"web_search": Decimal("0.01"), "file_search": Decimal("0.002")}
    calls = Surcharges(ids={"web_search": 1, "file_search": 2}, amounts=amounts)
    size = Size(input_bytes=100, output_limit=0, runs_tools=True, tools=frozenset(calls.amounts), calls_limit=3)
    inputs = 100 * 4 + 3 * ASSUMED.attachment_tokens
    assert max_cost(price(), size, ASSUMED, surcharges=calls) == Decimal(2 * inputs).scaleb(-6) + 3 * Decimal("0.01")
    unlimited = msgspec.structs.replace(size, calls_limit=None)
    assumed = msgspec.structs.replace(ASSUMED, tool_calls=1)
    inputs = 100 * 2 + ASSUMED.attachment_tokens
    assert max_cost(price(), unlimited, assumed, surcharges=calls) == Decimal(2 * inputs).scaleb(-6) + Decimal("0.01")


def test_multiplier_is_reserved_for_all() -> None:
    """OpenAI does not say whether it applies to calls."""
    amounts = {"multiplier": Decimal("1.1"), "web_search": Decimal("0.01")}
    factor = Surcharges(ids={"multiplier": 1, "web_search": 2}, amounts=amounts)
    size = Size(input_bytes=0, output_limit=0, runs_tools=True, tools=frozenset({"web_search"}), calls_limit=2)
    inputs = 2 * ASSUMED.attachment_tokens
    assert max_cost(price(), size, ASSUMED, surcharges=factor) == Decimal("1.1") * (
        Decimal(2 * inputs).scaleb(-6) + 2 * Decimal("0.01")
    )


def test_recording_is_reserved_by_its_bytes() -> None:
    """A second of audio has at least 500 bytes."""
    timed = price(input=Decimal(0), output=Decimal(0), minute=Decimal("0.006"))
    size = Size(input_bytes=0, output_limit=0, audio_bytes=500 * 59)
    assert max_cost(timed, size, ASSUMED) == Decimal("0.006")


def test_memo_gives_the_same() -> None:
    """What is kept of a price changes nothing."""
    tiers = [
        Tier(service_tier=name, above=above, multiplier=Decimal(above + 2))
        for name in ("fast", "flex")
        for above in (0, 9)
    ]
    dear, memo = price(*tiers), PriceBook().memo
    for service_tier in (None, "auto", "priority", "flex", "default"):
        for count in (5, 50):
            size = Size(input_bytes=count, output_limit=count, service_tier=service_tier)
            expected = max_cost(dear, size, ASSUMED)
            assert [max_cost(dear, size, ASSUMED, memo=memo) for _ in range(2)] == [expected] * 2
