"""The way to OpenAI: TLS that is checked, and the proxy that is configured, whatever the environment says."""

import asyncio
import signal
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from tornado.ioloop import IOLoop

from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.tcp_relay import Link
from tests.support.upstream import REQUEST_ID, Upstream, error_body


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of this test's own."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """Its certificate in a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def tls_upstream(io_loop: IOLoop, authority: trustme.CA) -> Iterator[Callable[..., Upstream]]:
    """Starts a fake OpenAI over TLS, with a certificate for these names."""
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


async def test_https_with_a_trusted_certificate(
    make_agent: MakeAgent, tls_upstream: Callable[..., Upstream], ca_file: Path
) -> None:
    """The answer comes as over HTTP."""
    fake = await tls_upstream("localhost")
    agent = await make_agent(openai_url=fake.url, openai_ca_file=ca_file)
    for stream in (False, True):
        assert (await agent.chat(stream=stream)).status == 200
    assert {row["state"] for row in await agent.rows(2)} == {"done"}


@pytest.mark.parametrize("names", [("localhost",), ("elsewhere.example",)])
async def test_a_certificate_that_is_not_trusted(
    make_agent: MakeAgent, tls_upstream: Callable[..., Upstream], ca_file: Path, names: tuple[str, ...]
) -> None:
    """Of an unknown authority, or of another host: 502, and not a byte of key or message is sent."""
    fake = await tls_upstream(*names)
    trusted = None if names == ("localhost",) else ca_file
    agent = await make_agent(openai_url=fake.url, openai_ca_file=trusted)
    answer = await agent.chat()
    assert (answer.status, answer.error["code"], fake.requests) == (502, "upstream_tls", [])
    assert [row["state"] for row in await agent.rows(1)] == ["not_sent"]


async def test_a_certificate_that_has_expired(make_agent: MakeAgent, authority: trustme.CA, ca_file: Path) -> None:
    """Of the right host and authority, and yet refused."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC)).configure_cert(context)
    fake = Upstream(context)
    await fake.start()
    agent = await make_agent(openai_url=fake.url, openai_ca_file=ca_file)
    answer = await agent.chat()
    await fake.stop()
    assert (answer.error["code"], fake.requests) == ("upstream_tls", [])


async def test_a_tls_that_is_too_old(make_agent: MakeAgent, authority: trustme.CA, ca_file: Path) -> None:
    """A server that knows TLS 1.1 at best is not spoken to."""
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


async def test_a_port_without_tls(make_agent: MakeAgent) -> None:
    """https to a server that speaks HTTP is refused as TLS."""
    server, port = await one_answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    agent = await make_agent(openai_url=f"https://127.0.0.1:{port}/v1/chat/completions")
    answer = await agent.chat()
    server.close()
    assert answer.error["code"] == "upstream_tls"


async def test_an_authority_of_one_agent_is_not_that_of_another(
    make_agent: MakeAgent, tls_upstream: Callable[..., Upstream], ca_file: Path, tmp_path: Path
) -> None:
    """Two agents in one process do not share what they trust."""
    fake = await tls_upstream("localhost")
    trusting = await make_agent(openai_url=fake.url, openai_ca_file=ca_file)
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    assert (await trusting.chat()).status == 200
    wary = await make_agent(openai_url=fake.url, openai_ca_file=other, data_dir=tmp_path / "second",
                            master_key_file=trusting.config.data_dir / "master.key")  # fmt: skip
    assert (await wary.chat()).error["code"] == "upstream_tls"


class ForwardProxy:
    """proxy.py, a forward proxy that is not ours, as a process of its own with a log of what it was asked."""

    def __init__(self, folder: Path) -> None:
        self._port_file, self._log = folder / "proxy.port", folder / "proxy.log"
        words = ["--hostname", "127.0.0.1", "--port", "0", "--port-file", str(self._port_file), "--num-workers", "1",
                 "--num-acceptors", "1", "--basic-auth", "team:pass word", "--log-file", str(self._log)]  # fmt: skip
        self._process = subprocess.Popen([sys.executable, "-m", "proxy", *words], stderr=subprocess.DEVNULL)

    async def port(self) -> int:
        """The port that it listens on."""
        async with asyncio.timeout(20):
            while not (self._port_file.exists() and self._port_file.read_text().strip()):
                await asyncio.sleep(0.05)
        return int(self._port_file.read_text())

    def connects(self) -> int:
        """How many tunnels it has made and closed."""
        return self._log.read_text().count(" CONNECT ") if self._log.exists() else 0

    def stop(self) -> None:
        """Ends the process."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)


@pytest.fixture
def forward_proxy(tmp_path: Path) -> Iterator[ForwardProxy]:
    """A running forward proxy that wants a name and a password."""
    running = ForwardProxy(tmp_path)
    yield running
    running.stop()


async def test_everything_goes_through_the_proxy(
    make_agent: MakeAgent,
    tls_upstream: Callable[..., Upstream],
    ca_file: Path,
    forward_proxy: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many tunnels as connections at OpenAI, also where the environment says that no proxy is to be used."""
    monkeypatch.setenv("no_proxy", "*")
    fake = await tls_upstream("localhost")
    proxy_url = f"http://team:pass%20word@127.0.0.1:{await forward_proxy.port()}"
    agent = await make_agent(openai_url=fake.url, openai_ca_file=ca_file, openai_proxy=proxy_url)
    answers = await asyncio.gather(*(agent.chat("delay=0.2", stream=n % 2 == 0) for n in range(4)))
    assert [answer.status for answer in answers] == [200] * 4
    assert fake.requests[0].header("proxy-authorization") is None
    await agent.server.upstream.close()
    await agent.until(lambda: forward_proxy.connects() == fake.connections, seconds=20)
    assert fake.connections > 0


class Tunnel(Link):
    """A proxy that lets every CONNECT through to one target, with the head that it is given."""

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
async def test_what_a_proxy_says_to_connect_is_no_answer(
    make_agent: MakeAgent, tls_upstream: Callable[..., Upstream], ca_file: Path, stream: bool
) -> None:
    """Its 200 is not the status, and its fields are not the client's, when OpenAI then says 429."""
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


async def test_without_a_proxy_the_environments_is_not_used(
    agent: Agent, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libcurl would take http_proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
    assert (await agent.chat()).status == 200


async def one_answer(head: bytes) -> tuple[asyncio.Server, int]:
    """A server that answers whatever it hears with the same bytes."""

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


@pytest.mark.parametrize("kind", REFUSALS)
async def test_a_proxy_that_refuses(
    make_agent: MakeAgent, tls_upstream: Callable[..., Upstream], ca_file: Path, kind: str
) -> None:
    """502 `proxy_error`, and no connection past it."""
    fake = await tls_upstream("localhost")
    server, port = await one_answer(REFUSALS[kind])
    agent = await make_agent(openai_url=fake.url, openai_ca_file=ca_file, openai_proxy=f"http://127.0.0.1:{port}")
    answer = await agent.chat()
    server.close()
    assert (answer.status, answer.error["code"], fake.connections) == (502, "proxy_error", 0)
    assert [row["state"] for row in await agent.rows(1)] == ["not_sent"]


async def test_a_proxy_that_is_not_there(make_agent: MakeAgent, upstream: Upstream) -> None:
    """502 `proxy_error`, for a plain upstream too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        agent = await make_agent(openai_proxy=f"http://127.0.0.1:{free.getsockname()[1]}")
        answer = await agent.chat()
    assert (answer.error["code"], upstream.connections) == ("proxy_error", 0)
