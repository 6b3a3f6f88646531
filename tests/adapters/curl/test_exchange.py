"""One POST to OpenAI: its answer is passed on in order, held back, aborted, and leaves nothing behind."""

import asyncio
import gc
import socket
import weakref
from collections.abc import Callable, Iterator

import msgspec
import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.curl.client import UpstreamHTTPClient
from chatgpt_agent.adapters.curl.exchange import HIGH_WATER, Exchange
from chatgpt_agent.adapters.curl.upstream_client import UpstreamClient
from chatgpt_agent.core.errors import ClientClosed, UpstreamError, UpstreamUnreachable
from tests.support.upstream import Received, Reply, Upstream
from tests.support.waiting import SECONDS, until

PIECES = [b"one ", b"two ", b"three"]

QUESTION = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'


@pytest.fixture
def client(io_loop: IOLoop) -> Iterator[UpstreamClient]:
    """The client of an agent."""

    async def start() -> UpstreamClient:
        settings = Config().upstream
        return UpstreamClient(settings)

    client = io_loop.run_sync(start)
    yield client
    client.abort_all()
    client.http_client.close()


@pytest.fixture
def full_port() -> Iterator[int]:
    """Listens on a port with a full queue, which never accepts another connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
        for each in waiting:
            each.close()


class InPieces:
    """A script that sends a piece, or the end after the last one, each time that it may `go_on`."""

    def __init__(self) -> None:
        self._may = asyncio.Semaphore(0)
        self.go_on = self._may.release

    async def __call__(self, request: Received, reply: Reply) -> None:
        await reply.stream_head()
        for piece in PIECES:
            await self._may.acquire()
            await reply.chunk(piece)
        await self._may.acquire()
        await reply.end()


@pytest.fixture
def in_pieces(upstream: Upstream) -> InPieces:
    """The script of the upstream, which may send the first piece."""
    script = InPieces()
    script.go_on()
    upstream.script = script
    return script


def send(client: UpstreamClient, port: int, body: bytes = b"{}") -> Exchange:
    """Starts a request."""
    fields = [("Authorization", "Bearer sk-made-up")]
    return client.send(f"http://127.0.0.1:{port}/v1/chat/completions", body, fields, on_sent=lambda: None)


def collect(chunks: list[bytes], script: InPieces, *, is_full: bool) -> Callable[[bytes], bool]:
    """Makes a sink that collects chunks, each of which lets the next one come; it is full after each one, or never."""

    def sink(chunk: bytes) -> bool:
        chunks.append(chunk)
        script.go_on()
        return not is_full

    return sink


async def test_chunks_reach_the_sink_as_they_come(
    client: UpstreamClient, upstream: Upstream, in_pieces: InPieces
) -> None:
    """The sink gets the chunks in their order, and `stream_to` returns True at the clean end."""
    exchange = send(client, upstream.port)
    chunks: list[bytes] = []
    await exchange.head()
    assert await exchange.stream_to(collect(chunks, in_pieces, is_full=False))
    assert chunks == PIECES


async def test_full_sink_gets_the_rest_later(client: UpstreamClient, upstream: Upstream, in_pieces: InPieces) -> None:
    """Nothing is lost where the sink refuses more and `stream_to` is called again."""
    exchange = send(client, upstream.port)
    chunks: list[bytes] = []
    await exchange.head()
    rounds = 1
    while not await exchange.stream_to(collect(chunks, in_pieces, is_full=True)):
        rounds += 1
    assert (b"".join(chunks), rounds) == (b"".join(PIECES), 4)


async def test_exception_of_the_sink_is_raised_to_its_owner(
    client: UpstreamClient, upstream: Upstream, in_pieces: InPieces
) -> None:
    """An exception of the sink is raised by `stream_to`, and does not disturb other exchanges."""

    def take(piece: bytes) -> bool:
        if piece != PIECES[0]:
            raise ZeroDivisionError
        in_pieces.go_on()
        return True

    exchange = send(client, upstream.port)
    await exchange.head()
    with pytest.raises(ZeroDivisionError):
        await exchange.stream_to(take)
    exchange.abort()
    assert client.running == 0


async def test_abort_in_the_sink_wins_over_its_exception(client: UpstreamClient, upstream: Upstream) -> None:
    """A sink that aborts and then fails ends with the reason of the abort, and the loop sees no exception."""

    is_awaited = asyncio.Event()

    async def late(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        await is_awaited.wait()
        await reply.chunk(b"one")

    upstream.script = late
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    exchange = send(client, upstream.port)
    await exchange.head()

    def take(_: bytes) -> bool:
        exchange.abort(ClientClosed())
        raise ZeroDivisionError

    asyncio.get_running_loop().call_soon(is_awaited.set)
    with pytest.raises(ClientClosed):
        await exchange.stream_to(take)
    await asyncio.sleep(0)
    assert faults == []


async def test_transfer_is_paused_until_it_is_read(client: UpstreamClient, upstream: Upstream) -> None:
    """At most the high-water mark is fetched before the answer is read; then all of it comes."""
    size = 16 * HIGH_WATER

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(b"x" * size)

    upstream.script = script
    exchange, received = send(client, upstream.port), 0
    await exchange.head()
    await until(lambda: exchange.queued >= HIGH_WATER)
    await asyncio.sleep(0.1)  # in which all would come
    assert exchange.queued < 2 * HIGH_WATER
    while piece := await exchange.read():
        received += len(piece)
    assert received == size


async def test_connecting_is_aborted_at_once(client: UpstreamClient, full_port: int) -> None:
    """An abort does not wait for `connect_timeout`."""
    exchange = send(client, full_port)
    await asyncio.sleep(0.05)
    exchange.abort(ClientClosed())
    with pytest.raises(ClientClosed):
        await asyncio.wait_for(exchange.head(), exchange.settings.connect_timeout / 2)
    assert client.running == 0


async def test_redirect_is_not_followed(client: UpstreamClient, upstream: Upstream) -> None:
    """Its head is the answer, also where no reader ends the transfer: key and message would go to another place."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.head(301, location=upstream.url, content_length="0")

    upstream.script = script
    exchange = send(client, upstream.port)
    assert ((await exchange.head()).status, await exchange.read()) == (301, b"")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\n", "a\r", "\na"])
async def test_field_with_a_line_break_is_not_sent(client: UpstreamClient, upstream: Upstream, value: str) -> None:
    """It could be read as two fields, or as the end of the head. Here on a handle that was used before."""
    first = send(client, upstream.port, QUESTION)
    assert (await first.head()).status == 200
    while await first.read():
        pass
    url = f"http://127.0.0.1:{upstream.port}/v1/chat/completions"
    exchange = client.send(url, b"{}", [("X-One", value)], on_sent=lambda: None)
    with pytest.raises(ValueError, match="X-One has a line break"):
        await exchange.head()
    assert len(upstream.requests) == 1


async def test_connecting_ends_in_time(full_port: int) -> None:
    """A machine that does not answer is given up after `connect_timeout`, and nothing was sent."""
    client = UpstreamClient(msgspec.structs.replace(Config().upstream, connect_timeout=0.1))
    exchange = send(client, full_port)
    with pytest.raises(UpstreamUnreachable):
        await asyncio.wait_for(exchange.head(), SECONDS)
    assert not exchange.sent
    client.http_client.close()


async def test_kept_handle_holds_nothing_of_its_request(client: UpstreamClient, upstream: Upstream) -> None:
    """The exchange and its body are freed, though the handle is kept for the next request."""
    exchange = send(client, upstream.port, QUESTION)
    await exchange.head()
    while await exchange.read():
        pass
    http_client = client.http_client
    assert isinstance(http_client, UpstreamHTTPClient)
    await until(lambda: http_client.idle_handles == 1)
    reference = weakref.ref(exchange)
    del exchange
    gc.collect()
    assert reference() is None


@pytest.mark.usefixtures("in_pieces")
async def test_reader_of_an_aborted_exchange_gets_the_reason(client: UpstreamClient, upstream: Upstream) -> None:
    """After what had come before the abort, reading raises its reason."""
    exchange = send(client, upstream.port)
    await exchange.head()
    assert await exchange.read() == PIECES[0]
    exchange.abort()
    with pytest.raises(UpstreamError, match="ended the request"):
        await exchange.read()
