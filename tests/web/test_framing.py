"""How an answer is framed for its client (RFC 9112), and whether the connection is kept."""

import logging

import pytest

from chatgpt_agent.core.http.headers import RESPONSE_ADDED
from chatgpt_agent.web import forward
from tests.support.agent import Agent
from tests.support.client import Connection, request_bytes
from tests.support.upstream import Received, Reply, Upstream

pytestmark = pytest.mark.shared_agent


def request(agent: Agent, version: str = "HTTP/1.1", *, stream: bool = False, **fields: str) -> bytes:
    """Returns a chat request as bytes."""
    raw = request_bytes("POST", "/chat", {**agent.headers(), **fields}, agent.body(stream=stream))
    return raw.replace(b"HTTP/1.1", version.encode(), 1)


async def read_until_closed(agent: Agent, raw: bytes) -> tuple[bytes, bytes]:
    """Sends a request; returns the head of the answer and all bytes until the agent closes the connection."""
    connection = await Connection.open(agent.url)
    await connection.send(raw)
    head, _, body = (await connection.reader.read()).partition(b"\r\n\r\n")
    await connection.close()
    return head, body


# Connections.


async def test_stream_over_http_1_0_ends_with_the_connection(agent: Agent) -> None:
    """HTTP/1.0 has no chunks, so the end of a stream is that of the connection, even if the client wants to keep it."""
    raw = request(agent, "HTTP/1.0", stream=True, Connection="keep-alive")
    head, body = await read_until_closed(agent, raw)
    assert b"\r\nConnection: close" in head
    assert b"Transfer-Encoding" not in head
    assert b"Content-Length" not in head
    assert body.startswith(b"data: ")
    assert body.endswith(b"data: [DONE]\n\n")


async def test_http_1_0_connection_is_kept_on_demand(agent: Agent, upstream: Upstream) -> None:
    """A client of HTTP/1.0 may keep its connection for whole answers, which have a length."""
    connection = await Connection.open(agent.url)
    for number in range(2):
        await connection.send(request(agent, "HTTP/1.0", Connection="Keep-Alive"))
        answer = await connection.answer()
        assert (answer.header("connection"), answer.body) == ("Keep-Alive", upstream.sent(number))
    await connection.close()


async def test_http_1_0_connection_is_closed_by_default(agent: Agent, upstream: Upstream) -> None:
    """A client of HTTP/1.0 that does not ask to keep its connection reads the answer to the connection's end."""
    head, body = await read_until_closed(agent, request(agent, "HTTP/1.0"))
    assert b"Keep-Alive" not in head
    assert body == upstream.sent()


@pytest.mark.parametrize("stream", [False, True])
async def test_connection_is_closed_on_demand(agent: Agent, upstream: Upstream, stream: bool) -> None:
    """With `Connection: close` the connection is closed after the complete answer."""
    head, body = await read_until_closed(agent, request(agent, stream=stream, Connection="close"))
    assert b"\r\nConnection: close" in head
    assert body.endswith(b"\r\n0\r\n\r\n") if stream else body == upstream.sent()


# Heads.


async def test_head_has_each_field_once(agent: Agent) -> None:
    """An answer has a date, a length, an id, and the fields that make browsers distrust it, each once."""
    answer = await agent.chat()
    names = [name.lower() for name, _ in answer.headers]
    assert len(names) == len(set(names))
    assert {"date", "content-length", "x-agent-request-id", *(name.lower() for name, _ in RESPONSE_ADDED)} <= set(names)


async def test_204_has_no_length(agent: Agent, upstream: Upstream) -> None:
    """An answer without content has neither a length nor chunks (RFC 9110 §8.6), and the connection is kept."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.raw(b"HTTP/1.1 204 No Content\r\nX-Request-Id: req_made_up\r\n\r\n")

    upstream.script = script
    connection = await Connection.open(agent.url)
    await connection.send(request(agent))
    status, fields = await connection.head()
    assert status == 204
    assert not {"content-length", "transfer-encoding"} & {name.lower() for name, _ in fields}
    upstream.script = upstream.openai
    await connection.send(request(agent))
    assert (await connection.answer()).status == 200
    await connection.close()


@pytest.mark.parametrize("value", ["a\r\nX-Made-Up: b", "a\nX-Made-Up: b", "a\rb"])
async def test_value_with_a_line_break_is_not_sent(agent: Agent, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """If a header value with a line break got past the allow-list, the answer would be a 500, not split in two."""
    monkeypatch.setattr(forward, "response_headers", lambda _: [("X-Request-Id", value)])
    answer = await agent.chat()
    assert (answer.status, answer.header("x-made-up")) == (500, None)


# Exceptions.


def fail(*_: object, **__: object) -> None:
    raise ZeroDivisionError


async def test_exception_is_an_internal_error(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected exception is a 500 in OpenAI's format and a traceback in the log, and the connection is kept."""
    connection = await Connection.open(agent.url)
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(agent.server.budgets, "reserve", fail)
        await connection.send(request(agent))
        answer = await connection.answer()
    assert (answer.status, answer.error["code"]) == (500, answer.header("x-agent-error"))
    assert "ZeroDivisionError" in caplog.text
    await connection.send(request(agent))
    assert (await connection.answer()).status == 200
    await connection.close()


async def test_exception_before_the_body_is_an_internal_error(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception before the body is read is a 500, too, and closes the connection."""
    monkeypatch.setattr(agent.server.authenticator, "identify", fail)
    answer = await agent.chat()
    assert (answer.status, answer.header("connection")) == (500, "close")


# The access line.


async def test_status_of_a_refusal_is_logged_once(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal has one access line with its status, also if the client disconnects once it has read it."""
    with caplog.at_level(logging.INFO):
        connection = await Connection.open(agent.url)
        await connection.send(request_bytes("POST", "/chat", {"Content-Length": "10"}, b""))
        assert (await connection.head())[0] == 401
        await connection.close()
        await agent.until(lambda: not agent.server.listeners[0].connections)
    assert caplog.text.count("POST /chat ") == caplog.text.count("POST /chat 401") == 1
