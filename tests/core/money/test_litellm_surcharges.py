"""Tests of LiteLLM's list: fees for tools and factors in regions become surcharges."""

import json
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.litellm import read_litellm
from chatgpt_agent.core.money.litellm_surcharges import ListedSurcharges, describe_differing, read_surcharges
from chatgpt_agent.core.money.surcharges import NewSurcharge
from tests.support.litellm_shapes import read_shapes

PRICED = {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "litellm_provider": "openai", "mode": "chat"}
SIZES = ("search_context_size_low", "search_context_size_medium", "search_context_size_high")


def read(**keys: Any) -> ListedSurcharges:
    """Returns the surcharges of a list with one model, `m`."""
    return of_list({"m": {**PRICED, **keys}})


def of_list(entries: dict[str, Any]) -> ListedSurcharges:
    """Returns the surcharges of a list."""
    exact = json.loads(json.dumps(entries), parse_float=Decimal, parse_int=Decimal)
    return read_surcharges(exact, read_litellm(exact))


def searches(*prices: float) -> dict[str, float]:
    """Returns prices of a search by the size of its context."""
    return dict(zip(SIZES, prices, strict=True))


def test_search_has_a_fee_for_its_model() -> None:
    """It is USD for one search."""
    fees = read(search_context_cost_per_query=searches(0.01, 0.01, 0.01))
    assert fees.fees == [NewSurcharge(kind="web_search", amount=Decimal("0.01"), model="m")]
    assert fees.differing == {}


def test_largest_of_different_prices_is_the_fee() -> None:
    """OpenAI's answer does not say which size was used, so that less might be too little."""
    listed = read(search_context_cost_per_query=searches(0.03, 0.035, 0.05))
    assert [fee.amount for fee in listed.fees] == [Decimal("0.05")]
    assert describe_differing("m", listed.differing["m"]) == (
        "a web search of m costs 0.03 to 0.05 USD by the size of its context: 0.05 is taken"
    )


def test_session_of_an_entry_without_a_model_is_for_all() -> None:
    """A session of the code interpreter costs the same with every model."""
    session = {"code_interpreter_cost_per_session": 0.03}
    container = {**session, "litellm_provider": "openai", "mode": "chat"}
    assert of_list({"openai/container": container}).fees == [
        NewSurcharge(kind="code_interpreter", amount=Decimal("0.03"))
    ]
    assert [fee.model for fee in read(**session).fees] == ["m"]
    assert of_list({"other/container": {**container, "litellm_provider": "other"}}).fees == []


def test_factor_of_a_region_is_for_the_host() -> None:
    """Each region has its own factors."""
    listed = read(regional_processing_uplift_multiplier_eu=1.1, fedramp_uplift_multiplier=1.2)
    assert listed.fees == []
    assert listed.of_region("eu", "eu.api.openai.com") == [
        NewSurcharge(kind="multiplier", amount=Decimal("1.1"), host="eu.api.openai.com", model="m")
    ]
    assert listed.of_region("us", "us.api.openai.com") == []
    assert [factor.amount for factor in listed.of_region("fedramp", "h")] == [Decimal("1.2")]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("search_context_cost_per_query", 0.01),
        ("search_context_cost_per_query", {"search_context_size_low": "0.01"}),
        ("search_context_cost_per_query", {"search_context_size_low": -0.01}),
        ("search_context_cost_per_query", {"search_context_size_low": 1001}),
        ("code_interpreter_cost_per_session", [0.03]),
        ("regional_processing_uplift_multiplier_eu", True),
        ("regional_processing_uplift_multiplier_us", 0),
        ("fedramp_uplift_multiplier", 1.12345678901),
    ],
)
def test_invalid_amount_is_rejected(key: str, value: Any) -> None:
    """The error is one line with the model and the key."""
    with pytest.raises(InvalidValue, match=f"^m, {key}") as caught:
        read(**{key: value})
    assert len(str(caught.value).splitlines()) == 1


def test_surcharges_of_the_whole_list() -> None:
    """One entry of each shape: the fees by kind and amount, and the factors by region."""
    entries = read_shapes()
    listed = read_surcharges(entries, read_litellm(entries))
    assert Counter((fee.kind, fee.amount) for fee in listed.fees) == {
        ("web_search", Decimal("0.01")): 21,
        ("web_search", Decimal("0.025")): 4,
        ("code_interpreter", Decimal("0.03")): 1,
    }
    assert {region: set(factors.values()) for region, factors in listed.factors.items()} == {
        region: {Decimal("1.1")} for region in ("eu", "us", "fedramp")
    }
