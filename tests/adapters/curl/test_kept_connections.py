"""Kept connections to OpenAI: one on which something has come since its last answer is not used again, and none is
used for two keys."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import trustme
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_values import Proxy, UpstreamSettings
from chatgpt_agent.adapters.curl.upstream_client import UpstreamClient
from chatgpt_agent.core.errors import UpstreamError
from tests.support.stray_server import STRAY_BYTES, StrayServer, stray_frames
from tests.support.waiting import until

Start = Callable[..., Awaitable[StrayServer]]
REQUESTS = 6  # on each server: twice each place of stray bytes
STRAY_FRAMES = list(stray_frames(1))
INCOMPLETE_FRAMES = ("half of a frame", "a single byte")
BODIES = [b'{"number":%d}' % number for number in range(REQUESTS)]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> dict[str, ssl.SSLContext]:
    """The TLS of a server, by its protocol."""
    contexts = {}
    for protocol in ("http/1.1", "h2"):
        contexts[protocol] = context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        context.set_alpn_protocols([protocol])
    return contexts


@pytest.fixture
def settings(authority: trustme.CA, tmp_path: Path) -> UpstreamSettings:
    """The settings of an agent that trusts the authority."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return Config(openai_ca_file=tmp_path / "ca.pem").upstream


@pytest.fixture
def start(io_loop: IOLoop) -> Iterator[Start]:
    """Starts servers."""
    servers: list[StrayServer] = []

    async def start(*arguments: object, **options: object) -> StrayServer:
        server = StrayServer(*arguments, **options)  # type: ignore[arg-type]
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        io_loop.run_sync(server.stop)


@pytest.fixture
def connect(io_loop: IOLoop) -> Iterator[Callable[[UpstreamSettings], UpstreamClient]]:
    """Makes clients of an agent."""
    clients: list[UpstreamClient] = []

    def connect(settings: UpstreamSettings) -> UpstreamClient:
        clients.append(UpstreamClient(settings))
        return clients[-1]

    yield connect
    for client in clients:
        client.http_client.close()


Connect = Callable[[UpstreamSettings], UpstreamClient]


async def post(client: UpstreamClient, url: str, body: bytes, key: str = "sk-made-up", user: int = 1) -> bytes:
    """Sends a request, and returns its answer or the code of its error."""
    exchange = client.send(url, body, [("Authorization", f"Bearer {key}")], on_sent=lambda: None, owner=user)
    try:
        await exchange.head()
        answer = b""
        while part := await exchange.read():
            answer += part
    except UpstreamError as error:
        return error.code.encode()
    return answer


async def ask(client: UpstreamClient, server: StrayServer, url: str) -> list[bytes]:
    """Sends requests, each when all has come after the answer to the one before, and returns their answers."""
    answers = []
    for body in BODIES:
        answers.append(await post(client, url, body))
        server.answer_was_read()
        await until(lambda: server.sent == len(server.requests))
    return answers


async def ask_all(
    start: Start, connect: Connect, settings: UpstreamSettings, scheme: str, forms: list[str], *arguments: object,
    **options: object,
) -> dict[str, list[bytes]]:  # fmt: skip
    """Returns the answers of a server for each form of stray bytes, at the same time."""

    async def one(form: str) -> list[bytes]:
        server = await start(form, *arguments, **options)
        port = server.port
        if settings.proxy is not None:
            proxied = msgspec.structs.replace(settings, proxy=Proxy("127.0.0.1", server.port, None, None))
            client, port = connect(proxied), 9
        else:
            client = connect(settings)
        answers = await ask(client, server, f"{scheme}://127.0.0.1:{port}/v1/chat/completions")
        assert len(set(server.requests)) == len(server.requests)  # none is sent twice
        return answers

    return dict(zip(forms, await asyncio.gather(*map(one, forms)), strict=True))


@pytest.mark.parametrize("way", ["http", "https", "http through a proxy", "https through a proxy"])
@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_stray_bytes_never_reach_the_next_request(
    way: str, version: str, start: Start, connect: Connect, settings: UpstreamSettings, tls: dict[str, ssl.SSLContext]
) -> None:
    """Over HTTP/1.1 each request gets its own answer, whatever came after the one before."""
    scheme, _, proxy = way.partition(" ")
    settings = msgspec.structs.replace(
        settings, http_version=version, proxy=Proxy("127.0.0.1", 9, None, None) if proxy else None
    )
    context = tls["http/1.1"] if scheme == "https" else None
    answers = await ask_all(
        start, connect, settings, scheme, list(STRAY_BYTES), context, tunnel=bool(proxy and context)
    )
    assert answers == dict.fromkeys(STRAY_BYTES, BODIES)


async def test_stray_frames_never_reach_the_next_request(
    start: Start, connect: Connect, settings: UpstreamSettings, tls: dict[str, ssl.SSLContext]
) -> None:
    """Over HTTP/2 each request gets its own answer, whatever frames came after the one before."""
    settings = msgspec.structs.replace(settings, http_version="2")
    answers = await ask_all(start, connect, settings, "https", STRAY_FRAMES, tls["h2"], http2=True, places=("later",))
    assert answers == dict.fromkeys(STRAY_FRAMES, BODIES)


async def test_stray_frames_behind_an_answer_never_reach_the_next_request(
    start: Start, connect: Connect, settings: UpstreamSettings, tls: dict[str, ssl.SSLContext]
) -> None:
    """Frames in the packet of an answer are never taken for the next one; those that break HTTP/2 may lose it."""
    settings = msgspec.structs.replace(settings, http_version="2")
    forms = [form for form in STRAY_FRAMES if form not in INCOMPLETE_FRAMES]  # those wait for the rest of the frame
    answers = await ask_all(start, connect, settings, "https", forms, tls["h2"], http2=True, places=("packet",))
    for form, each in answers.items():
        for answer, body in zip(each, BODIES, strict=True):
            assert answer in (body, b"upstream_lost"), form


@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_clean_connection_is_kept(
    version: str, start: Start, connect: Connect, settings: UpstreamSettings, tls: dict[str, ssl.SSLContext]
) -> None:
    """The requests of one key share one connection where nothing comes between two of them."""
    http2 = version == "2"
    server = await start(None, tls["h2" if http2 else "http/1.1"], http2=http2)
    client = connect(msgspec.structs.replace(settings, http_version=version))
    assert await ask(client, server, f"https://127.0.0.1:{server.port}/v1/chat/completions") == BODIES
    assert len(server.keys) == 1


async def test_connection_is_used_for_one_user_and_key(
    start: Start, connect: Connect, settings: UpstreamSettings
) -> None:
    """Requests of different users, or with different keys, never go over the same connection."""
    server, client = await start(None), connect(settings)
    for number in range(12):
        key, user = f"sk-made-up-{number % 2}", number % 3
        await post(client, f"http://127.0.0.1:{server.port}/", b"{}", key, user)
    assert list(map(len, server.keys)) == [1] * 6


async def test_connections_of_an_idle_key_are_closed(
    start: Start, connect: Connect, settings: UpstreamSettings
) -> None:
    """The agent closes the connections of a key that has had no request for a while."""
    server, client = await start(None), connect(msgspec.structs.replace(settings, keep_alive=1))
    await post(client, f"http://127.0.0.1:{server.port}/", b"{}")
    assert server.open == 1
    await until(lambda: server.open == 0)


async def test_connections_over_the_limit_are_not_kept(
    start: Start, connect: Connect, settings: UpstreamSettings
) -> None:
    """Between requests no more connections are kept than `max_concurrent_requests`, for all users together."""
    server, client = await start(None), connect(msgspec.structs.replace(settings, max_connections=2))
    for user in range(6):
        assert await post(client, f"http://127.0.0.1:{server.port}/", b"{}", user=user) == b"{}"
    await until(lambda: server.open == 2)
    assert len(server.keys) == 6
