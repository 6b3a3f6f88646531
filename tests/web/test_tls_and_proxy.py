"""Connections to OpenAI: verified TLS, and the configured proxy, whatever the environment says."""

import asyncio
import base64
import json
import signal
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from tornado.ioloop import IOLoop

from tests.conftest import MakeAgent
from tests.support.agent import OPENAI_KEY, Agent
from tests.support.tcp_relay import Link
from tests.support.upstream import REQUEST_ID, Received, Reply, Upstream, completion, error_body

StartUpstream = Callable[..., Awaitable[Upstream]]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def tls_upstream(io_loop: IOLoop, authority: trustme.CA) -> Iterator[StartUpstream]:
    """Returns a function that starts a fake OpenAI over TLS with a certificate for some names."""
    started: list[Upstream] = []

    async def start(*names: str) -> Upstream:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*names).configure_cert(context)
        started.append(Upstream(context))
        await started[-1].start()
        return started[-1]

    yield start
    for fake in started:
        io_loop.run_sync(fake.stop)


async def test_trusted_certificate_is_accepted(
    make_agent: MakeAgent, tls_upstream: StartUpstream, ca_file: Path
) -> None:
    """OpenAI is reached over TLS if its certificate is from the configured authority."""
    fake = await tls_upstream("localhost")
    agent = await make_agent(openai_url=fake.url, openai_ca_file=ca_file)
    for stream in (False, True):
        assert (await agent.chat(stream=stream)).status == 200
    assert {row["state"] for row in await agent.rows(2)} == {"done"}


async def test_http_1_1_is_spoken_where_there_is_http_2(
    make_agent: MakeAgent, authority: trustme.CA, ca_file: Path
) -> None:
    """By default a server that prefers HTTP/2 gets HTTP/1.1, which is all that this one can read."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert("localhost").configure_cert(context)
    fake = Upstream(context)
    await fake.start()
    agent = await make_agent(openai_url=fake.url, openai_ca_file=ca_file)
    answer = await agent.chat()
    await fake.stop()
    assert (answer.status, len(fake.requests)) == (200, 1)


@pytest.mark.parametrize("names", [("localhost",), ("elsewhere.example",)])
async def test_untrusted_certificate_is_rejected(
    make_agent: MakeAgent, tls_upstream: StartUpstream, ca_file: Path, names: tuple[str, ...]
) -> None:
    """A certificate of an unknown authority or for another host is a 502, and neither key nor message is sent."""
    fake = await tls_upstream(*names)
    trusted = None if names == ("localhost",) else ca_file
    agent = await make_agent(openai_url=fake.url, openai_ca_file=trusted)
    answer = await agent.chat()
    assert (answer.status, answer.error["code"], fake.requests) == (502, "upstream_tls", [])
    assert [row["state"] for row in await agent.rows(1)] == ["not_sent"]


async def test_expired_certificate_is_rejected(make_agent: MakeAgent, authority: trustme.CA, ca_file: Path) -> None:
    """An expired certificate is rejected, even if host and authority are right."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC)).configure_cert(context)
    fake = Upstream(context)
    await fake.start()
    agent = await make_agent(openai_url=fake.url, openai_ca_file=ca_file)
    answer = await agent.chat()
    await fake.stop()
    assert (answer.error["code"], fake.requests) == ("upstream_tls", [])


async def test_old_tls_is_rejected(make_agent: MakeAgent, authority: trustme.CA, ca_file: Path) -> None:
    """A server that supports at most TLS 1.1 is rejected."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    authority.issue_cert("localhost").configure_cert(context)
    fake = Upstream(context)
    await fake.start()
    agent = await make_agent(openai_url=fake.url, openai_ca_file=ca_file)
    answer = await agent.chat()
    await fake.stop()
    assert (answer.error["code"], fake.requests) == ("upstream_tls", [])


async def test_port_without_tls_is_a_tls_error(make_agent: MakeAgent) -> None:
    """HTTPS to a server that speaks HTTP is a TLS error."""
    server, port = await start_fixed_server(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    agent = await make_agent(openai_url=f"https://127.0.0.1:{port}/v1/chat/completions")
    answer = await agent.chat()
    server.close()
    assert answer.error["code"] == "upstream_tls"


async def test_agents_do_not_share_authorities(
    make_agent: MakeAgent, tls_upstream: StartUpstream, ca_file: Path, tmp_path: Path
) -> None:
    """Two agents in one process each trust only their own configured authority."""
    fake = await tls_upstream("localhost")
    trusting = await make_agent(openai_url=fake.url, openai_ca_file=ca_file)
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    assert (await trusting.chat()).status == 200
    distrusting = await make_agent(openai_url=fake.url, openai_ca_file=other, data_dir=tmp_path / "second",
                            master_key_file=trusting.config.data_dir / "master.key")  # fmt: skip
    assert (await distrusting.chat()).error["code"] == "upstream_tls"


class ForwardProxy:
    """proxy.py, a forward proxy of another project, in its own process with a log of its requests."""

    def __init__(self, folder: Path) -> None:
        self._port_file, self._log = folder / "proxy.port", folder / "proxy.log"
        arguments = ["--hostname", "127.0.0.1", "--port", "0", "--port-file", str(self._port_file),
                     "--num-workers", "1", "--num-acceptors", "1", "--basic-auth", "team:pass word",
                     "--log-file", str(self._log), "--timeout", "3"]  # fmt: skip
        self._process = subprocess.Popen([sys.executable, "-m", "proxy", *arguments], stderr=subprocess.DEVNULL)

    async def port(self) -> int:
        """Waits until it listens, and returns its port."""
        async with asyncio.timeout(20):
            while not (self._port_file.exists() and self._port_file.read_text().strip()):
                await asyncio.sleep(0.05)
        return int(self._port_file.read_text())

    def connects(self) -> int:
        """Returns the number of tunnels that it has opened and closed."""
        return self._log.read_text().count(" CONNECT ") if self._log.exists() else 0

    def stop(self) -> None:
        """Stops the process."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)


@pytest.fixture
def forward_proxy(tmp_path: Path) -> Iterator[ForwardProxy]:
    """A running forward proxy that requires a name and a password."""
    proxy = ForwardProxy(tmp_path)
    yield proxy
    proxy.stop()


async def test_all_requests_go_through_the_proxy(
    make_agent: MakeAgent,
    tls_upstream: StartUpstream,
    ca_file: Path,
    forward_proxy: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every connection to OpenAI is a tunnel through the configured proxy, even if the environment sets `no_proxy`."""
    monkeypatch.setenv("no_proxy", "*")
    fake = await tls_upstream("localhost")
    proxy_url = f"http://team:pass%20word@127.0.0.1:{await forward_proxy.port()}"
    agent = await make_agent(openai_url=fake.url, openai_ca_file=ca_file, openai_proxy=proxy_url)
    answers = await asyncio.gather(*(agent.chat("delay=0.2", stream=n % 2 == 0) for n in range(4)))
    assert [answer.status for answer in answers] == [200] * 4
    assert fake.requests[0].header("proxy-authorization") is None
    await fake.stop()  # the proxy logs a tunnel when it is closed
    await agent.until(lambda: forward_proxy.connects() == fake.connections, seconds=20)
    assert fake.connections > 0


class Tunnel(Link):
    """A proxy that answers every CONNECT with a given head and connects it to one target."""

    def __init__(self, port: int, head: bytes) -> None:
        super().__init__(("127.0.0.1", port))
        self._head = head

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"CONNECT ")
        writer.write(self._head)
        await super()._join(reader, writer)


TUNNEL = (
    b"HTTP/1.1 200 Connection established\r\nX-Request-Id: of-the-proxy\r\nRetry-After: 99\r\n"
    b"OpenAI-Processing-Ms: 99\r\nX-RateLimit-Remaining-Tokens: 99\r\n\r\n"
)


@pytest.mark.parametrize("stream", [False, True])
async def test_answer_to_connect_is_not_forwarded(
    make_agent: MakeAgent, tls_upstream: StartUpstream, ca_file: Path, stream: bool
) -> None:
    """Status and fields of the proxy's answer to CONNECT do not reach the client."""
    fake = await tls_upstream("localhost")
    tunnel = await Tunnel(fake.port, TUNNEL).start()
    agent = await make_agent(
        openai_url=fake.url, openai_ca_file=ca_file, openai_proxy=f"http://127.0.0.1:{tunnel.port}"
    )
    answer = await agent.chat("status=429", stream=stream)
    await tunnel.stop()
    assert (tunnel.accepted, answer.status, answer.body) == (1, 429, error_body(429))
    assert (answer.header("x-request-id"), answer.header("retry-after")) == (REQUEST_ID, "1")
    assert {"of-the-proxy", "99"}.isdisjoint(value for _, value in answer.headers)
    [row] = await agent.rows(1)
    assert (row["state"], row["status"], row["upstream_request_id"]) == ("upstream_error", 429, REQUEST_ID)


async def test_proxy_of_the_environment_is_ignored(
    agent: Agent, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a configured proxy, libcurl does not use the environment's."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
    assert (await agent.chat()).status == 200


async def start_fixed_server(head: bytes) -> tuple[asyncio.Server, int]:
    """Starts a server that answers everything with the same bytes; returns it and its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(head)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


REFUSALS = {
    "407": b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n",
    "403": b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_refusal_of_the_proxy_is_a_proxy_error(
    make_agent: MakeAgent, tls_upstream: StartUpstream, ca_file: Path, case: str
) -> None:
    """If the proxy refuses a tunnel, the answer is a 502, and OpenAI is not reached without the proxy."""
    fake = await tls_upstream("localhost")
    server, port = await start_fixed_server(REFUSALS[case])
    agent = await make_agent(openai_url=fake.url, openai_ca_file=ca_file, openai_proxy=f"http://127.0.0.1:{port}")
    answer = await agent.chat()
    server.close()
    assert (answer.status, answer.error["code"], fake.connections) == (502, "proxy_error", 0)
    assert [row["state"] for row in await agent.rows(1)] == ["not_sent"]


async def test_refusal_without_a_tunnel_is_a_proxy_error(make_agent: MakeAgent, upstream: Upstream) -> None:
    """A proxy's 407 is not taken for OpenAI's where there is no TLS, and so no tunnel."""
    server, port = await start_fixed_server(REFUSALS["407"])
    agent = await make_agent(openai_proxy=f"http://127.0.0.1:{port}")
    answer = await agent.chat()
    server.close()
    assert (answer.status, answer.error["code"], upstream.connections) == (502, "proxy_error", 0)


async def test_missing_proxy_is_a_proxy_error(make_agent: MakeAgent, upstream: Upstream) -> None:
    """If no proxy listens at its URL, the answer is a 502, also for an upstream without TLS."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        agent = await make_agent(openai_proxy=f"http://127.0.0.1:{free.getsockname()[1]}")
        answer = await agent.chat()
    assert (answer.error["code"], upstream.connections) == ("proxy_error", 0)


# What the log says of a failure.


async def failure(agent: Agent, caplog: pytest.LogCaptureFixture) -> str:
    """Sends a request that fails, and returns its line in the log."""
    with caplog.at_level("INFO"):
        answer = await agent.chat()
    assert answer.status in (502, 504)
    [line] = [record.getMessage() for record in caplog.records if record.name == "chatgpt_agent.runtime.relay"]
    [row] = await agent.rows(1)
    assert line.startswith(f"request {row['request_id']} of user alice to ")
    assert f": {answer.error['code']}: " in line
    return line


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://nothing.invalid/v1/chat/completions", "to nothing.invalid: upstream_unreachable: Could not resolve"),
        ("http://127.0.0.1:9/v1/chat/completions", "to 127.0.0.1:9: upstream_unreachable: "),
    ],
)
async def test_log_says_why_openai_is_unreachable(
    make_agent: MakeAgent, caplog: pytest.LogCaptureFixture, url: str, text: str
) -> None:
    """The log has libcurl's words for a host that is not known, and for a port that is closed."""
    assert text in await failure(await make_agent(openai_url=url), caplog)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("localhost",), "certificate"),  # of an authority that is not trusted
        (("elsewhere.example",), "no alternative certificate subject name matches target hostname 'localhost'"),
    ],
)
async def test_log_says_what_is_wrong_with_a_certificate(
    make_agent: MakeAgent,
    tls_upstream: StartUpstream,
    ca_file: Path,
    caplog: pytest.LogCaptureFixture,
    names: tuple[str, ...],
    text: str,
) -> None:
    """The log has libcurl's words for a certificate that is not trusted, and for one of another host."""
    fake = await tls_upstream(*names)
    agent = await make_agent(openai_url=fake.url, openai_ca_file=None if names == ("localhost",) else ca_file)
    line = await failure(agent, caplog)
    assert (": upstream_tls: " in line, text in line) == (True, True), line


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_log_says_that_the_proxy_wants_credentials(
    make_agent: MakeAgent, caplog: pytest.LogCaptureFixture, scheme: str
) -> None:
    """The log has the proxy and its status, for a tunnel and without one."""
    server, port = await start_fixed_server(REFUSALS["407"])
    agent = await make_agent(
        openai_url=f"{scheme}://made-up.example/v1/chat/completions",
        openai_allow_http=True,
        openai_proxy=f"http://team:made-up-word@127.0.0.1:{port}",
    )
    line = await failure(agent, caplog)
    server.close()
    assert f"to made-up.example through the proxy 127.0.0.1:{port}: proxy_error: " in line
    assert "407" in line
    assert "made-up-word" not in line


async def test_log_says_why_an_answer_is_not_valid(
    agent: Agent, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the status of a redirect, which is not followed."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(b"", 302, location="/elsewhere")

    upstream.script = script
    assert ": upstream_invalid: the answer has status 302" in await failure(agent, caplog)


# Credentials of the proxy.


@pytest.mark.parametrize(
    ("user_info", "credentials"),
    [
        ("j%C3%BCrgen:stra%C3%9Fe", "jürgen:straße".encode()),
        ("jürgen:straße", "jürgen:straße".encode()),
        ("J%FCrgen:%E4", b"J\xfcrgen:\xe4"),
        ("u:e%CC%81", "u:e\u0301".encode()),
        ("u:a%3Ab%40c%2Fd", b"u:a:b@c/d"),
        ("u:", b"u:"),
        (":word", b":word"),
    ],
)
async def test_proxy_gets_the_bytes_of_its_credentials(
    make_agent: MakeAgent, user_info: str, credentials: bytes
) -> None:
    """User and password reach the proxy as the bytes that the URL has, in any alphabet."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    agent = await make_agent(
        openai_url="https://made-up.example/v1/chat/completions", openai_proxy=f"http://{user_info}@127.0.0.1:{port}"
    )
    assert (await agent.chat()).error["code"] == "proxy_error"
    server.close()
    assert b"Proxy-Authorization: Basic %b\r\n" % base64.b64encode(credentials) in heads[0]


# An upstream that echoes the key.

ECHOES = {
    "the request id": ({"x_request_id": OPENAI_KEY}, {}),
    "the model": ({}, {"model": OPENAI_KEY}),
    "the id": ({}, {"id": f"chatcmpl-{OPENAI_KEY.upper()}"}),
    "the service tier": ({}, {"service_tier": OPENAI_KEY}),
    "a half": ({"x_request_id": f"req {OPENAI_KEY[: len(OPENAI_KEY) // 2]}…"}, {"id": OPENAI_KEY[12:]}),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", ECHOES)
async def test_key_that_openai_echoes_is_not_stored(
    make_agent: MakeAgent, upstream: Upstream, caplog: pytest.LogCaptureFixture, case: str, stream: bool
) -> None:
    """Neither the row nor the log has the key, whatever the upstream sends it as."""
    fields, members = ECHOES[case]

    async def script(_: Received, reply: Reply) -> None:
        body = json.dumps({**json.loads(completion(3, 0, 2)), **members}).encode()
        if stream:
            await reply.stream_head(**fields)
            await reply.chunk(b"data: %b\n\ndata: [DONE]\n\n" % body)
            await reply.end()
        else:
            await reply.whole(body, 200, **fields)

    upstream.script = script
    agent = await make_agent(log_level="debug")
    with caplog.at_level("DEBUG"):
        assert (await agent.chat(stream=stream)).status == 200
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", 2)
    halves = OPENAI_KEY[: len(OPENAI_KEY) // 2], OPENAI_KEY[len(OPENAI_KEY) // 2 :]
    assert not any(half in text.lower() for half in halves for text in (str(row), caplog.text))


@pytest.mark.parametrize("name", [OPENAI_KEY, "skmadeupkeyofalice"])
async def test_key_that_openai_echoes_as_a_name_is_not_reported(
    make_agent: MakeAgent, upstream: Upstream, name: str
) -> None:
    """Names in usages that the agent does not know are reported to the database: no key is among them."""
    upstream.script = lambda _, reply: reply.whole(
        json.dumps({"usage": {"prompt_tokens": 3, "completion_tokens": 2, name: 1}}).encode()
    )
    agent = await make_agent()
    agent.token = await agent.add_user("carol", name)
    await agent.chat()
    await agent.rows(1)
    assert name not in agent.server.figures.unknown_fields.counts


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 407, 500])
async def test_key_in_an_error_is_not_logged(
    make_agent: MakeAgent, upstream: Upstream, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """An error with the key in its body, status line and fields leaves it in neither row nor log."""

    async def script(_: Received, reply: Reply) -> None:
        text = OPENAI_KEY.encode()
        head = b"HTTP/1.1 %d KEY\r\nLocation: /KEY\r\nX-Request-Id: KEY\r\nX-Echo: KEY\r\n" % status
        body = b"Content-Length: %d\r\n\r\n%b" % (len(text), text)
        await reply.raw(head.replace(b"KEY", text) + body)

    upstream.script = script
    agent = await make_agent()
    with caplog.at_level("DEBUG"):
        await agent.chat()
    assert OPENAI_KEY not in str(await agent.rows(1)) + caplog.text


async def test_key_in_an_error_of_libcurl_is_not_logged(
    make_agent: MakeAgent, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """libcurl names a Transfer-Encoding that it does not know: the log does not, where that is the key."""
    upstream.script = lambda _, reply: reply.raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %b\r\n\r\nx" % OPENAI_KEY.encode()
    )
    agent = await make_agent()
    assert (await agent.chat()).status == 502
    assert OPENAI_KEY not in caplog.text
    assert "(not shown: it has the key)" in caplog.text
