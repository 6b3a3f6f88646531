"""What is not a good request gets its documented error in OpenAI's envelope, and nothing of it reaches OpenAI."""

import json
from urllib.parse import urlsplit

import pytest

from tests.support.agent import MODEL, Agent
from tests.support.client import Answer, Connection, fetch, request_bytes
from tests.support.upstream import Upstream

CHAT = "/v1/chat/completions"


def changed(token: str) -> str:
    """A token with one character changed."""
    return token[:20] + ("a" if token[20] != "a" else "b") + token[21:]


AUTHORIZATIONS = {
    "missing": lambda token: [],
    "twice": lambda token: [f"Bearer {token}", f"Bearer {token}"],
    "empty": lambda token: [""],
    "no scheme": lambda token: [token],
    "basic": lambda token: [f"Basic {token}"],
    "one character changed": lambda token: [f"Bearer {changed(token)}"],
    "cut short": lambda token: [f"Bearer {token[:-1]}"],
    "an OpenAI key": lambda token: ["Bearer sk-made-up-key-of-alice"],
    "sql": lambda token: ["Bearer ' OR (SELECT pg_sleep(8))::text = '"],
    "long": lambda token: [f"Bearer {token}{'x' * 5000}"],
    "not ascii": lambda token: [f"Bearer {token[:-1]}\xe9"],
}


@pytest.mark.parametrize("kind", AUTHORIZATIONS)
async def test_a_token_that_is_not_right_is_refused(agent: Agent, upstream: Upstream, kind: str) -> None:
    """401, one body for every reason, and nothing is sent."""
    connection = await Connection.open(agent.url)
    fields = "".join(f"Authorization: {value}\r\n" for value in AUTHORIZATIONS[kind](agent.token))
    body = agent.body()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
    await connection.send(head.encode("latin-1") + body)
    answer = await connection.answer()
    await connection.close()
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert "alice" not in answer.body.decode()
    assert answer.header("www-authenticate") == "Bearer"
    assert upstream.requests == []


async def test_the_scheme_may_be_written_in_lower_case(agent: Agent) -> None:
    """`bearer` is `Bearer` (RFC 9110 §11.1)."""
    answer = await agent.post(agent.body(), Authorization=f"bearer {agent.token}")
    assert answer.status == 200


BODIES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "invalid_json"),
    "not JSON": (b"model=gpt-4o-mini", 400, "invalid_json"),
    "cut": (b'{"model": "gpt-4o-mini"', 400, "invalid_json"),
    "not UTF-8": (b'{"model": "gpt-4o-mini", "messages": "\xff"}', 400, "invalid_json"),
    "UTF-16": ('{"model": "gpt-4o-mini"}'.encode("utf-16"), 400, "invalid_json"),
    "a BOM": (b'\xef\xbb\xbf{"model": "gpt-4o-mini"}', 400, "invalid_json"),
    "an array": (b'[{"model": "gpt-4o-mini"}]', 400, "invalid_json"),
    "a string": (b'"gpt-4o-mini"', 400, "invalid_json"),
    "NaN": (b'{"model": "gpt-4o-mini", "temperature": NaN}', 400, "invalid_json"),
    "100,000 deep": (b'{"model": "gpt-4o-mini", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "invalid_json"),
    "model missing": (b'{"messages": []}', 400, "invalid_request"),
    "model null": (b'{"model": null}', 400, "invalid_request"),
    "model a number": (b'{"model": 4}', 400, "invalid_request"),
    "model an object": (b'{"model": {"name": "gpt-4o-mini"}}', 400, "invalid_request"),
    "model empty": (b'{"model": ""}', 400, "invalid_request"),
    "model twice": (b'{"model": "gpt-4o-mini", "model": "gpt-4o"}', 400, "invalid_json"),
    "model twice, escaped": (b'{"model": "gpt-4o-mini", "mod\\u0065l": "gpt-4o"}', 400, "invalid_json"),
    "model 200 KB long": (b'{"model": "%s"}' % (b"x" * 200_000), 400, "invalid_request"),
    "model with a NUL": (b'{"model": "gpt\\u0000"}', 400, "invalid_request"),
    "300,000 numbers": (b'{"model": "gpt-4o-mini", "x": [%s0]}' % (b"0," * 300_000), 400, "invalid_request"),
    "stream a string": (b'{"model": "gpt-4o-mini", "stream": "true"}', 400, "invalid_request"),
    "stream_options a list": (
        b'{"model": "gpt-4o-mini", "stream": true, "stream_options": []}',
        400,
        "invalid_request",
    ),
    "no price": (b'{"model": "gpt-5-pro"}', 404, "model_not_found"),
    "no price, by a space": (b'{"model": "gpt-4o-mini "}', 404, "model_not_found"),
}


@pytest.mark.parametrize("kind", BODIES)
async def test_a_body_that_is_not_right_is_refused(agent: Agent, upstream: Upstream, kind: str) -> None:
    """Each gets its own code, and nothing is sent or written down."""
    body, status, code = BODIES[kind]
    answer = await agent.post(body)
    assert (answer.status, answer.error["code"], answer.header("x-agent-error")) == (status, code, code)
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert upstream.requests == []
    assert await agent.rows(0) == []


async def chunked(agent: Agent, sizes: list[int], **headers: str) -> Answer:
    """Sends a chunked body of these chunks."""
    connection = await Connection.open(agent.url)
    fields = {"Host": "a", **agent.headers(**headers), "Transfer-Encoding": "chunked"}
    head = f"POST {CHAT} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
    await connection.send(head.encode())
    try:
        for size in sizes:
            await connection.send(b"%x\r\n%s\r\n" % (size, b" " * size))
        await connection.send(b"0\r\n\r\n")
    except ConnectionError:
        pass  # refused already
    answer = await connection.answer()
    await connection.close()
    return answer


async def test_a_body_over_the_limit_is_refused_before_it_is_read(agent: Agent, upstream: Upstream) -> None:
    """An announced length is enough: no byte of the body was sent."""
    connection = await Connection.open(agent.url)
    length = agent.config.max_body_size + 1
    head = request_bytes("POST", CHAT, agent.headers(**{"Content-Length": str(length)}), b"")
    await connection.send(head)
    answer = await connection.answer()
    await connection.close()
    assert (answer.status, answer.error["code"], upstream.requests) == (413, "request_too_large", [])


@pytest.mark.parametrize(("length", "status"), [("9" * 5000, 413), ("\xb2", 400), ("-1", 400), ("1_0", 400)])
async def test_a_length_that_is_none_is_no_fault_of_ours(
    agent: Agent, upstream: Upstream, caplog: pytest.LogCaptureFixture, length: str, status: int
) -> None:
    """More digits than Python reads, and what is a digit to it but not to HTTP (RFC 9110 §8.6)."""
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes("POST", CHAT, {**agent.headers(), "Content-Length": length}, b""))
    assert (await connection.head())[0] == status
    await connection.close()
    assert "Traceback" not in caplog.text
    assert upstream.requests == []


async def test_a_chunked_body_over_the_limit_is_refused(agent: Agent, upstream: Upstream) -> None:
    """What was not announced is counted."""
    answer = await chunked(agent, [1_000_000] * 11)
    assert (answer.status, answer.error["code"], upstream.requests) == (413, "request_too_large", [])


async def test_a_client_that_sends_all_of_a_refused_body_reads_the_answer(agent: Agent) -> None:
    """The connection is not reset under a client that is still sending."""
    answer = await agent.post(b"x" * 3_000_000, Authorization="Bearer wrong")
    assert (answer.status, answer.complete) == (401, True)


async def test_a_wrong_token_gets_no_100_continue(agent: Agent) -> None:
    """The first line of the answer is the 401."""
    connection = await Connection.open(agent.url)
    fields = {"Authorization": "Bearer wrong", "Expect": "100-continue", "Content-Length": "10"}
    await connection.send(request_bytes("POST", CHAT, fields, b""))
    answer = await connection.answer()
    assert answer.status == 401
    assert await connection.reader.read() == b""
    await connection.close()


async def test_a_good_token_gets_100_continue(agent: Agent) -> None:
    """And then its answer."""
    connection = await Connection.open(agent.url)
    body = agent.body()
    head = request_bytes("POST", CHAT, agent.headers(Expect="100-continue", **{"Content-Length": str(len(body))}), b"")
    await connection.send(head)
    assert (await connection.head())[0] == 100
    await connection.send(body)
    assert (await connection.answer()).status == 200
    await connection.close()


@pytest.mark.parametrize("path", ["/", "/v1/models", "/v1/models/gpt-4o-mini", "/healthz", "/readyz", "/nowhere"])
async def test_other_paths_do_not_read_a_body_without_end(agent: Agent, path: str) -> None:
    """They answer at once, whatever length is announced."""
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes("POST", path, agent.headers(**{"Content-Length": "999999999"}), b""))
    answer = await connection.answer()
    await connection.close()
    assert answer.status == (404 if path == "/nowhere" else 405)


@pytest.mark.parametrize(
    "path", ["/v1/chat", "/v1/moderations", "/chat/", "/v1/chat/completions/x", "//chat", "/%63hat/x"]
)
async def test_an_unknown_path_is_refused(agent: Agent, upstream: Upstream, path: str) -> None:
    """404 in OpenAI's envelope."""
    answer = await agent.post(agent.body(), path)
    assert (answer.status, answer.error["code"], upstream.requests) == (404, "unknown_url", [])


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "BREW"])
async def test_a_wrong_method_is_refused(agent: Agent, upstream: Upstream, method: str) -> None:
    """405 with what is allowed."""
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes(method, CHAT, agent.headers(), b""))
    status, headers = await connection.head()
    await connection.close()
    assert (status, ("Allow", "POST") in headers, upstream.requests) == (405, True, [])


async def test_a_compressed_body_is_refused(agent: Agent, upstream: Upstream) -> None:
    """415: what cannot be read cannot be priced."""
    answer = await agent.post(agent.body(), **{"Content-Encoding": "gzip"})
    assert (answer.status, answer.error["code"], upstream.requests) == (415, "unsupported_media_type", [])


async def test_a_form_is_refused(agent: Agent, upstream: Upstream) -> None:
    """415, as curl's -d sends it without a Content-Type."""
    answer = await agent.post(agent.body(), **{"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status, answer.error["code"], upstream.requests) == (415, "unsupported_media_type", [])


@pytest.mark.parametrize("target", ["/v1/chat/completions?model=x", "/chat?key=sk-x"])
async def test_a_query_string_does_not_cross(agent: Agent, upstream: Upstream, target: str) -> None:
    """The path at OpenAI is the configured one."""
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes("POST", target, agent.headers(), agent.body()))
    assert (await connection.answer()).status == 200
    await connection.close()
    assert upstream.requests[0].target == urlsplit(upstream.url).path


async def test_nothing_of_a_body_changes_where_it_goes(agent: Agent, upstream: Upstream) -> None:
    """No key of a body names a server, a key or a proxy."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "api_base": "http://127.0.0.1:9/",
            "base_url": "http://127.0.0.1:9/", "api_key": "sk-other", "user_config": {"api_base": "x"}}  # fmt: skip
    answer = await agent.post(json.dumps(body).encode(), **{"x-portkey-custom-host": "http://127.0.0.1:9/"})
    assert (answer.status, len(upstream.requests)) == (200, 1)


async def test_both_names_of_chat_are_one(agent: Agent, upstream: Upstream) -> None:
    """`/chat` and `/v1/chat/completions` write the same kind of row."""
    for path in ("/chat", CHAT):
        assert (await agent.post(agent.body(), path)).status == 200
    assert {row["endpoint"] for row in await agent.rows(2)} == {CHAT}


async def test_health_and_root_answer_without_a_token(agent: Agent) -> None:
    """Alive, ready, and who it is."""
    assert (await fetch(agent.url + "/healthz")).status == 200
    ready = await fetch(agent.url + "/readyz")
    assert (ready.status, json.loads(ready.body)["ready"]) == (200, True)
    assert json.loads((await fetch(agent.url + "/")).body)["name"] == "chatgpt-agent"
