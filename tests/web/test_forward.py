"""A request through the agent: what OpenAI receives, what the client receives, and what is recorded."""

import asyncio
import logging
from collections.abc import Callable
from decimal import Decimal

import pytest
from tornado.httputil import HTTPConnection, HTTPHeaders, RequestStartLine
from tornado.iostream import StreamClosedError

from tests.support.agent import MODEL, OPENAI_KEY, Agent
from tests.support.client import Connection, fetch, request_bytes
from tests.support.upstream import MODEL_SERVED, REQUEST_ID, Received, Reply, Upstream, completion, without_null_usage

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


async def test_openai_gets_the_users_key_and_accept_of_the_client(agent: Agent, upstream: Upstream) -> None:
    """OpenAI gets the user's key, and of the usual headers of a client only Accept."""
    await agent.post(agent.body(), Cookie="a=b", Accept="application/json", **{"OpenAI-Organization": "org-x"})
    [request] = upstream.requests
    assert request.header("authorization") == f"Bearer {OPENAI_KEY}"
    assert {name.lower() for name, _ in request.headers} == {
        "host", "authorization", "content-type", "content-length", "accept", "accept-encoding", "user-agent",
        "x-client-request-id",
    }  # fmt: skip


async def test_body_is_forwarded_unchanged(agent: Agent, upstream: Upstream) -> None:
    """The body of a request without a stream is forwarded unchanged, including white space and unknown keys."""
    body = b' { "model" : "gpt-6-luna",\n"x-odd":[1, 2.50,1e3], "messages":[{"role":"user","content":"\\u00e9"}] }\n'
    await agent.post(body)
    assert upstream.requests[0].body == body


async def test_stream_is_forwarded_without_the_hidden_event(agent: Agent, upstream: Upstream) -> None:
    """OpenAI is asked for the usage of a stream, which is recorded and not shown to a client that did not ask."""
    answer = await agent.chat("chunks=4", stream=True)
    usage_event = upstream.bodies[0][-2]
    assert b'"usage":{' in usage_event
    expected = without_null_usage(upstream.sent().replace(usage_event, b""))
    assert (answer.body, answer.complete) == (expected, True)
    [row] = await agent.rows(1)
    output = upstream.billed[row["request_id"]][2]
    assert (row["state"], row["streamed"], row["output_tokens"]) == ("done", True, output)


# Changes during a request.


async def test_price_of_the_dispatch_is_charged(agent: Agent, upstream: Upstream) -> None:
    """A price that is set while OpenAI works is not charged to the request."""
    price_set = asyncio.Event()

    async def script(_: Received, reply: Reply) -> None:
        await price_set.wait()
        await reply.whole(completion(1_000_000, 0, 0))

    upstream.script = script
    running = asyncio.create_task(agent.chat())
    await agent.until(lambda: upstream.requests)
    await agent.set_price(MODEL, "99", "99")
    price_set.set()
    assert (await running).status == 200
    [row] = await agent.rows(1)
    assert Decimal(row["cost"]) == Decimal("0.15")


async def test_price_of_the_served_model_is_charged(agent: Agent, upstream: Upstream) -> None:
    """If the model that served has a price of its own, that is charged."""
    await agent.set_price("gpt-6-luna-2026-09-15", "3", "4")

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(completion(1_000_000, 0, 1_000_000))

    upstream.script = script
    await agent.chat()
    [row] = await agent.rows(1)
    assert (Decimal(row["cost"]), row["model"]) == (7, MODEL)


async def test_new_key_is_used_for_the_next_request(agent: Agent, upstream: Upstream) -> None:
    """A new OpenAI key is used from the next request on."""
    await agent.chat()
    await agent.administration.users.set_openai_key("alice", "sk-made-up-second")
    await agent.follow()
    await agent.chat()
    keys = [request.header("authorization") for request in upstream.requests]
    assert keys == [f"Bearer {OPENAI_KEY}", "Bearer sk-made-up-second"]


async def test_request_in_progress_survives_a_revocation(agent: Agent, upstream: Upstream, source_address: str) -> None:
    """A request in progress is answered when its token is revoked, and the next one is rejected."""
    running = asyncio.create_task(agent.chat("delay=0.5"))
    await agent.until(lambda: upstream.requests)
    await agent.administration.tokens.revoke(1)
    await agent.until(lambda: not agent.works(agent.token))
    rejected = await fetch(f"{agent.url}/chat", "POST", agent.headers(), agent.body(), source=source_address)
    assert (rejected.status, (await running).status) == (401, 200)


async def test_pipelined_requests_are_answered_in_order(agent: Agent, upstream: Upstream) -> None:
    """Two requests sent at once on one connection are answered in their order, each once."""
    connection = await Connection.open(agent.url)
    for content in ("delay=0.1", "second"):
        await connection.send(request_bytes("POST", "/chat", agent.headers(), agent.body(content)))
    answers = [await connection.answer() for _ in range(2)]
    await connection.close()
    assert [answer.body for answer in answers] == [upstream.sent(0), upstream.sent(1)]
    assert len(await agent.rows(2)) == 2


class ClosedStream:
    """The stream of a connection that its client has closed."""

    def writing(self) -> bool:
        """Nothing waits to be sent."""
        return False

    def closed(self) -> bool:
        """It is closed."""
        return True

    def close(self) -> None:
        """Does nothing: it is closed already."""


class ClosedConnection(HTTPConnection):
    """A connection whose client leaves once its request is read; what is written fails, as Tornado's does."""

    stream = ClosedStream()
    on_close: Callable[[], None] | None = None

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Remembers the handler's callback."""
        self.on_close = callback

    def write_headers(
        self, start_line: object, headers: HTTPHeaders, chunk: bytes | None = None
    ) -> "asyncio.Future[None]":
        """Fails, because the connection is closed."""
        return self.write(b"")

    def write(self, chunk: bytes) -> "asyncio.Future[None]":
        """Fails, because the connection is closed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(StreamClosedError())
        future.exception()
        return future

    def finish(self) -> None:
        """Does nothing."""


async def test_disconnect_just_after_the_body_sends_nothing(
    agent: Agent, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that leaves between the end of its body and the next step is not served, and is logged once."""
    connection, body = ClosedConnection(), agent.body()
    headers = HTTPHeaders({**agent.headers(), "Host": "x", "Content-Length": str(len(body))})
    with caplog.at_level(logging.INFO, "chatgpt_agent.access"):
        delegate = agent.server.api.start_request(None, connection)
        prepared = delegate.headers_received(RequestStartLine("POST", "/chat", "HTTP/1.1"), headers)
        assert prepared is not None
        await prepared
        delegate.data_received(body)
        delegate.finish()
        assert connection.on_close is not None
        connection.on_close()
        await asyncio.sleep(0.1)
    assert upstream.requests == []
    lines = [record.getMessage() for record in caplog.records if record.name == "chatgpt_agent.access"]
    assert [" 499 " in line for line in lines] == [True]
