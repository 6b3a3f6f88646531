"""`GET /v1/models`: the models that have a price now."""

import pytest

from tests.support.agent import MODEL, Agent
from tests.support.client import Answer, fetch
from tests.support.sdk import sdk

FINE_TUNED = "ft:gpt-6-sol/acme"

pytestmark = pytest.mark.shared_agent


async def get(agent: Agent, path: str) -> Answer:
    return await fetch(agent.url + path, headers=agent.headers())


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/v1/models/", "/models/"])
async def test_models_with_a_price_are_listed(agent: Agent, path: str) -> None:
    """The list has all models with a price, sorted by name, also without `/v1` and with a slash at the end."""
    await agent.set_price(FINE_TUNED, "1", "2")
    answer = await get(agent, path)
    assert [model["id"] for model in answer.json["data"]] == [FINE_TUNED, MODEL]


@pytest.mark.parametrize("name", [FINE_TUNED, "ft%3Agpt-6-sol%2Facme"])
async def test_single_model_is_found_by_name(agent: Agent, name: str) -> None:
    """A model with a slash in its name is found whether the URL escapes it or not."""
    await agent.set_price(FINE_TUNED, "1", "2")
    for path in (f"/v1/models/{name}", f"/models/{name}", f"/v1/models/{name}/"):
        assert (await get(agent, path)).json["id"] == FINE_TUNED


async def test_fine_tuned_model_without_a_price_of_its_own_is_served(agent: Agent) -> None:
    """A fine-tuned model has the price of its base; its row names that price, and it is found by name, not listed."""
    model = "ft:gpt-6-luna:acme::7p4lURel"
    await agent.set_price("ft:gpt-6-luna", "1", "2")
    assert (await get(agent, f"/v1/models/{model}")).json["id"] == model
    assert model not in [listed["id"] for listed in (await get(agent, "/v1/models")).json["data"]]
    assert (await agent.chat(model=model)).status == 200
    await agent.rows(1)
    [row] = await agent.administration.ledger.rows(limit=1)
    assert (row.model, row.charged_model) == (model, "ft:gpt-6-luna")


async def test_model_without_a_price_is_not_found(agent: Agent) -> None:
    """A model without a price is a 404, as it is for a request."""
    answer = await get(agent, "/v1/models/gpt-5.5")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


async def test_model_with_a_removed_price_is_not_listed(agent: Agent) -> None:
    """A model whose price was removed is neither listed nor served."""
    before = agent.server.directory.book
    await agent.administration.prices.remove(MODEL)
    await agent.until(lambda: agent.server.directory.book is not before)
    assert (await get(agent, "/v1/models")).json["data"] == []
    assert (await agent.chat()).status == 404


async def test_model_has_the_day_of_its_shutdown(agent: Agent) -> None:
    """It is a field of OpenAI's model objects, null if no day is announced; the official SDK reads it."""
    await agent.set_price("whisper-1", "1", "2")
    await agent.store.fetch("INSERT INTO model_dates (model, shutdown_on) VALUES ('whisper-1', '2027-02-26')")
    await agent.until(lambda: bool(agent.server.directory.shutdown_dates))
    async with sdk(agent) as client:
        days = {model.id: getattr(model, "shutdown_date", "missing") async for model in client.models.list()}
    assert days == {MODEL: None, "whisper-1": "2027-02-26"}
    await agent.store.fetch("DELETE FROM model_dates")
    await agent.until(lambda: not agent.server.directory.shutdown_dates)
    assert (await get(agent, "/v1/models/whisper-1")).json["shutdown_date"] is None


async def test_models_need_a_token(agent: Agent, source_address: str) -> None:
    """A request without a token is a 401."""
    assert (await fetch(agent.url + "/v1/models", source=source_address)).status == 401
