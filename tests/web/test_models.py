"""`GET /v1/models`: the models that have a price now."""

import json

from tests.support.agent import MODEL, Agent
from tests.support.client import fetch


async def test_models_with_a_price_are_listed(agent: Agent) -> None:
    """By name, as OpenAI lists them."""
    await agent.set_price("ft:gpt-4o/acme", "1", "2")
    answer = await fetch(agent.url + "/v1/models", headers=agent.headers())
    data = json.loads(answer.body)["data"]
    assert [model["id"] for model in data] == ["ft:gpt-4o/acme", MODEL]


async def test_one_model_can_be_asked_for(agent: Agent) -> None:
    """Also one with a slash in its name, escaped or not."""
    await agent.set_price("ft:gpt-4o/acme", "1", "2")
    for name in ("ft:gpt-4o/acme", "ft%3Agpt-4o%2Facme"):
        answer = await fetch(f"{agent.url}/v1/models/{name}", headers=agent.headers())
        assert json.loads(answer.body)["id"] == "ft:gpt-4o/acme"


async def test_a_model_without_a_price_is_not_found(agent: Agent) -> None:
    """404, as for a request to it."""
    answer = await fetch(f"{agent.url}/v1/models/gpt-5", headers=agent.headers())
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


async def test_a_model_whose_price_is_removed_is_gone(agent: Agent) -> None:
    """From the list and from use."""
    before = agent.server.directory.book
    await agent.administration.prices.remove_price(MODEL)
    await agent.until(lambda: agent.server.directory.book is not before)
    answer = await fetch(agent.url + "/v1/models", headers=agent.headers())
    assert json.loads(answer.body)["data"] == []
    assert (await agent.chat()).status == 404


async def test_models_need_a_token(agent: Agent) -> None:
    """401 without one."""
    assert (await fetch(agent.url + "/v1/models")).status == 401
