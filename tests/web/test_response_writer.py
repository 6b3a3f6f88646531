"""How an answer is framed for its client (RFC 9112), and what becomes of the connection."""

import logging

import pytest

from chatgpt_agent.core.http.headers import RESPONSE_ADDED
from chatgpt_agent.runtime.relay import Relay
from chatgpt_agent.web import forward as proxy
from tests.support.agent import Agent
from tests.support.client import Connection, request_bytes
from tests.support.upstream import Received, Reply, Upstream

OLD = "HTTP/1.0"


def request(agent: Agent, version: str = "HTTP/1.1", *, stream: bool = False, **fields: str) -> bytes:
    """A chat request on the wire."""
    raw = request_bytes("POST", "/chat", {**agent.headers(), **fields}, agent.body(stream=stream))
    return raw.replace(b"HTTP/1.1", version.encode(), 1)


async def asked(agent: Agent, raw: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer, and all that comes until the agent closes the connection."""
    connection = await Connection.open(agent.url)
    await connection.send(raw)
    head, _, body = (await connection.reader.read()).partition(b"\r\n\r\n")
    await connection.close()
    return head, body


async def test_a_stream_to_an_old_client_ends_with_the_connection(agent: Agent, upstream: Upstream) -> None:
    """HTTP/1.0 knows no chunks, also where it asks for the connection to be kept."""
    head, body = await asked(agent, request(agent, OLD, stream=True, Connection="keep-alive"))
    assert b"\r\nConnection: close" in head
    assert b"Transfer-Encoding" not in head
    assert b"Content-Length" not in head
    assert body.startswith(b"data: ")
    assert body.endswith(b"data: [DONE]\n\n")


async def test_an_old_client_may_keep_its_connection(agent: Agent, upstream: Upstream) -> None:
    """For whole answers, whose length it is told."""
    connection = await Connection.open(agent.url)
    for number in range(2):
        await connection.send(request(agent, OLD, Connection="Keep-Alive"))
        answer = await connection.answer()
        assert (answer.header("connection"), answer.body) == ("Keep-Alive", upstream.sent(number))
    await connection.close()


async def test_http_1_0_connection_is_closed_by_default(agent: Agent, upstream: Upstream) -> None:
    """A client of HTTP/1.0 that does not ask to keep its connection reads the answer to the connection's end."""
    head, body = await asked(agent, request(agent, OLD))
    assert b"Keep-Alive" not in head
    assert body == upstream.sent()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_may_end_its_connection(agent: Agent, upstream: Upstream, stream: bool) -> None:
    """The answer comes whole before."""
    head, body = await asked(agent, request(agent, stream=stream, Connection="close"))
    assert b"\r\nConnection: close" in head
    assert body.endswith(b"\r\n0\r\n\r\n") if stream else body == upstream.sent()


async def test_a_head_says_each_thing_once(agent: Agent) -> None:
    """A date, a length, an id, and what keeps an answer from being a web page."""
    answer = await agent.chat()
    names = [name.lower() for name, _ in answer.headers]
    assert len(names) == len(set(names))
    wanted = {"date", "content-length", "x-agent-request-id", *(name.lower() for name, _ in RESPONSE_ADDED)}
    assert wanted <= set(names)


async def test_an_answer_without_content_has_no_length(agent: Agent, upstream: Upstream) -> None:
    """204, which OpenAI does not say to a chat (RFC 9110 §8.6)."""

    async def script(request: Received, reply: Reply) -> None:
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


async def test_a_fault_of_the_agent_is_answered_as_one(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """500 in OpenAI's envelope, a traceback in the log, and the connection goes on."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    connection = await Connection.open(agent.url)
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(Relay, "call", fail)
        await connection.send(request(agent))
        answer = await connection.answer()
    assert (answer.status, answer.error["code"]) == (500, answer.header("x-agent-error"))
    assert "ZeroDivisionError" in caplog.text
    await connection.send(request(agent))
    assert (await connection.answer()).status == 200
    await connection.close()


async def test_a_fault_before_the_body_is_answered_as_one(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where the head is looked at."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(agent.server.authenticator, "identify", fail)
    answer = await agent.chat()
    assert (answer.status, answer.header("connection")) == (500, "close")


@pytest.mark.parametrize("value", ["a\r\nX-Made-Up: b", "a\nX-Made-Up: b", "a\rb"])
async def test_a_field_that_would_be_two_does_not_go_out(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Should one ever come so far: none of OpenAI's does."""
    monkeypatch.setattr(proxy, "response_headers", lambda _: [("X-Request-Id", value)])
    answer = await agent.chat()
    assert (answer.status, answer.header("x-made-up")) == (500, None)


async def test_a_client_that_leaves_in_its_body_has_a_line_in_the_log(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    """499, as for one that leaves later."""
    with caplog.at_level(logging.INFO):
        connection = await Connection.open(agent.url)
        await connection.send(request(agent)[:-5])
        await agent.until(lambda: agent.server.listeners[0].connections == 1)
        await connection.close()
        await agent.until(lambda: "POST /chat 499" in caplog.text)


async def test_a_refusal_has_its_status_in_the_log(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """Also where the client hangs up when it has read it."""
    with caplog.at_level(logging.INFO):
        connection = await Connection.open(agent.url)
        await connection.send(request_bytes("POST", "/chat", {"Content-Length": "10"}, b""))
        assert (await connection.head())[0] == 401
        await connection.close()
        await agent.until(lambda: not agent.server.listeners[0].connections)
    assert caplog.text.count("POST /chat ") == caplog.text.count("POST /chat 401") == 1
