"""Tests of LiteLLM's list: which entries become prices, and with which amounts."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.litellm import ignored_rates, read_litellm, shutdown_dates
from chatgpt_agent.core.money.pricing import NewPrice
from chatgpt_agent.core.money.tier_syntax import show_tier
from tests.support.litellm import LIST


def exact(entries: dict[str, Any]) -> dict[str, Any]:
    """Returns the entries with exact numbers, as they are in JSON."""
    parsed: dict[str, Any] = json.loads(json.dumps(entries), parse_float=Decimal, parse_int=Decimal)
    return parsed


def read(entries: dict[str, Any] = LIST) -> dict[str, NewPrice]:
    """Returns the prices by model."""
    return {price.model: price for price in read_litellm(exact(entries)).prices}


def entry(**keys: Any) -> dict[str, Any]:
    """Returns a list with one model of OpenAI."""
    price = {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06}
    return {"m": {**price, "litellm_provider": "openai", "mode": "chat", **keys}}


def usd(**amounts: str) -> Rates:
    """Returns rates with these amounts."""
    return Rates(**{kind: Decimal(text) for kind, text in amounts.items()})


def test_openai_models_priced_by_tokens_or_time_are_read() -> None:
    """Each has the name in OpenAI's API, without the prefix of the provider."""
    assert list(read()) == [
        "gpt-one",
        "gpt-picture",
        "gpt-sound",
        "gpt-two",
        "listener",
        "old-instruct",
        "vectors-bare",
        "vectors-small",
    ]


def test_skipped_entries_have_a_reason() -> None:
    """Each skipped entry says why it is skipped."""
    skipped = read_litellm(exact(LIST)).skipped
    assert {entry.model: entry.reason for entry in skipped} == {
        "sample_spec": "another provider",
        "other/gpt-one": "another provider",
        "openai/gpt-one": "duplicate of gpt-one",
        "low/1024-x-1024/gpt-picture": "priced per image",
        "1024-x-1024/painter": "priced per pixel",
        "gpt-live": "mode realtime",
        "thinker": "separate price for reasoning tokens",
        "nameless": "no price per token",
    }


def test_amounts_are_exact_per_million() -> None:
    """1.5e-07 USD per token is 0.15 USD per million, not 0.15000000000000002."""
    price = read(entry(input_cost_per_token=1.5e-07, output_cost_per_token=7.5e-08))["m"]
    assert price.rates == usd(input="0.15", output="0.075")


def test_every_kind_of_token_has_its_rate() -> None:
    """Audio, image and cache rates are read where the list has them."""
    sound, picture = read()["gpt-sound"].rates, read()["gpt-picture"].rates
    assert sound == usd(input="2.5", output="10", cache_write="3", audio_input="40", audio_output="80")
    assert picture == usd(input="5", output="40", cached_input="1.25", image_input="10", image_output="40")


def test_tiers_are_read_from_the_ends_of_keys() -> None:
    """A missing rate of a tier is that of long contexts, of its service tier, or of the price."""
    assert [show_tier(tier) for tier in read()["gpt-one"].tiers] == [
        "above=272000:input=5,output=22.5,cached-input=0.5",
        "batch:input=1.25,output=7.5,cached-input=0.25",
        "flex:input=1.25,output=7.5,cached-input=0.13",
        "flex,above=272000:input=2.5,output=22.5,cached-input=0.5",
    ]
    assert [show_tier(tier) for tier in read()["gpt-two"].tiers] == ["priority:input=3,output=2"]


def test_long_context_may_be_in_tokens_or_thousands() -> None:
    """Both `above_200_tokens` and `above_1k_tokens` are read."""
    prices = read(
        entry(input_cost_per_token_above_200_tokens=3e-06, input_cost_per_token_above_1k_tokens_ultrafast=4e-06)
    )
    assert [show_tier(tier) for tier in prices["m"].tiers] == [
        "above=200:input=3,output=2",
        "ultrafast,above=1000:input=4,output=2",
    ]


def test_embeddings_have_free_output() -> None:
    """Embeddings have no output tokens, so their output rate is zero."""
    assert read()["vectors-small"].rates == read()["vectors-bare"].rates == usd(input="0.02", output="0")


def test_rate_of_the_only_priced_medium_applies_to_its_side() -> None:
    """An answer that does not count its image tokens is not free."""
    for nothing in (None, 0):
        price = read(entry(output_cost_per_token=nothing, output_cost_per_image_token=4e-05))["m"]
        assert price.rates.output == price.rates.image_output == 40


def test_time_has_a_price_per_minute() -> None:
    """The amount per second is multiplied by 60; tokens, of which such an answer has none, are free."""
    assert read()["listener"].rates == usd(input="0", output="0", minute="0.006")
    with_tokens = entry(mode="audio_transcription", input_cost_per_second=7.5e-05)
    assert read(with_tokens)["m"].rates == usd(input="1", output="2", minute="0.0045")


def test_time_without_an_exact_price_is_skipped() -> None:
    """A list that has rounded the amount per second would make the price per minute wrong."""
    second = {"input_cost_per_second": 0.000283333333333}
    entries = {"m": {**second, "litellm_provider": "openai", "mode": "audio_transcription"}}
    [skipped] = read_litellm(exact(entries)).skipped
    assert skipped.reason == "priced per second, which is no exact price per minute"


def test_time_of_a_chat_has_no_price() -> None:
    """Only transcriptions are charged by time; the key is named as one that is not taken."""
    listed = read_litellm(exact(entry(input_cost_per_second=7.5e-05)))
    assert listed.prices[0].rates.minute is None
    assert ignored_rates(listed) == {"input_cost_per_second": ["m"]}


def test_shutdown_date_is_read() -> None:
    """A model without one has None: an earlier date does not hold any more."""
    entries = {**entry(deprecation_date="2027-02-26"), "n": entry()["m"], "gpt-live": {**LIST["gpt-live"]}}
    assert shutdown_dates(read_litellm(exact(entries))) == {"m": date(2027, 2, 26), "n": None}


@pytest.mark.parametrize("value", ["soon", "2027-13-01", "20270226", "1999-12-31", "9999-01-01", 20270226, ["2027"]])
def test_invalid_shutdown_date_is_rejected(value: Any) -> None:
    """The error is one line with the model and the key."""
    with pytest.raises(InvalidValue, match=r"^m, deprecation_date: "):
        shutdown_dates(read_litellm(exact(entry(deprecation_date=value))))


def test_free_model_has_a_price_of_zero() -> None:
    """A free model is read unless it charges by something else."""
    free = {"input_cost_per_token": 0, "output_cost_per_token": 0.0}
    assert read(entry(**free))["m"].rates == usd(input="0", output="0")
    assert read(entry(**free, input_cost_per_request=0.01)) == {}


@pytest.mark.parametrize("value", [-1e-06, 1.5, 1e300, 2.5e-17, "1e-06", True, [1], {"a": 1}])
def test_invalid_amount_is_rejected(value: Any) -> None:
    """The error is one line with the model and the key."""
    with pytest.raises(InvalidValue, match=r"^m, output_cost_per_token_flex: ") as caught:
        read(entry(output_cost_per_token_flex=value))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999999999", "1e-999999999", "-0.1"])
def test_number_out_of_range_is_rejected(value: str) -> None:
    """Such a number is rejected before anything is computed with it."""
    entries = exact(entry())
    entries["m"]["input_cost_per_token"] = Decimal(value)
    with pytest.raises(InvalidValue, match=r"^m, input_cost_per_token: "):
        read_litellm(entries)


def test_amounts_of_other_providers_are_not_read() -> None:
    """An invalid amount of another provider is no error."""
    assert read({**entry(), "x": {"litellm_provider": "other", "input_cost_per_token": "free"}}).keys() == {"m"}


@pytest.mark.parametrize("name", ["", " m", "a\nb", "x" * 129, "\ud800"])
def test_invalid_model_name_is_rejected(name: str) -> None:
    """The error is one printable line."""
    with pytest.raises(InvalidValue, match=r"^model: ") as caught:
        read_litellm({name: exact(entry())["m"]})
    assert str(caught.value).isprintable()


def test_entry_that_is_not_an_object_is_rejected() -> None:
    """The error names the entry."""
    with pytest.raises(InvalidValue, match="'m' is not an object"):
        read_litellm({"m": [1]})
