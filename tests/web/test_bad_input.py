"""An invalid request gets its documented error in OpenAI's format, and nothing of it reaches OpenAI."""

import contextlib
import json
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.support.agent import MODEL, Agent
from tests.support.client import Answer, Connection, fetch, request_bytes
from tests.support.upstream import Upstream

CHAT = "/v1/chat/completions"

pytestmark = pytest.mark.shared_agent


async def send(agent: Agent, data: bytes, source: str | None = None) -> Answer:
    """Sends bytes on a connection of their own and returns the answer."""
    connection = await Connection.open(agent.url, source)
    await connection.send(data)
    answer = await connection.answer()
    await connection.close()
    return answer


# Tokens.


def with_one_other_character(token: str) -> str:
    return token[:20] + ("a" if token[20] != "a" else "b") + token[21:]


AUTHORIZATIONS: dict[str, Callable[[str], list[str]]] = {
    "missing": lambda token: [],
    "repeated": lambda token: [f"Bearer {token}", f"Bearer {token}"],
    "empty": lambda token: [""],
    "no scheme": lambda token: [token],
    "basic": lambda token: [f"Basic {token}"],
    "one other character": lambda token: [f"Bearer {with_one_other_character(token)}"],
    "truncated": lambda token: [f"Bearer {token[:-1]}"],
    "an OpenAI key": lambda token: ["Bearer sk-made-up-key-of-alice"],
    "SQL": lambda token: ["Bearer ' OR (SELECT pg_sleep(8))::text = '"],
    "too long": lambda token: [f"Bearer {token}{'x' * 5000}"],
    "not ASCII": lambda token: [f"Bearer {token[:-1]}\xe9"],
}


@pytest.mark.parametrize("case", AUTHORIZATIONS)
async def test_invalid_token_is_rejected(agent: Agent, upstream: Upstream, source_address: str, case: str) -> None:
    """An invalid token is a 401 that does not say why, and nothing is sent to OpenAI."""
    fields = "".join(f"Authorization: {value}\r\n" for value in AUTHORIZATIONS[case](agent.token))
    body = agent.body()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
    answer = await send(agent, head.encode("latin-1") + body, source_address)
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert "alice" not in answer.body.decode()
    assert answer.header("www-authenticate") == "Bearer"
    assert upstream.requests == []


async def test_scheme_is_case_insensitive(agent: Agent) -> None:
    """`bearer` is accepted as `Bearer` (RFC 9110 §11.1)."""
    assert (await agent.post(agent.body(), Authorization=f"bearer {agent.token}")).status == 200


async def test_client_that_sends_all_of_a_refused_body_reads_the_answer(agent: Agent, source_address: str) -> None:
    """The connection is not reset while a client still sends the body of a refused request."""
    headers = agent.headers(Authorization="Bearer wrong")
    answer = await fetch(agent.url + CHAT, "POST", headers, b"x" * 3_000_000, source=source_address)
    assert (answer.status, answer.complete) == (401, True)


async def test_invalid_token_gets_no_100_continue(agent: Agent, source_address: str) -> None:
    """A client that expects a 100 gets the 401 instead, and the connection is closed."""
    connection = await Connection.open(agent.url, source_address)
    headers = {"Authorization": "Bearer wrong", "Expect": "100-continue", "Content-Length": "10"}
    await connection.send(request_bytes("POST", CHAT, headers, b""))
    assert (await connection.answer()).status == 401
    assert await connection.reader.read() == b""
    await connection.close()


async def test_valid_token_gets_100_continue(agent: Agent) -> None:
    """A client that expects a 100 gets it, and its answer once the body is sent."""
    connection = await Connection.open(agent.url)
    body = agent.body()
    headers = agent.headers(Expect="100-continue", **{"Content-Length": str(len(body))})
    await connection.send(request_bytes("POST", CHAT, headers, b""))
    assert (await connection.head())[0] == 100
    await connection.send(body)
    assert (await connection.answer()).status == 200
    await connection.close()


# Bodies.

BODIES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "invalid_json"),
    "not JSON": (b"model=gpt-6-luna", 400, "invalid_json"),
    "truncated": (b'{"model": "gpt-6-luna"', 400, "invalid_json"),
    "not UTF-8": (b'{"model": "gpt-6-luna", "messages": "\xff"}', 400, "invalid_json"),
    "UTF-16": ('{"model": "gpt-6-luna"}'.encode("utf-16"), 400, "invalid_json"),
    "a BOM": (b'\xef\xbb\xbf{"model": "gpt-6-luna"}', 400, "invalid_json"),
    "an array": (b'[{"model": "gpt-6-luna"}]', 400, "invalid_json"),
    "a string": (b'"gpt-6-luna"', 400, "invalid_json"),
    "NaN": (b'{"model": "gpt-6-luna", "temperature": NaN}', 400, "invalid_json"),
    "100,000 deep": (b'{"model": "gpt-6-luna", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "invalid_json"),
    "model missing": (b'{"messages": []}', 400, "invalid_request"),
    "model null": (b'{"model": null}', 400, "invalid_request"),
    "model a number": (b'{"model": 4}', 400, "invalid_request"),
    "model an object": (b'{"model": {"name": "gpt-6-luna"}}', 400, "invalid_request"),
    "model empty": (b'{"model": ""}', 400, "invalid_request"),
    "model duplicated": (b'{"model": "gpt-6-luna", "model": "gpt-6-sol"}', 400, "invalid_json"),
    "model duplicated, escaped": (b'{"model": "gpt-6-luna", "mod\\u0065l": "gpt-6-sol"}', 400, "invalid_json"),
    "model 200 KB long": (b'{"model": "%s"}' % (b"x" * 200_000), 400, "invalid_request"),
    "model with a NUL": (b'{"model": "gpt\\u0000"}', 400, "invalid_request"),
    "300,000 numbers": (b'{"model": "gpt-6-luna", "x": [%s0]}' % (b"0," * 300_000), 400, "invalid_request"),
    "stream a string": (b'{"model": "gpt-6-luna", "stream": "true"}', 400, "invalid_request"),
    "stream_options a list": (
        b'{"model": "gpt-6-luna", "stream": true, "stream_options": []}',
        400,
        "invalid_request",
    ),
    "model without a price": (b'{"model": "gpt-6-astra"}', 404, "model_not_found"),
    "model with a space more than the price": (b'{"model": "gpt-6-luna "}', 404, "model_not_found"),
}


@pytest.mark.parametrize("case", BODIES)
async def test_invalid_body_is_refused(agent: Agent, upstream: Upstream, case: str) -> None:
    """An invalid body gets its own error code, and is neither sent to OpenAI nor recorded."""
    body, status, code = BODIES[case]
    answer = await agent.post(body)
    assert (answer.status, answer.error["code"], answer.header("x-agent-error")) == (status, code, code)
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert upstream.requests == []
    assert await agent.rows(0) == []


async def send_chunked(agent: Agent, sizes: list[int]) -> Answer:
    """Sends a chunked body with chunks of these sizes."""
    connection = await Connection.open(agent.url)
    fields = {"Host": "a", **agent.headers(), "Transfer-Encoding": "chunked"}
    head = f"POST {CHAT} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
    await connection.send(head.encode())
    with contextlib.suppress(ConnectionError):  # the agent may have refused it by now
        for size in sizes:
            await connection.send(b"%x\r\n%s\r\n" % (size, b" " * size))
        await connection.send(b"0\r\n\r\n")
    answer = await connection.answer()
    await connection.close()
    return answer


async def test_body_over_the_limit_is_refused_before_it_is_read(agent: Agent, upstream: Upstream) -> None:
    """A Content-Length over the limit is a 413 before any byte of the body is sent."""
    length = agent.config.max_body_size + 1
    answer = await send(agent, request_bytes("POST", CHAT, agent.headers(**{"Content-Length": str(length)}), b""))
    assert (answer.status, answer.error["code"], upstream.requests) == (413, "request_too_large", [])


@pytest.mark.shared_agent(max_body_size=1_000_000)
async def test_chunked_body_over_the_limit_is_refused(agent: Agent, upstream: Upstream) -> None:
    """A body of unknown length is a 413 once it exceeds the limit."""
    answer = await send_chunked(agent, [100_000] * 11)
    assert (answer.status, answer.error["code"], upstream.requests) == (413, "request_too_large", [])


@pytest.mark.parametrize(("length", "status"), [("9" * 5000, 413), ("\xb2", 400), ("-1", 400), ("1_0", 400)])
async def test_invalid_length_is_refused(
    agent: Agent, upstream: Upstream, caplog: pytest.LogCaptureFixture, length: str, status: int
) -> None:
    """A Content-Length with too many digits for Python, or with digits that only Python accepts (RFC 9110 §8.6), is
    refused without an exception."""
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes("POST", CHAT, {**agent.headers(), "Content-Length": length}, b""))
    assert (await connection.head())[0] == status
    await connection.close()
    assert "Traceback" not in caplog.text
    assert upstream.requests == []


@pytest.mark.parametrize(
    "header", [{"Content-Encoding": "gzip"}, {"Content-Type": "application/x-www-form-urlencoded"}]
)
async def test_body_that_is_not_plain_json_is_refused(agent: Agent, upstream: Upstream, header: dict[str, str]) -> None:
    """A compressed body, or a form as curl's -d sends it by default, is a 415."""
    answer = await agent.post(agent.body(), **header)
    assert (answer.status, answer.error["code"], upstream.requests) == (415, "unsupported_media_type", [])


# Paths and methods.


@pytest.mark.parametrize("path", ["/", "/v1/models", "/v1/models/gpt-6-luna", "/healthz", "/readyz", "/nowhere"])
async def test_other_paths_do_not_read_a_body(agent: Agent, path: str) -> None:
    """A path that takes no body answers at once, whatever length is announced."""
    head = request_bytes("POST", path, agent.headers(**{"Content-Length": "999999999"}), b"")
    assert (await send(agent, head)).status == (404 if path == "/nowhere" else 405)


@pytest.mark.parametrize(
    "path", ["/v1/chat", "/v1/files", "/chat//", "/v1/chat/completions/x/y", "//chat", "/%63hat/x"]
)
async def test_unknown_path_is_refused(agent: Agent, upstream: Upstream, path: str) -> None:
    """An unknown path is a 404 in OpenAI's format."""
    answer = await agent.post(agent.body(), path)
    assert (answer.status, answer.error["code"], upstream.requests) == (404, "unknown_url", [])


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "BREW"])
async def test_wrong_method_is_refused(agent: Agent, upstream: Upstream, method: str) -> None:
    """Another method than POST is a 405 that names POST."""
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes(method, "/v1/embeddings", agent.headers(), b""))
    status, headers = await connection.head()
    await connection.close()
    assert (status, ("Allow", "POST") in headers, upstream.requests) == (405, True, [])


@pytest.mark.parametrize("target", ["/v1/chat/completions?model=x", "/chat?key=sk-x"])
async def test_query_string_is_not_forwarded(agent: Agent, upstream: Upstream, target: str) -> None:
    """The request goes to the configured URL, without the client's query string."""
    assert (await send(agent, request_bytes("POST", target, agent.headers(), agent.body()))).status == 200
    assert upstream.requests[0].target == urlsplit(upstream.url).path


async def test_body_cannot_change_the_destination(agent: Agent, upstream: Upstream) -> None:
    """No member of a body and no header names another server, key or proxy."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "api_base": "http://127.0.0.1:9/",
            "base_url": "http://127.0.0.1:9/", "api_key": "sk-other", "user_config": {"api_base": "x"}}  # fmt: skip
    answer = await agent.post(json.dumps(body).encode(), **{"x-portkey-custom-host": "http://127.0.0.1:9/"})
    assert (answer.status, len(upstream.requests)) == (200, 1)


async def test_both_paths_of_chat_are_one_endpoint(agent: Agent) -> None:
    """`/chat` and `/v1/chat/completions` are recorded as the same endpoint."""
    for path in ("/chat", CHAT):
        assert (await agent.post(agent.body(), path)).status == 200
    assert {row["endpoint"] for row in await agent.rows(2)} == {CHAT}


async def test_health_and_root_need_no_token(agent: Agent) -> None:
    """Liveness, readiness and the name of the program are served without a token."""
    assert (await fetch(agent.url + "/healthz")).status == 200
    ready = await fetch(agent.url + "/readyz")
    assert (ready.status, ready.json["ready"]) == (200, True)
    assert (await fetch(agent.url + "/")).json["name"] == "chatgpt-agent"
