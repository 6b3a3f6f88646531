"""What is not a request of HTTP/1.1, or arrives too slowly, gets one error in OpenAI's envelope and an access line."""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator

import pytest

from chatgpt_agent.web.client_stream import ConnectionLimits
from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.client import Answer, Connection, request_bytes
from tests.support.loops import handle_all, skip_time
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent

CHAT = "/v1/chat/completions"
LIMITS = ConnectionLimits(head_seconds=0.4, body_seconds=0.4)
HEAD = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"


@contextlib.asynccontextmanager
async def connected(agent: Agent) -> AsyncIterator[Connection]:
    """Yields a connection to an agent."""
    connection = await Connection.open(agent.url)
    try:
        yield connection
    finally:
        await connection.close()


async def ask(agent: Agent, raw: bytes) -> tuple[Answer, bytes]:
    """Sends bytes; returns the answer, and what follows it until the connection ends."""
    async with connected(agent) as connection, asyncio.timeout(10):
        await connection.send(raw)
        answer = await connection.answer()
        return answer, await connection.reader.read()


MALFORMED = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (HEAD + b"Host: b\r\n\r\n", 400),
    "a folded line": (HEAD + b"X-Odd: a\r\n b\r\n\r\n", 400),
    "no colon": (HEAD + b"odd\r\n\r\n", 400),
    "no version": (b"GET /healthz\r\n\r\n", 400),
    "a target without a slash": (b"GET healthz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an asterisk": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "another absolute form": (b"GET http://b/healthz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an authority": (b"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", 400),
    "HTTP/2 without TLS": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(27), 505),
    "HTTP/3": (b"GET / HTTP/3\r\nHost: a\r\n\r\n", 505),
    "a large head": (HEAD + b"X-Odd: " + b"x" * 40_000 + b"\r\n\r\n", 431),
    "a long URL": (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
    "a hundred large fields": (HEAD + b"X-Odd: %s\r\n" % (b"x" * 10_000) * 100 + b"\r\n", 431),
    "a negative length": (HEAD + b"Content-Length: -1\r\n\r\n", 400),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "a coding of HTTP/1.0": (b"POST /chat HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
}


@pytest.mark.parametrize("kind", MALFORMED)
async def test_what_is_not_http_gets_an_error_in_the_envelope(
    agent: Agent, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """The one answer has OpenAI's error object and a request id, which the access line repeats; then comes the end."""
    raw, status = MALFORMED[kind]
    with caplog.at_level(logging.INFO, "chatgpt_agent.access"):
        answer, rest = await ask(agent, raw)
    assert (answer.status, answer.header("connection"), rest) == (status, "close", b"")
    assert {"message", "type", "param", "code"} == set(answer.error)
    assert answer.header("x-agent-error") == answer.error["code"]
    [line] = [record.message for record in caplog.records if record.name == "chatgpt_agent.access"]
    assert f" {status} " in line
    assert f"id={answer.header('x-agent-request-id')} " in line


async def test_values_of_the_request_are_not_in_the_error(agent: Agent) -> None:
    """The error of a field that cannot be read does not repeat its value, which may be a token."""
    answer, _ = await ask(agent, HEAD + b"Authorization: Bearer cga_made_up\0\r\n\r\n")
    assert answer.status == 400
    assert b"made_up" not in answer.body


@pytest.mark.parametrize("host", ["a", "A:80"])
async def test_absolute_form_is_accepted(agent: Agent, host: str) -> None:
    """A server must accept a target with the host of the request in it (RFC 9112 §3.2.2)."""
    raw = f"GET http://a/v1/models?x=1 HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {agent.token}\r\n"
    answer, _ = await ask(agent, (raw + "Connection: close\r\n\r\n").encode())
    assert (answer.status, answer.json["object"]) == (200, "list")


@pytest.mark.parametrize("listener", ["url", "admin_url"])
async def test_options_of_the_server(agent: Agent, listener: str) -> None:
    """`OPTIONS *` is about the server as a whole (RFC 9110 §9.3.7), and gets 204 with Allow."""
    connection = await Connection.open(getattr(agent, listener))
    await connection.send(request_bytes("OPTIONS", "*", {}, b""))
    status, headers = await connection.head()
    await connection.close()
    assert (status, "OPTIONS" in dict(headers)["Allow"]) == (204, True)


async def test_default_check_of_haproxy_succeeds(agent: Agent) -> None:
    """Its `option httpchk` sends `OPTIONS /` over HTTP/1.0 without Host, and takes each 2xx as healthy."""
    async with connected(agent) as connection:
        await connection.send(b"OPTIONS / HTTP/1.0\r\n\r\n")
        assert (await connection.head())[0] == 204


async def test_empty_lines_before_a_request_are_ignored(agent: Agent) -> None:
    """Some clients send CRLF behind a body (RFC 9112 §2.2)."""
    answer, _ = await ask(agent, b"\r\n" + HEAD + b"Connection: close\r\n\r\n")
    assert answer.status == 200


@pytest.mark.parametrize(
    "first", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), b"\x16", b"\0", b"\x80.", b"\r\n{", b" GET"]
)
async def test_connection_whose_first_byte_is_no_letter_is_closed(agent: Agent, first: bytes) -> None:
    """A TLS handshake, for example, would wait for an answer that no server without TLS has."""
    async with connected(agent) as connection, asyncio.timeout(10):
        await connection.send(first)
        with contextlib.suppress(ConnectionResetError):
            assert await connection.reader.read() == b""


@pytest.mark.parametrize("target", ["/v1/models/%ff?key=sk-made-up", "/me/usage?days=%ff&key=sk-made-up"])
async def test_url_that_is_not_utf_8_is_not_logged(agent: Agent, caplog: pytest.LogCaptureFixture, target: str) -> None:
    """Its error is a 400 in the envelope, and no line of the log has its query or the client's address."""
    with caplog.at_level(logging.DEBUG):
        answer, _ = await ask(agent, request_bytes("GET", target, agent.headers(Connection="close"), b""))
    assert (answer.status, answer.error["code"]) == (400, "invalid_request")
    assert "made-up" not in caplog.text
    assert "127.0.0.1" not in caplog.text


# Lengths.

ABSURD = {
    "Content-Length: " + "9" * 5000: (b"", 413),
    "Content-Length: 99999999999999999999": (b"", 413),
    "Content-Length: 4611686018427387905": (b"", 413),
    "Content-Length: 1125899906842625": (b"", 413),
    "Content-Length: " + "0" * 5000 + "5": (b"hello", 400),  # not JSON
    "Content-Length: 5, 5": (b"hello", 400),
    "Content-Length: 5, 6": (b"hello", 400),
    "Content-Length: -5": (b"hello", 400),
    "Content-Length: 0x5": (b"hello", 400),
    "Transfer-Encoding: chunked": (b"ffffffffffffffff\r\n", 413),
    "Transfer-Encoding:chunked": (b"f" * 62 + b"\r\n", 413),
    "Transfer-Encoding: Chunked": (b"7fffffff\r\nhello", 413),
    "transfer-encoding: chunked": (b"-5\r\nhello", 400),
    "TRANSFER-ENCODING: chunked": (b"f" * 100 + b"\r\n", 400),
    "Transfer-encoding: chunked": (b"5\r\nhelloXX", 400),
}


@pytest.mark.parametrize("field", ABSURD, ids=lambda field: field[:30])
@pytest.mark.parametrize("token", ["", "wrong"])
async def test_absurd_length_gets_one_answer(agent: Agent, upstream: Upstream, field: str, token: str) -> None:
    """A body whose length is absurd gets one error at once, and nothing is sent."""
    body, status = ABSURD[field]
    fields = agent.headers(**({"Authorization": "Bearer cga_wrong"} if token else {}))
    head = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{field}\r\n" + "".join(
        f"{n}: {v}\r\n" for n, v in fields.items()
    )
    answer, rest = await ask(agent, head.encode() + b"\r\n" + body)
    assert answer.status in ((status,) if not token else (401, 400, 429))
    assert (rest, upstream.requests) == (b"", [])


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/nowhere"])
async def test_absurd_chunk_gets_one_answer_where_no_body_is_read(agent: Agent, path: str) -> None:
    """A URL that takes no body answers once, too."""
    raw = f"GET {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"
    answer, rest = await ask(agent, raw.encode())
    assert (400 <= answer.status < 500, rest) == (True, b"")


# Refusals while the client sends.


@pytest.mark.parametrize("listener", ["url", "admin_url"])
@pytest.mark.parametrize("framing", ["Content-Length", "Transfer-Encoding"])
async def test_large_body_gets_413_and_no_reset(make_agent: MakeAgent, listener: str, framing: str) -> None:
    """A client that sends 100 MB before it reads gets its 413, and the end of the connection."""
    agent = await make_agent(max_body_size=1024 * 1024)
    token = await agent.admin_token("root")
    size, piece = 100_000_000, b"x" * 1_000_000
    chunked = framing == "Transfer-Encoding"
    fields = {**agent.headers(), framing: "chunked" if chunked else str(size)}
    path = CHAT
    if listener == "admin_url":
        path, fields["Authorization"] = "/api/v1/users", f"Bearer {token}"
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields.items())

    def send_all() -> bytes:
        port = int(getattr(agent, listener).rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(head.encode() + b"\r\n")
            for _ in range(size // len(piece)):
                client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            return b"".join(iter(lambda: client.recv(65536), b""))

    received = await asyncio.to_thread(send_all)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert received.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("path", ["/nowhere", "/v1/models", "/me", "/healthz", CHAT])
async def test_refused_request_with_a_body_gets_its_answer(agent: Agent, path: str) -> None:
    """A client that sends 8 MB before it reads gets the refusal of any URL, and no reset."""
    raw = request_bytes("POST", path, {}, b"x" * 8_000_000)

    def send_all() -> bytes:
        with socket.create_connection(("127.0.0.1", agent.server.port)) as client:
            client.sendall(raw)
            return b"".join(iter(lambda: client.recv(65536), b""))

    received = await asyncio.to_thread(send_all)
    assert received[:12] in (b"HTTP/1.1 401", b"HTTP/1.1 404", b"HTTP/1.1 405")


async def test_refused_request_without_a_body_keeps_the_connection(agent: Agent) -> None:
    """Only an unread body is a reason to end the connection."""
    async with connected(agent) as connection:
        for _ in range(2):
            await connection.send(request_bytes("GET", "/nowhere", {}, b""))
            answer = await connection.answer()
            assert (answer.status, answer.header("connection")) == (404, None)


# Slow clients.


async def test_head_that_is_not_finished_gets_408(make_agent: MakeAgent, caplog: pytest.LogCaptureFixture) -> None:
    """A head that is not complete in time is answered with 408, and the connection ends."""
    agent = await make_agent(limits=LIMITS)
    with caplog.at_level(logging.INFO, "chatgpt_agent.access"):
        answer, rest = await ask(agent, HEAD)
    assert (answer.status, answer.error["code"], rest) == (408, "request_timeout", b"")
    assert "408" in caplog.text


@pytest.mark.parametrize("chunked", [False, True])
async def test_silence_in_a_body_gets_408(
    make_agent: MakeAgent, upstream: Upstream, caplog: pytest.LogCaptureFixture, chunked: bool
) -> None:
    """A client that falls silent within its body gets 408, which the access line repeats; nothing is sent."""
    agent = await make_agent(limits=LIMITS)
    fields = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": "1000"}
    head = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in {**agent.headers(), **fields}.items()
    )
    with caplog.at_level(logging.INFO, "chatgpt_agent.access"):
        answer, rest = await ask(agent, head.encode() + b"\r\n" + (b"5\r\n{" if chunked else b"{"))
    assert (answer.status, answer.error["code"], rest) == (408, "request_timeout", b"")
    [line] = [record.message for record in caplog.records if record.name == "chatgpt_agent.access"]
    assert f"POST {CHAT} 408 " in line
    assert (upstream.requests, await agent.rows()) == ([], [])


@pytest.mark.gen_test(timeout=600)  # of which 200 s are only on the loop's clock
@pytest.mark.parametrize("chunked", [False, True])
async def test_slow_upload_is_served(make_agent: MakeAgent, upstream: Upstream, chunked: bool) -> None:
    """An upload that takes longer than the limit of silence is served if it is never silent for as long."""
    agent = await make_agent(limits=ConnectionLimits(body_seconds=60))
    body = agent.body("slow " * 20)
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
    async with connected(agent) as connection:
        fields = {"Host": "a", **agent.headers(), **framing}
        head = f"POST {CHAT} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await connection.send(head.encode() + b"\r\n")
        for at in range(0, len(body), 40):
            piece = body[at : at + 40]
            await connection.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            await handle_all()
            skip_time(40)
            await handle_all()
        await connection.send(b"0\r\n\r\n" if chunked else b"")
        assert (await connection.answer()).status == 200
    assert json.loads(upstream.requests[0].body) == json.loads(body)


# WebSockets.


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime", CHAT, "/v1/models"])
async def test_websocket_is_refused_with_426(agent: Agent, upstream: Upstream, method: str, path: str) -> None:
    """Clients that try a WebSocket first turn to HTTP at 426, with any URL and method (RFC 9110 §15.5.22)."""
    fields = {"Connection": "keep-alive, Upgrade", "Upgrade": "WebSocket", "Sec-WebSocket-Version": "13"}
    async with connected(agent) as connection:
        await connection.send(request_bytes(method, path, agent.headers(**fields), b""))
        status, headers = await connection.head()
    assert (status, dict(headers)["Upgrade"], upstream.requests) == (426, "HTTP/1.1", [])


async def test_other_upgrades_are_ignored(agent: Agent) -> None:
    """A server may ignore an upgrade (RFC 9110 §7.8); some clients offer HTTP/2 with each request."""
    answer = await agent.post(agent.body(), Connection="Upgrade, HTTP2-Settings", Upgrade="h2c")
    assert answer.status == 200
