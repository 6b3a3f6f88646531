"""Tests of LiteLLM's whole list, reduced to one entry of each shape by tests/support/litellm_shapes.py."""

import re
from collections import Counter
from decimal import Decimal

import pytest

from chatgpt_agent.core.money.litellm import ignored_rates, read_litellm
from chatgpt_agent.core.money.tier_syntax import show_tier
from tests.support.litellm_shapes import read_shapes

LIST = read_shapes()
LISTED = read_litellm(LIST)
SKIPPED = LISTED.skipped
PRICES = {price.model: price for price in LISTED.prices}

RATES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_12hr": "cache_write_12h",
    "cache_read_input_audio_token_cost": "cached_audio",
    "cache_read_input_image_token_cost": "cached_image",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_image_token": "image_output",
}
TIERS = {"_flex": "flex", "_priority": "priority", "_ultrafast": "ultrafast", "_batches": "batch"}
TIERS |= {"_decisions": "decisions"}
LONG = "_above_272k_tokens"


def place_of(key: str) -> tuple[str | None, int, str | None]:
    """Returns the service tier, the number of tokens to be above, and the rate of a key; without a rate: None."""
    tier = next((tier for end, tier in TIERS.items() if key.endswith(end)), None)
    key = re.sub(f"({'|'.join(TIERS)})$", "", key)
    return tier, 272_000 if LONG in key else 0, RATES.get(key.replace(LONG, ""))


def test_every_entry_is_imported_or_has_a_reason() -> None:
    """No entry is lost."""
    assert len(PRICES) + len(SKIPPED) == len(LIST)
    assert {entry.model for entry in SKIPPED}.isdisjoint(PRICES)
    assert {entry.model for entry in SKIPPED} | set(PRICES) == set(LIST)


def test_reasons_are_counted() -> None:
    """Sockets, speech, video, moderation and images at a price each are not imported."""
    assert Counter(entry.reason for entry in SKIPPED) == {
        "mode realtime": 5,
        "mode audio_speech": 3,
        "priced per image": 3,
        "only over /v1/realtime": 1,
        "a tool, whose fee is a surcharge": 1,
        "mode video_generation": 1,
        "mode moderation": 1,
        "another provider": 1,
    }


@pytest.mark.parametrize("model", PRICES)
def test_every_rate_is_taken_exactly(model: str) -> None:
    """Each rate of an entry is in the price or the tier that its key names, a million times as much, to the digit."""
    price = PRICES[model]
    places = {(None, 0): price.rates} | {(tier.service_tier, tier.above): tier for tier in price.tiers}
    for key, value in LIST[model].items():
        tier, above, rate = place_of(key)
        if rate is not None:
            assert places[tier, above].get(rate) == Decimal(value) * 1_000_000, key


def test_nothing_that_is_charged_is_left_out() -> None:
    """Every key with an amount is in the price or in a surcharge: none is named as one that is not taken."""
    assert ignored_rates(LISTED) == {}


def test_all_tiers_of_a_model_are_taken() -> None:
    """A model with six service tiers, each for short and for long requests."""
    tiers = [show_tier(tier).partition(":")[0] for tier in PRICES["gpt-6-astra"].tiers]
    assert tiers == [
        "above=272000", "batch", "batch,above=272000", "flex", "flex,above=272000", "priority", "priority,above=272000",
        "ultrafast", "ultrafast,above=272000",
    ]  # fmt: skip


def test_decisions_have_free_output() -> None:
    """The endpoint /v1/decisions is charged for its input only."""
    [tier] = [tier for tier in PRICES["gpt-6-luna"].tiers if (tier.service_tier, tier.above) == ("decisions", 0)]
    assert (tier.input, tier.cached_input, tier.cache_write, tier.output) == tuple(
        map(Decimal, ("0.1", "0.01", "0.125", "0"))
    )
