"""A request through the agent: what OpenAI receives, what the client receives, and what is recorded."""

from decimal import Decimal

import pytest

from tests.support.agent import MODEL, OPENAI_KEY, Agent
from tests.support.upstream import MODEL_SERVED, REQUEST_ID, Upstream

pytestmark = pytest.mark.shared_agent


async def test_whole_answer_is_forwarded_unchanged(agent: Agent, upstream: Upstream) -> None:
    """The client gets OpenAI's bytes and OpenAI's request id."""
    answer = await agent.chat()
    assert (answer.status, answer.body) == (200, upstream.sent())
    assert answer.header("x-request-id") == REQUEST_ID
    assert answer.header("content-type") == "application/json"


async def test_whole_answer_is_recorded(agent: Agent, upstream: Upstream) -> None:
    """The row has OpenAI's counts, both models, and the exact cost."""
    answer = await agent.chat()
    [row] = await agent.rows(1)
    input_, cached, output = upstream.billed[row["request_id"]]
    assert row["request_id"] == answer.header("x-agent-request-id")
    assert (row["input_tokens"], row["cached_tokens"], row["output_tokens"]) == (input_, cached, output)
    assert (row["model"], row["served_model"], row["state"], row["status"]) == (MODEL, MODEL_SERVED, "done", 200)
    cost = (input_ - cached) * Decimal("0.15") + cached * Decimal("0.075") + output * Decimal("0.60")
    assert Decimal(row["cost"]) == cost / 1_000_000


async def test_openai_gets_the_users_key_and_only_accept_of_the_client(agent: Agent, upstream: Upstream) -> None:
    """OpenAI gets the user's key, and of the client's own headers only Accept."""
    await agent.post(agent.body(), Cookie="a=b", Accept="application/json", **{"OpenAI-Organization": "org-x"})
    [request] = upstream.requests
    assert request.header("authorization") == f"Bearer {OPENAI_KEY}"
    assert {name.lower() for name, _ in request.headers} == {
        "host", "authorization", "content-type", "content-length", "accept", "accept-encoding", "user-agent",
        "x-client-request-id",
    }  # fmt: skip


async def test_body_is_forwarded_unchanged(agent: Agent, upstream: Upstream) -> None:
    """The body of a request without a stream is forwarded unchanged, including white space and unknown keys."""
    body = b' { "model" : "gpt-4o-mini",\n"x-odd":[1, 2.50,1e3], "messages":[{"role":"user","content":"\\u00e9"}] }\n'
    await agent.post(body)
    assert upstream.requests[0].body == body


async def test_stream_is_forwarded_without_the_hidden_event(agent: Agent, upstream: Upstream) -> None:
    """OpenAI is asked for the usage of a stream, which is recorded and not shown to a client that did not ask."""
    answer = await agent.chat("chunks=4", stream=True)
    usage_event = upstream.bodies[0][-2]
    assert b'"usage":{' in usage_event
    assert (answer.body, answer.complete) == (upstream.sent().replace(usage_event, b""), True)
    [row] = await agent.rows(1)
    output = upstream.billed[row["request_id"]][2]
    assert (row["state"], row["streamed"], row["output_tokens"]) == ("done", True, output)
