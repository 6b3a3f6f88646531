"""Answers at prices imported from LiteLLM's list cost what the list itself says, read without the importer."""

import json
import re
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.money.litellm import read_litellm
from chatgpt_agent.core.money.pricing import PriceBook
from tests.support.billed_answers import ANSWERS, Bounds
from tests.support.billing import MODEL, read_whole, settled, stored_price
from tests.support.litellm_shapes import read_shapes
from tests.support.openai_bill import ListPrice, ListTier, Terms, bill

LIST = read_shapes()
IMPORTED = {price.model: price for price in read_litellm(LIST).prices}
MODELS = [model for model in IMPORTED if LIST[model]["mode"] in ("chat", "responses") and "ft:" not in model]
KEYS = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_12h": "cache_creation_input_token_cost_above_12hr",
}
SERVICE_TIERS = ("flex", "priority", "ultrafast", "decisions")
LONG = re.compile(r"_above_(\d+)k_tokens")


def listed(entry: dict[str, Any]) -> ListPrice:
    """Returns the line of the list. A rate that a tier lacks is that of long requests, of its tier, or of the model."""
    limits = {int(match[1]) * 1000 for key in entry if (match := LONG.search(key))}
    tiers = []
    for above in (0, *sorted(limits)):
        for tier in (None, *SERVICE_TIERS):
            long = f"_above_{above // 1000}k_tokens" if above else ""
            own = f"{long}_{tier}" if tier else long
            if own and any(key.endswith(own) for key in entry if key.replace(own, "") in KEYS.values()):
                ends = (own, long, f"_{tier}" if tier else "", "")
                tiers.append(ListTier(service_tier=tier, above=above, rates=_rates(entry, ends)))
    return ListPrice(rates=_rates(entry, ("",)), tiers=tiers)


def _rates(entry: dict[str, Any], ends: tuple[str, ...]) -> dict[str, Fraction]:
    amounts = {kind: [entry[key + end] for end in ends if key + end in entry] for kind, key in KEYS.items()}
    return {kind: Fraction(usd[0]) * 1_000_000 for kind, usd in amounts.items() if usd}


def test_the_current_models_are_compared() -> None:
    """The list has the models of the end of 2026."""
    assert {"gpt-6-astra", "gpt-6-sol", "gpt-6-luna"} <= set(MODELS)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=15)
@given(data=st.data())
def test_answer_at_an_imported_price_costs_what_the_list_says(model: str, data: st.DataObject) -> None:
    """Tokens of text, cached and written ones of both lifetimes, cost the same in every tier, short and long."""
    path = "/v1/decisions" if model == "gpt-6-luna" and data.draw(st.booleans()) else "/v1/responses"
    bounds = Bounds(call_types=frozenset(), draws=False)
    body = json.dumps(data.draw(ANSWERS[path](bounds))).encode()
    imported = msgspec.structs.replace(IMPORTED[model], model=MODEL)
    book = PriceBook([stored_price(imported, 1)])
    due = bill(path, body, Terms(price=listed(LIST[model])))
    assert due is not None
    assert due.exact
    assert Fraction(settled(path, read_whole(path, body), book).cost) == due.lowest
