"""What a call can cost at most: never less than what it does cost."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.budget.max_cost import Assumptions, Size, estimate_tokens, most
from chatgpt_agent.core.money.kinds import RATE_NAMES, Rates
from chatgpt_agent.core.money.pricing import Price, Tier
from chatgpt_agent.core.usage import Usage
from tests.support.factories import NOON

ASSUMED = Assumptions(link_tokens=1000, output_tokens=500)
COUNTS = st.integers(0, 10**6)
AMOUNTS = st.decimals(0, 1000, places=6)


def price(*tiers: Tier, **rates: Any) -> Price:
    """A price of 2 USD for input and 8 USD for output, unless `rates` has others."""
    rates = {"input": Decimal(2), "output": Decimal(8), **rates}
    return Price(id=1, model="m", effective_at=NOON, rates=Rates(**rates), tiers=tiers)


@pytest.mark.parametrize(
    ("size", "usd"),
    [
        (Size(1_000_000, output_limit=0), "2"),
        (Size(0, output_limit=1_000_000), "8"),
        (Size(0, output_limit=250_000, choices=4), "8"),
        (Size(0), "0.004"),
        (Size(0, links=500, output_limit=0), "1"),
        (Size(0, output_limit=0), "0"),
    ],
)
def test_bytes_links_and_limits_are_counted(size: Size, usd: str) -> None:
    """Each at its rate."""
    assert most(price(), size, ASSUMED) == Decimal(usd)


def test_the_dearest_kind_of_token_is_assumed() -> None:
    """A voice costs more than a text, and writing a cache more than reading the input."""
    rates = {"cached_input": Decimal(1), "cache_write": Decimal(3), "audio_output": Decimal(80)}
    assert most(price(**rates), Size(1_000_000, output_limit=1_000_000), ASSUMED) == 83


def test_the_dearest_tier_that_may_be_charged_counts() -> None:
    """The one that was asked for, and a long context, as far as the bytes tell; a cheaper one may not be served."""
    tiers = (
        Tier(service_tier="priority", multiplier=Decimal(2)),
        Tier(service_tier="flex", multiplier=Decimal(0)),
        Tier(above=100, input=Decimal(4), output=Decimal(16)),
    )
    short, long = Size(100, output_limit=100), Size(101, output_limit=0)
    assert most(price(*tiers), short, ASSUMED) == Decimal("0.001")
    assert most(price(*tiers), long, ASSUMED) == Decimal("0.000404")
    assert most(price(*tiers), Size(100, output_limit=100, service_tier="priority"), ASSUMED) == Decimal("0.002")
    assert most(price(*tiers), Size(100, output_limit=100, service_tier="flex"), ASSUMED) == Decimal("0.001")


@given(st.fixed_dictionaries(dict.fromkeys(RATE_NAMES, AMOUNTS)), COUNTS, COUNTS, st.data())
def test_no_answer_within_its_size_costs_more(
    rates: dict[str, Decimal], tokens: int, limit: int, data: st.DataObject
) -> None:
    """Whatever kinds its tokens are of, where the cached ones are not the dearest."""
    rates["cached_input"] = min(rates["cached_input"], rates["input"])
    part = st.integers(0, tokens)
    out = st.integers(0, limit)
    usage = Usage(
        input=tokens, output=limit, cached=data.draw(part), cache_write=data.draw(part), audio_input=data.draw(part),
        image_input=data.draw(part), audio_output=data.draw(out), image_output=data.draw(out),
    )  # fmt: skip
    found = price(**rates)
    assert found.cost(usage) <= most(found, Size(tokens, output_limit=limit), ASSUMED)


def test_tokens_a_minute_take_a_call_for_what_is_likely() -> None:
    """A quarter of its bytes, and its limit of output: OpenAI's own guess."""
    assert estimate_tokens(Size(400, output_limit=30, choices=2)) == 160
    assert estimate_tokens(Size(400)) == 100
