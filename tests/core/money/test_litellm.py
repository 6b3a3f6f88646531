"""LiteLLM's list: what becomes a price, what does not, and which amounts."""

import json
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.litellm import read_litellm
from chatgpt_agent.core.money.pricing import NewPrice
from chatgpt_agent.core.money.tier_syntax import show_tier
from tests.support.litellm import LIST


def exact(entries: dict[str, Any]) -> dict[str, Any]:
    """Entries with the numbers that their JSON says."""
    found: dict[str, Any] = json.loads(json.dumps(entries), parse_float=Decimal, parse_int=Decimal)
    return found


def read(entries: dict[str, Any] = LIST) -> dict[str, NewPrice]:
    """The prices, by model."""
    return {price.model: price for price in read_litellm(exact(entries))[0]}


def entry(**keys: Any) -> dict[str, Any]:
    """A list of one model of OpenAI's."""
    price = {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06}
    return {"m": {**price, "litellm_provider": "openai", "mode": "chat", **keys}}


def usd(**amounts: str) -> Rates:
    """Rates out of texts."""
    return Rates(**{kind: Decimal(text) for kind, text in amounts.items()})


def test_models_of_openai_that_are_priced_by_tokens_are_taken() -> None:
    """By the name that its API knows, whatever prefix stands before it."""
    assert list(read()) == [
        "gpt-one",
        "gpt-picture",
        "gpt-sound",
        "gpt-two",
        "old-instruct",
        "vectors-bare",
        "vectors-small",
    ]


def test_what_is_left_out_has_a_reason() -> None:
    """Each entry has its own."""
    _, skipped = read_litellm(exact(LIST))
    assert {entry.model: entry.reason for entry in skipped} == {
        "sample_spec": "another provider",
        "other/gpt-one": "another provider",
        "openai/gpt-one": "there is gpt-one itself",
        "listener": "priced per second",
        "low/1024-x-1024/gpt-picture": "priced per image",
        "1024-x-1024/painter": "priced per pixel",
        "gpt-live": "mode realtime",
        "thinker": "a price of its own for reasoning tokens",
        "nameless": "no price per token",
    }


def test_amounts_are_exact_per_million() -> None:
    """1.5e-07 USD for a token are 0.15 for a million, and not 0.15000000000000002."""
    found = read(entry(input_cost_per_token=1.5e-07, output_cost_per_token=7.5e-08))["m"]
    assert found.rates == usd(input="0.15", output="0.075")


def test_every_kind_of_token_has_its_rate() -> None:
    """Where the list has one."""
    sound, picture = read()["gpt-sound"].rates, read()["gpt-picture"].rates
    assert sound == usd(input="2.5", output="10", cache_write="3", audio_input="40", audio_output="80")
    assert picture == usd(input="5", output="40", cached_input="1.25", image_input="10", image_output="40")


def test_tiers_are_read_from_the_ends_of_keys() -> None:
    """A rate that a tier lacks is that of long contexts, of its service tier, or the price's own."""
    assert [show_tier(tier) for tier in read()["gpt-one"].tiers] == [
        "above=272000:input=5,output=22.5,cached-input=0.5",
        "batch:input=1.25,output=7.5,cached-input=0.25",
        "flex:input=1.25,output=7.5,cached-input=0.13",
        "flex,above=272000:input=2.5,output=22.5,cached-input=0.5",
    ]
    assert [show_tier(tier) for tier in read()["gpt-two"].tiers] == ["priority:input=3,output=2"]


def test_number_of_a_long_context_may_be_in_ones() -> None:
    """Or in thousands."""
    found = read(
        entry(input_cost_per_token_above_200_tokens=3e-06, input_cost_per_token_above_1k_tokens_ultrafast=4e-06)
    )
    assert [show_tier(tier) for tier in found["m"].tiers] == [
        "above=200:input=3,output=2",
        "ultrafast,above=1000:input=4,output=2",
    ]


def test_vectors_cost_nothing_to_give_out() -> None:
    """Embeddings have no output."""
    assert read()["vectors-small"].rates == read()["vectors-bare"].rates == usd(input="0.02", output="0")


def test_model_of_one_kind_of_tokens_has_its_rate_for_all() -> None:
    """An answer that does not say which of its tokens are an image's is not free."""
    for nothing in (None, 0):
        found = read(entry(output_cost_per_token=nothing, output_cost_per_image_token=4e-05))["m"]
        assert found.rates.output == found.rates.image_output == 40


def test_free_model_is_priced_by_tokens() -> None:
    """Where nothing else is charged."""
    free = {"input_cost_per_token": 0, "output_cost_per_token": 0.0}
    assert read(entry(**free))["m"].rates == usd(input="0", output="0")
    assert read(entry(**free, input_cost_per_request=0.01)) == {}


@pytest.mark.parametrize("value", [-1e-06, 1.5, 1e300, 2.5e-17, "1e-06", True, [1], {"a": 1}])
def test_amount_that_is_none_is_refused(value: Any) -> None:
    """With the model and the key, in one line."""
    with pytest.raises(InvalidValue, match=r"^m, output_cost_per_token_flex: ") as caught:
        read(entry(output_cost_per_token_flex=value))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999999999", "1e-999999999", "-0.1"])
def test_number_out_of_all_range_is_refused(value: str) -> None:
    """Before anything is computed with it."""
    entries = exact(entry())
    entries["m"]["input_cost_per_token"] = Decimal(value)
    with pytest.raises(InvalidValue, match=r"^m, input_cost_per_token: "):
        read_litellm(entries)


def test_amount_of_another_provider_is_nobodys_business() -> None:
    """It is not even read."""
    assert read({**entry(), "x": {"litellm_provider": "other", "input_cost_per_token": "free"}}).keys() == {"m"}


@pytest.mark.parametrize("name", ["", " m", "a\nb", "x" * 129, "\ud800"])
def test_name_that_no_request_can_have_is_refused(name: str) -> None:
    """In one line that can be shown."""
    with pytest.raises(InvalidValue, match=r"^model: ") as caught:
        read_litellm({name: exact(entry())["m"]})
    assert str(caught.value).isprintable()


def test_entry_that_is_no_object_is_refused() -> None:
    """By its name."""
    with pytest.raises(InvalidValue, match="'m' is not an object"):
        read_litellm({"m": [1]})
