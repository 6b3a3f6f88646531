"""Endpoints that cost nothing, token counts and moderations: they need no price; limits and allowed models apply."""

import json
from decimal import Decimal
from typing import Any

import openai
import pytest

from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.http.endpoints import FREE
from tests.support.agent import Agent
from tests.support.budgets import set_budget
from tests.support.client import fetch
from tests.support.sdk import sdk
from tests.support.upstream import Received, Reply, Upstream

PATHS = [endpoint.path for endpoint in FREE]
IMAGE: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}}

pytestmark = pytest.mark.shared_agent


async def test_input_tokens_are_counted(agent: Agent, upstream: Upstream) -> None:
    """The SDK counts the tokens of a request for a model without a price, and the row has neither tokens nor cost."""
    async with sdk(agent) as client:
        answer = await client.responses.input_tokens.count(model="a-model-without-a-price", input="hello")
    assert (answer.input_tokens, upstream.requests[0].target) == (41, "/v1/responses/input_tokens")
    [row] = await agent.rows(1)
    assert (row["state"], row["endpoint"], row["model"]) == (
        "done",
        "/v1/responses/input_tokens",
        "a-model-without-a-price",
    )
    assert (row["cost"], row["price_id"], row["input_tokens"], row["output_tokens"]) == (0, None, 0, 0)


async def test_moderations_are_forwarded(agent: Agent, upstream: Upstream) -> None:
    """The SDK moderates texts and images, with a model or without; without one the row has none."""
    async with sdk(agent) as client:
        answer = await client.moderations.create(model="omni-moderation-latest", input=[IMAGE])
        await client.moderations.create(input=["hello", "there"])
    assert not answer.results[0].flagged
    assert upstream.requests[0].json == {"model": "omni-moderation-latest", "input": [IMAGE]}
    rows = await agent.rows(2)
    assert [(row["model"], row["state"], row["cost"]) for row in rows] == [
        ("omni-moderation-latest", "done", 0),
        ("", "done", 0),
    ]


@pytest.mark.parametrize("path", PATHS)
async def test_budget_that_is_used_up_does_not_matter(agent: Agent, path: str) -> None:
    """What costs nothing is served whatever is left of a budget."""
    await set_budget(agent, Decimal(0), period=Period.MONTH)
    assert (await agent.chat()).status == 429
    assert (await agent.post(b'{"model": "x", "input": "hello"}', path)).status == 200


async def test_original_program_has_no_such_requests(agent: Agent) -> None:
    """`/data/week` lists requests that may cost something, as the original program did."""
    await agent.post(b'{"input": "hello"}', "/v1/moderations")
    await agent.chat()
    await agent.rows(2)
    [request] = (await fetch(agent.url + "/data/week", headers=agent.headers())).json
    assert request["total_token"] > 0


@pytest.mark.parametrize("path", PATHS)
async def test_model_must_be_allowed(agent: Agent, upstream: Upstream, path: str) -> None:
    """A model that the token may not use is a 404, and nothing is sent; a request without a model is served."""
    await agent.store.fetch("UPDATE tokens SET allowed_models = '{other}'")
    await agent.follow()
    answer = await agent.post(b'{"model": "x", "input": "hello"}', path)
    assert (answer.status, answer.error["code"], upstream.requests) == (404, "model_not_found", [])
    assert (await agent.post(b'{"input": "hello"}', path)).status == 200


@pytest.mark.own_agent
@pytest.mark.parametrize("path", PATHS)
async def test_limit_of_requests_applies(agent: Agent, path: str) -> None:
    """Requests that cost nothing count as requests; a limit of tokens does not concern them."""
    await agent.store.fetch("UPDATE users SET rpm = 2, tpm = 1")
    await agent.follow()
    assert (await agent.chat("x" * 4000)).status == 200  # it has used more tokens than a minute has
    answers = [await agent.post(b'{"input": "hello"}', path) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"model": 1}', b'{"model": ""}', b'{"stream": true}', b'{"Model": "x"}']
)
async def test_body_is_checked(agent: Agent, upstream: Upstream, path: str, body: bytes) -> None:
    """A body that is no object, or whose model is unclear, is a 400, and nothing is sent."""
    answer = await agent.post(body, path)
    assert (answer.status, upstream.requests) == (400, [])


async def test_error_of_openai_is_forwarded(agent: Agent, upstream: Upstream) -> None:
    """OpenAI's error reaches the client, and the row has its status."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}', 429)

    upstream.script = script
    async with sdk(agent) as client:
        with pytest.raises(openai.RateLimitError):
            await client.moderations.create(input="hello")
    [row] = await agent.rows(1)
    assert (row["state"], row["status"], row["cost"]) == ("upstream_error", 429, 0)


@pytest.mark.parametrize("path", PATHS)
async def test_other_methods_are_refused(agent: Agent, path: str) -> None:
    """Only POST is accepted; a count of tokens is no id of a response."""
    answer = await fetch(agent.url + path, "DELETE", agent.headers())
    assert (answer.status, answer.error["code"], answer.header("allow")) == (405, "method_not_supported", "POST")


async def test_content_is_neither_recorded_nor_logged(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """No text of a request is in a row or a log line."""
    for path in PATHS:
        await agent.post(b'{"input": "canary-of-an-input"}', path)
    assert "canary" not in json.dumps(await agent.rows(2), default=str) + caplog.text
