"""Objects that OpenAI stores for the user's own key: read, changed and deleted with the SDK, and never charged."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from openai import AsyncOpenAI

from chatgpt_agent.adapters.postgres.reconcile import ledger_sums
from chatgpt_agent.core.http.endpoints import STORED
from chatgpt_agent.core.http.stored import MAX_QUERY
from tests.support.agent import Agent
from tests.support.client import Connection, fetch, request_bytes
from tests.support.sdk import sdk
from tests.support.stored import stored_stream
from tests.support.upstream import Received, Reply, Upstream

Call = Callable[[AsyncOpenAI], Awaitable[Any]]

MESSAGE: Any = {"type": "message", "role": "user", "content": "hello"}
CALLS: dict[str, Call] = {
    "GET /v1/responses/{id}": lambda client: client.responses.retrieve("resp_1"),
    "DELETE /v1/responses/{id}": lambda client: client.responses.delete("resp_1"),
    "/v1/responses/{id}/cancel": lambda client: client.responses.cancel("resp_1"),
    "GET /v1/responses/{id}/input_items": lambda client: client.responses.input_items.list("resp_1"),
    "/v1/conversations": lambda client: client.conversations.create(items=[MESSAGE]),
    "GET /v1/conversations/{id}": lambda client: client.conversations.retrieve("conv_1"),
    "/v1/conversations/{id}": lambda client: client.conversations.update("conv_1", metadata={"topic": "x"}),
    "DELETE /v1/conversations/{id}": lambda client: client.conversations.delete("conv_1"),
    "GET /v1/conversations/{id}/items": lambda client: client.conversations.items.list("conv_1"),
    "/v1/conversations/{id}/items": lambda client: client.conversations.items.create("conv_1", items=[MESSAGE]),
    "GET /v1/conversations/{id}/items/{item}": lambda client: client.conversations.items.retrieve(
        "msg_1", conversation_id="conv_1"
    ),
    "DELETE /v1/conversations/{id}/items/{item}": lambda client: client.conversations.items.delete(
        "msg_1", conversation_id="conv_1"
    ),
    "GET /v1/chat/completions": lambda client: client.chat.completions.list(),
    "GET /v1/chat/completions/{id}": lambda client: client.chat.completions.retrieve("chatcmpl-1"),
    "/v1/chat/completions/{id}": lambda client: client.chat.completions.update("chatcmpl-1", metadata={"topic": "x"}),
    "DELETE /v1/chat/completions/{id}": lambda client: client.chat.completions.delete("chatcmpl-1"),
    "GET /v1/chat/completions/{id}/messages": lambda client: client.chat.completions.messages.list("chatcmpl-1"),
}

pytestmark = pytest.mark.shared_agent


async def get(agent: Agent, path: str, method: str = "GET") -> Any:
    return await fetch(agent.url + path, method, agent.headers())


def test_every_stored_object_is_called() -> None:
    """The tests call every endpoint of stored objects."""
    assert list(CALLS) == [endpoint.name for endpoint in STORED]


@pytest.mark.parametrize("name", CALLS)
async def test_object_is_forwarded_and_not_charged(agent: Agent, upstream: Upstream, name: str) -> None:
    """OpenAI gets the method, the path and the user's key; the row has no id of an object, no tokens and no cost."""
    async with sdk(agent) as client:
        await CALLS[name](client)
    [request] = upstream.requests
    method, _, path = name.rpartition(" ")
    assert request.method == (method or "POST")
    ids = path.replace("{id}", "chatcmpl-1" if "chat" in path else "resp_1" if "responses" in path else "conv_1")
    assert request.target == ids.replace("{item}", "msg_1")
    [row] = await agent.rows(1)
    assert (row["endpoint"], row["model"], row["state"], row["status"]) == (name, "", "done", 200)
    assert (row["cost"], row["price_id"], row["input_tokens"], row["served_model"]) == (0, None, 0, None)
    assert row["upstream_id"] is None


async def test_answer_passes_unchanged(agent: Agent, upstream: Upstream) -> None:
    """The client gets OpenAI's answer byte for byte, with the usage that was counted when the response was made."""
    answer = await get(agent, "/v1/responses/resp_1")
    assert answer.body == upstream.sent()
    assert answer.json["usage"]["input_tokens"] == 41
    assert (await agent.rows(1))[0]["input_tokens"] == 0


async def test_openai_counts_no_such_request(agent: Agent) -> None:
    """A reconciliation compares no requests about stored objects, which OpenAI's usage does not have."""
    await get(agent, "/v1/responses/resp_1")
    await agent.chat()
    await agent.rows(2)
    today = datetime.now(UTC).date()
    assert [line.endpoint for line in await ledger_sums(agent.store, today, today)] == ["/v1/chat/completions"]


async def test_query_passes(agent: Agent, upstream: Upstream) -> None:
    """The query string reaches OpenAI as the client wrote it."""
    async with sdk(agent) as client:
        await client.responses.input_items.list("resp_1", limit=2, include=["reasoning.encrypted_content"])
        await client.chat.completions.list(metadata={"topic": "a b"}, order="desc")
    await get(agent, "/v1/conversations/conv_1/items?after=msg_1&include[]=a&x=%C3%A9%23")
    targets = [request.target for request in upstream.requests]
    assert "limit=2" in targets[0]
    assert "reasoning.encrypted_content" in targets[0]
    assert "order=desc" in targets[1]
    assert targets[2] == "/v1/conversations/conv_1/items?after=msg_1&include[]=a&x=%C3%A9%23"


@pytest.mark.parametrize("query", ["a=%s" % ("x" * MAX_QUERY), "a=\u00e9", 'a="b"', "a=<b>", "a=b|c", "a=b\\c"])
async def test_query_that_no_url_may_have_is_refused(agent: Agent, upstream: Upstream, query: str) -> None:
    """A query that an HTTP client would change, or that is too long, is a 400, and nothing is sent."""
    answer = await get(agent, f"/v1/responses/resp_1?{query}")
    assert (answer.status, answer.error["code"], upstream.requests) == (400, "invalid_request", [])


async def test_stream_of_a_stored_response_passes(agent: Agent) -> None:
    """The events of a stored response come as a stream, and their usage is not counted again."""
    async with sdk(agent) as client:
        events = [event async for event in await client.responses.retrieve("resp_1", stream=True)]
    assert (len(events), events[-1].type) == (len(stored_stream()), "response.completed")
    [row] = await agent.rows(1)
    assert (row["streamed"], row["state"], row["cost"], row["input_tokens"]) == (True, "done", 0, 0)


@pytest.mark.parametrize("id_", ["resp.1", "resp%201", "%2e%2e", "a" * 129, "a:b", "resp_1%2Fcancel", "", "\u00e9"])
async def test_other_ids_are_unknown_urls(agent: Agent, upstream: Upstream, id_: str) -> None:
    """An id has letters, digits, - and _ alone; everything else is a 404, and nothing is sent or recorded."""
    for path in (
        f"/v1/chat/completions/{id_}/messages",
        f"/v1/conversations/{id_}/items",
        f"/v1/responses/{id_}/input_items",
    ):
        answer = await get(agent, path)
        assert (answer.status, answer.error["code"]) == (404, "unknown_url")
    assert upstream.requests == []
    assert await agent.rows() == []


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v1/responses/resp_1", "GET, DELETE"),
        ("PUT", "/v1/responses/resp_1", "GET, DELETE"),
        ("GET", "/v1/conversations", "POST"),
        ("GET", "/v1/responses/resp_1/cancel", "POST"),
        ("DELETE", "/v1/conversations/conv_1/items", "GET, POST"),
        ("PATCH", "/v1/chat/completions/chatcmpl-1", "GET, POST, DELETE"),
        ("DELETE", "/v1/chat/completions", "POST, GET"),
        ("GET", "/chat", "POST"),
    ],
)
async def test_other_methods_are_refused(agent: Agent, upstream: Upstream, method: str, path: str, allow: str) -> None:
    """A method that OpenAI does not have there is a 405 with those that it has, and nothing is sent."""
    answer = await get(agent, path, method)
    assert (answer.status, answer.header("allow"), upstream.requests) == (405, allow, [])


@pytest.mark.parametrize("path", ["/responses/resp_1", "/v1/responses/resp_1/", "/responses/resp_1/"])
async def test_other_spellings_are_served(agent: Agent, upstream: Upstream, path: str) -> None:
    """Stored objects are found without `/v1` and with a slash at the end; the row has one endpoint."""
    assert (await get(agent, path)).status == 200
    assert upstream.requests[0].target == "/v1/responses/resp_1"
    assert (await agent.rows(1))[0]["endpoint"] == "GET /v1/responses/{id}"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_body_where_none_belongs_is_refused(agent: Agent, upstream: Upstream, method: str) -> None:
    """A GET or DELETE with a body is a 400, and nothing is sent."""
    answer = await fetch(agent.url + "/v1/responses/resp_1", method, agent.headers(), b"{}")
    assert (answer.status, upstream.requests) == (400, [])


async def test_request_without_a_body_has_none_upstream(agent: Agent, upstream: Upstream) -> None:
    """A cancellation without a body is sent with a Content-Length of 0, a GET without any."""
    assert (await get(agent, "/v1/responses/resp_1/cancel", "POST")).status == 200
    await get(agent, "/v1/responses/resp_1")
    lengths = [request.header("content-length") for request in upstream.requests]
    assert (lengths, upstream.requests[0].body) == (["0", None], b"")


async def test_token_is_needed(agent: Agent, upstream: Upstream, source_address: str) -> None:
    """Without a token of the agent nothing is sent."""
    answer = await fetch(agent.url + "/v1/responses/resp_1", source=source_address)
    assert (answer.status, upstream.requests) == (401, [])


async def test_object_of_another_key_is_openais_answer(agent: Agent, upstream: Upstream) -> None:
    """OpenAI decides by the user's key whose objects these are; its 404 passes, and the row has it."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(b'{"error": {"message": "No such response.", "code": null}}', 404)

    upstream.script = script
    answer = await get(agent, "/v1/responses/resp_1")
    assert (answer.status, answer.error["message"]) == (404, "No such response.")
    [row] = await agent.rows(1)
    assert (row["state"], row["status"], row["cost"]) == ("upstream_error", 404, 0)


async def test_answer_that_breaks_off_costs_nothing(agent: Agent, upstream: Upstream) -> None:
    """An answer that is cut off is incomplete; there is nothing that it may have cost."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.head(200, content_length="9999", content_type="application/json")
        await reply.raw(b'{"id": ')
        await reply.reset()

    upstream.script = script
    assert (await get(agent, "/v1/responses/resp_1")).status == 502
    [row] = await agent.rows(1)
    assert (row["state"], row["cost"], row["uncertain_cost"]) == ("incomplete", 0, 0)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/responses/resp_1"), ("DELETE", "/v1/responses/resp_1"), ("POST", "/v1/responses/resp_1/cancel")],
)
async def test_request_without_an_answer_is_not_repeated(
    agent: Agent, upstream: Upstream, method: str, path: str
) -> None:
    """If OpenAI closes a kept connection in the place of an answer, the request is unknown, and sent once."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.close()

    assert (await get(agent, path, method)).status == 200
    upstream.script = script
    assert (await get(agent, path, method)).status == 502
    assert [request.connection for request in upstream.requests] == [upstream.requests[0].connection] * 2
    assert [(row["state"], row["cost"]) for row in await agent.rows(2)] == [("done", 0), ("unknown", 0)]


async def test_disconnect_ends_the_request(agent: Agent, upstream: Upstream) -> None:
    """Nothing is read on for a client that has left: there is no usage to be found."""
    left = asyncio.Event()

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(stored_stream()[0])
        await left.wait()

    upstream.script = script
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes("GET", "/v1/responses/resp_1?stream=true", agent.headers(), b""))
    await agent.until(lambda: upstream.requests)
    await connection.close()
    [row] = await agent.rows(1)
    left.set()
    assert (row["state"], row["client_closed"], row["cost"]) == ("incomplete", True, 0)


async def test_ids_and_content_are_neither_recorded_nor_logged(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """No id of an object, no query and no text is in a row or a log line."""
    with caplog.at_level(logging.INFO):
        await get(agent, "/v1/conversations/conv_canary/items?after=msg_canary")
        await agent.post(b'{"metadata": {"topic": "canary"}}', "/v1/chat/completions/chatcmpl-canary")
        await get(agent, "/v1/responses/resp_canary", "PUT")
    assert "canary" not in json.dumps(await agent.rows(2), default=str) + caplog.text
    assert "GET /v1/conversations/{id}/items 200" in caplog.text


@pytest.mark.own_agent
async def test_limit_of_requests_applies(agent: Agent) -> None:
    """Requests about stored objects count as requests."""
    await agent.store.fetch("UPDATE users SET rpm = 1")
    await agent.follow()
    assert [(await get(agent, "/v1/responses/resp_1")).status for _ in range(2)] == [200, 429]
