"""Web pages of other origins, as browsers ask for them (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

import json

import pytest

from tests.support.agent import Agent
from tests.support.client import Answer, Connection, fetch, request_bytes
from tests.support.upstream import Upstream

PAGE = "https://chat.example.com"
URLS = ["/chat", "/v1/chat/completions", "/v1/models", "/me", "/me/usage", "/data/week", "/", "/healthz", "/readyz"]
# What openai-node sends from a browser (`dangerouslyAllowBrowser`).
SDK = (
    "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os,x-stainless-package-version,"
    "x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout"
)

pytestmark = pytest.mark.shared_agent(cors_origins=(PAGE, "http://localhost:3000"))


async def preflight(agent: Agent, path: str, origin: str = PAGE, method: str = "POST", names: str = SDK) -> Answer:
    """Asks as a browser does before it sends a request for a page."""
    fields = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": names}
    return await fetch(agent.url + path, "OPTIONS", fields)


def names_in(answer: Answer, name: str) -> set[str]:
    """Returns the members of a comma-separated header field, in lower case."""
    return {word.strip().lower() for word in (answer.header(name) or "").split(",") if word.strip()}


@pytest.mark.parametrize("path", [*URLS, "/unknown"])
async def test_preflight_is_answered_without_a_token(agent: Agent, upstream: Upstream, path: str) -> None:
    """A browser may send what the SDK does, to any URL: the page then sees the answer, be it an error."""
    answer = await preflight(agent, path, method="POST" if path in URLS[:2] else "GET")
    assert (answer.status, answer.body, answer.header("access-control-allow-origin")) == (204, b"", PAGE)
    assert names_in(answer, "access-control-allow-headers") == set(SDK.split(","))
    assert {"post"} & names_in(answer, "access-control-allow-methods") or {"get"} & names_in(answer, "allow")
    assert (answer.header("access-control-max-age"), answer.header("vary")) == ("7200", "Origin")
    assert upstream.requests == []


@pytest.mark.parametrize("origin", ["https://other.example.com", "http://chat.example.com", PAGE + ":444", "null"])
async def test_other_origins_have_no_access(agent: Agent, origin: str) -> None:
    """A page of an origin that is not listed gets no header that allows it anything."""
    answer = await preflight(agent, "/chat", origin)
    assert (answer.status, answer.header("allow"), answer.header("vary")) == (204, "POST, OPTIONS", "Origin")
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]
    answer = await fetch(f"{agent.url}/healthz", "GET", {"Origin": origin})
    assert answer.header("access-control-allow-origin") is None


async def test_page_reads_an_answer_and_its_headers(agent: Agent) -> None:
    """A page may read an answer, its request id, and what it needs to know for a retry."""
    answer = await agent.post(agent.body(), Origin=PAGE)
    assert (answer.status, answer.header("access-control-allow-origin")) == (200, PAGE)
    names = {"x-request-id", "retry-after", "retry-after-ms", "x-should-retry", "x-ratelimit-remaining-requests"}
    assert names < names_in(answer, "access-control-expose-headers")


async def test_page_reads_a_stream(agent: Agent) -> None:
    """A page may read a stream."""
    answer = await agent.post(agent.body(stream=True), Origin="http://localhost:3000")
    assert (answer.header("access-control-allow-origin"), answer.complete) == ("http://localhost:3000", True)


async def test_page_reads_errors(agent: Agent) -> None:
    """A page may read errors, also those that come before its body is read."""
    origin = {"Origin": PAGE}
    answers = [
        await fetch(f"{agent.url}/chat", "POST", origin, b"{}"),
        await fetch(f"{agent.url}/chat", "POST", agent.headers(**origin, **{"Content-Length": str(1 << 30)})),
        await fetch(f"{agent.url}/chat", "POST", agent.headers(**origin), b"{"),
        await fetch(f"{agent.url}/unknown", "GET", origin),
        await fetch(f"{agent.url}/chat", "GET", origin),
    ]
    assert [answer.status for answer in answers] == [401, 413, 400, 404, 405]
    assert {answer.header("access-control-allow-origin") for answer in answers} == {PAGE}


async def raw(agent: Agent, head: bytes) -> Answer:
    """Sends the head of a request as it is, and returns the answer."""
    connection = await Connection.open(agent.url)
    await connection.send(head)
    answer = await connection.answer()
    await connection.close()
    return answer


@pytest.mark.parametrize(
    ("line", "field", "status"),
    [
        (b"GET /me HTTP/1.1", b"Upgrade: websocket", 426),
        (b"POST /chat HTTP/1.1", b"Content-Length: x", 400),
        (b"GET http://other/me HTTP/1.1", b"X: y", 400),
        (b"GET me HTTP/1.1", b"X: y", 400),
    ],
)
async def test_page_reads_an_error_before_any_handler(agent: Agent, line: bytes, field: bytes, status: int) -> None:
    """A page may read the refusal of a head whose fields could be read."""
    answer = await raw(agent, b"%b\r\nHost: h\r\nOrigin: %b\r\n%b\r\n\r\n" % (line, PAGE.encode(), field))
    assert (answer.status, answer.header("access-control-allow-origin")) == (status, PAGE)
    assert (answer.header("vary"), "x-request-id" in names_in(answer, "access-control-expose-headers")) == (
        "Origin",
        True,
    )


async def test_other_origin_reads_no_error_before_any_handler(agent: Agent) -> None:
    """A page of an origin that is not listed gets no header that allows it anything."""
    answer = await raw(agent, b"GET /me HTTP/1.1\r\nHost: h\r\nOrigin: https://other\r\nUpgrade: websocket\r\n\r\n")
    assert (answer.status, answer.header("access-control-allow-origin"), answer.header("vary")) == (426, None, "Origin")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /me HTTP/2.0\r\nOrigin: %b\r\n\r\n", 505),
        (b"GET /me\r\nOrigin: %b\r\n\r\n", 400),
        (b"GET /me HTTP/1.1\r\nOrigin: %b\r\nX Y: z\r\n\r\n", 400),
        (b"GET /me HTTP/1.1\r\nHost: h\r\nOrigin: %b\r\nX: " + b"y" * 33_000, 431),
    ],
)
async def test_head_that_cannot_be_read_has_no_origin(agent: Agent, head: bytes, status: int) -> None:
    """The answer to a head that is not read as a whole allows no origin anything."""
    answer = await raw(agent, head.replace(b"%b", PAGE.encode()))
    assert (answer.status, answer.header("access-control-allow-origin")) == (status, None)
    assert answer.header("vary") == "Origin"


@pytest.mark.shared_agent(cors_origins=("*",))
async def test_any_page_reads_that_a_head_cannot_be_read(agent: Agent) -> None:
    """With `*` each answer may be read by any page."""
    answer = await raw(agent, b"GET /me\r\n\r\n")
    assert (answer.status, answer.header("access-control-allow-origin")) == (400, "*")


async def test_page_reads_that_the_agent_shuts_down(agent: Agent) -> None:
    """A page may read a 503."""
    agent.server.lifecycle.draining = True
    answer = await fetch(f"{agent.url}/chat", "POST", agent.headers(Origin=PAGE), b"{}")
    agent.server.lifecycle.draining = False
    assert (answer.status, answer.header("access-control-allow-origin")) == (503, PAGE)


async def test_strange_names_are_not_repeated(agent: Agent) -> None:
    """Names that are no header's are not in the answer."""
    for names in ("x y", "x\tz", 'a"b', "a" * 5000):
        answer = await preflight(agent, "/chat", names=names)
        assert (answer.status, answer.header("access-control-allow-headers")) == (204, None)


@pytest.mark.shared_agent(cors_origins=("*",))
async def test_any_origin_may_have_access(agent: Agent) -> None:
    """With `*` pages of any origin have access, those of files too."""
    for origin in ("https://anything.example", "null"):
        answer = await preflight(agent, "/v1/responses", origin)
        assert (answer.status, answer.header("access-control-allow-origin")) == (204, "*")
    assert (await fetch(f"{agent.url}/me", "GET", {"Origin": "null"})).header("access-control-allow-origin") == "*"


@pytest.mark.shared_agent
@pytest.mark.parametrize("path", URLS)
async def test_options_names_the_methods(agent: Agent, path: str) -> None:
    """OPTIONS is 204 with Allow, without a token, and by default pages of other origins have no access."""
    answer = await fetch(agent.url + path, "OPTIONS")
    others = {"/chat": "POST, OPTIONS", "/v1/chat/completions": "POST, GET, OPTIONS"}
    methods = others.get(path, "GET, HEAD, OPTIONS")
    assert (answer.status, answer.header("allow"), answer.body) == (204, methods, b"")
    answer = await preflight(agent, path)
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]


@pytest.mark.shared_agent
@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
async def test_load_balancer_may_check_with_options(agent: Agent, path: str) -> None:
    """HAProxy's default check, `OPTIONS / HTTP/1.0`, finds both ports up."""
    for url in (agent.url, agent.admin_url):
        connection = await Connection.open(url)
        await connection.send(f"OPTIONS {path} HTTP/1.0\r\n\r\n".encode())
        assert (await connection.head())[0] == 204
        await connection.close()


async def test_options_with_a_body_is_answered(agent: Agent) -> None:
    """A body of OPTIONS is dropped, and the next request on the connection is not read from it."""
    connection = await Connection.open(agent.url)
    body = json.dumps({"model": "m"}).encode()
    await connection.send(request_bytes("OPTIONS", "/chat", {"Origin": PAGE}, body))
    status, headers = await connection.head()
    assert (status, dict(headers).get("Connection")) == (204, "close")
    await connection.close()
