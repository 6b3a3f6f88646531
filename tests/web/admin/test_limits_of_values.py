"""What commands accept is accepted over REST: the largest values, token 0, names with an equals sign."""

import pytest

from tests.support.administrator import Administrator
from tests.support.agent import MODEL

pytestmark = pytest.mark.shared_agent


async def test_largest_price_and_multiplier_are_accepted(admin: Administrator) -> None:
    """1,000,000 USD and a multiplier of 1,000 are the limits; what is larger breaks a rule."""
    price = {"model": "m", "input": "1000000", "output": "1000000.0000000000"}
    tier = {"service_tier": "flex", "multiplier": "1000"}
    assert (await admin.ask("POST", "/prices", {**price, "tiers": [tier]})).status == 201
    answer = await admin.ask("POST", "/prices", {**price, "input": "1000000.0000000001"})
    assert (answer.status, answer.error["code"]) == (422, "invalid_value")


async def test_largest_budget_is_accepted(admin: Administrator) -> None:
    """1,000,000,000 USD is the limit; what is larger breaks a rule."""
    for amount, status in (("1000000000", 200), ("1000000000.01", 422)):
        assert (await admin.ask("PUT", "/users/bob/budgets/total", {"amount": amount})).status == status


async def test_largest_surcharge_is_accepted(admin: Administrator) -> None:
    """1,000 USD a call and a factor of 1,000 are the limits; what is larger breaks a rule."""
    for kind in ("web_search", "multiplier"):
        for amount, status in (("1000.0000000000", 201), ("1000.0000000001", 422)):
            answer = await admin.ask("POST", "/surcharges", {"kind": kind, "amount": amount})
            assert answer.status == status


async def test_usage_of_token_0_can_be_chosen(admin: Administrator) -> None:
    """Token 0 stands for rows that were imported without a token; the agent has none of these."""
    report = (await admin.ask("GET", "/usage?token=0")).json
    assert (report["rows"], report["total"]["seconds"]) == ([], "0")
    [row] = (await admin.ask("GET", "/usage?token=1&by=model")).json["rows"]
    assert row["group"] == {"model": MODEL}


async def test_key_of_a_user_with_an_equals_sign_is_accepted(admin: Administrator) -> None:
    """The first equals sign ends the id of the key."""
    figures = b"start_time,model,num_model_requests,input_tokens,output_tokens\n2026-01-01,m,1,2,3\n"
    answer = await admin.ask("POST", "/ledger/reconcile?key=key_x=a=b", figures, Content_Type="text/csv")
    assert (answer.status, answer.error["message"]) == (404, "there is no user 'a=b'")
