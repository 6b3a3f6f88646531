"""A request through the agent: what OpenAI gets, what the client gets, what the ledger says."""

from decimal import Decimal

from tests.support.agent import MODEL, OPENAI_KEY, Agent
from tests.support.upstream import MODEL_SERVED, REQUEST_ID, Upstream


async def test_a_whole_answer_is_passed_on_as_it_came(agent: Agent, upstream: Upstream) -> None:
    """The client gets OpenAI's bytes and OpenAI's request id."""
    answer = await agent.chat()
    assert (answer.status, answer.body) == (200, upstream.sent())
    assert answer.header("x-request-id") == REQUEST_ID
    assert answer.header("content-type") == "application/json"


async def test_a_whole_answer_is_in_the_ledger(agent: Agent, upstream: Upstream) -> None:
    """The row has OpenAI's counts, both models, and the exact cost."""
    answer = await agent.chat()
    [row] = await agent.rows(1)
    given, cached, made = upstream.billed[row["request_id"]]
    assert row["request_id"] == answer.header("x-agent-request-id")
    assert (row["input_tokens"], row["cached_tokens"], row["output_tokens"]) == (given, cached, made)
    assert (row["model"], row["served_model"], row["state"], row["status"]) == (MODEL, MODEL_SERVED, "done", 200)
    cost = (given - cached) * Decimal("0.15") + cached * Decimal("0.075") + made * Decimal("0.60")
    assert Decimal(row["cost"]) == cost / 1_000_000


async def test_openai_gets_the_users_key_and_nothing_of_the_clients_headers(agent: Agent, upstream: Upstream) -> None:
    """Of the client's own headers only Accept crosses."""
    await agent.post(agent.body(), Cookie="a=b", Accept="application/json", **{"OpenAI-Organization": "org-x"})
    names = {name.lower() for name, _ in upstream.requests[0].headers}
    assert upstream.requests[0].header("authorization") == f"Bearer {OPENAI_KEY}"
    assert names == {
        "host", "authorization", "content-type", "content-length", "accept", "accept-encoding", "user-agent",
        "x-client-request-id",
    }  # fmt: skip


async def test_the_body_is_passed_on_as_it_came(agent: Agent, upstream: Upstream) -> None:
    """A body without a stream is not touched, white space and odd keys included."""
    body = b' { "model" : "gpt-4o-mini",\n"x-odd":[1, 2.50,1e3], "messages":[{"role":"user","content":"\\u00e9"}] }\n'
    await agent.post(body)
    assert upstream.requests[0].body == body


async def test_a_stream_is_passed_on_without_the_event_that_we_asked_for(agent: Agent, upstream: Upstream) -> None:
    """OpenAI is asked for usage, the client does not see it, the ledger has it."""
    answer = await agent.chat("chunks=4", stream=True)
    usage_event = upstream.bodies[0][-2]
    assert b'"usage":{' in usage_event
    assert answer.body == upstream.sent().replace(usage_event, b"")
    assert answer.complete
    [row] = await agent.rows(1)
    assert (row["state"], row["streamed"], row["output_tokens"]) == (
        "done",
        True,
        upstream.billed[row["request_id"]][2],
    )
