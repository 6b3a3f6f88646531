"""The line of a refused request in the log: which token, and why."""

import logging
from collections.abc import Iterator
from decimal import Decimal

import pytest

from chatgpt_agent.core.budget.period import Period
from tests.support.agent import MODEL, Agent
from tests.support.budgets import set_budget
from tests.support.client import fetch


@pytest.fixture(autouse=True)
def at_info(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The log has its usual level."""
    with caplog.at_level(logging.INFO, "chatgpt_agent.access"):
        yield


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What stands after the user in the lines of requests."""
    lines = [record.getMessage() for record in caplog.records if record.name == "chatgpt_agent.access"]
    return [line.partition("user=alice ")[2] for line in lines]


async def test_model_without_a_price_is_named(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """The line has the id of the token and the model, also where a client asks for the model alone."""
    assert (await agent.chat(model="gpt-6-lunar")).status == 404
    assert (await fetch(f"{agent.url}/v1/models/gpt-6-lunar", "GET", agent.headers())).status == 404
    assert reasons(caplog) == ["token=1 error=model_not_found (model gpt-6-lunar has no price)"] * 2


@pytest.mark.parametrize(("table", "owner"), [("users", "user"), ("tokens", "token")])
async def test_model_that_is_not_allowed_is_named(
    agent: Agent, caplog: pytest.LogCaptureFixture, table: str, owner: str
) -> None:
    """The line says whether the user or the token may not use it."""
    await agent.store.fetch(f"UPDATE {table} SET allowed_models = '{{other}}'")
    await agent.follow()
    assert (await agent.chat()).status == 404
    assert reasons(caplog) == [f"token=1 error=model_not_found (model {MODEL} is not allowed for the {owner})"]


@pytest.mark.parametrize("model", ["tell me a secret", "gpt-6-sol\nINFO forged", "secret" * 30])
async def test_text_in_the_place_of_a_model_is_not_logged(
    agent: Agent, caplog: pytest.LogCaptureFixture, model: str
) -> None:
    """A client may send any text as its model, even a message."""
    assert (await agent.chat(model=model)).status in (400, 404)
    assert "secret" not in caplog.text
    assert "forged" not in caplog.text


async def test_refusal_of_a_budget_has_its_amounts(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """The line has the model, what the request may cost, and what is left of which budget."""
    await set_budget(agent, Decimal("0.0001"), period=Period.MONTH)
    assert (await agent.chat(max_completion_tokens=1000)).status == 429
    [reason] = reasons(caplog)
    assert reason.startswith(f"token=1 error=insufficient_quota (model {MODEL}: may cost 0.000")
    assert reason.endswith(" USD, user's budget (month): 0.00010 of 0.00010 USD left)")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ("rpm = 1", "1 requests, token: 1 requests a minute, 0 left"),
        ("tpm = 40", "36 tokens, token: 40 tokens a minute, "),
    ],
)
async def test_refusal_of_a_rate_limit_has_the_limit(
    agent: Agent, caplog: pytest.LogCaptureFixture, limits: str, reason: str
) -> None:
    """The line has the model, the limit, and whether it is the user's or the token's."""
    await agent.store.fetch(f"UPDATE tokens SET {limits}")
    await agent.follow()
    assert [(await agent.chat(max_completion_tokens=10)).status for _ in range(2)] == [200, 429]
    assert reasons(caplog)[1].startswith(f"token=1 error=rate_limit_exceeded (model {MODEL}: {reason}")
