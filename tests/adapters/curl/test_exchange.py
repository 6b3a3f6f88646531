"""One POST to OpenAI through libcurl: what comes is poured, held back and cut off, and nothing of it stays."""

import asyncio
import gc
import socket
import weakref
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.curl.exchange import HIGH_WATER, Exchange, UpstreamClient
from chatgpt_agent.adapters.curl.options import http_client
from chatgpt_agent.core.errors import ClientClosed, UpstreamError
from tests.support.upstream import Received, Reply, Upstream

PIECES = [b"one ", b"two ", b"three"]


@pytest.fixture
def client(io_loop: IOLoop) -> Iterator[UpstreamClient]:
    """As the agent's."""

    async def start() -> UpstreamClient:
        settings = Config().upstream
        return UpstreamClient(http_client(settings), settings)

    client = io_loop.run_sync(start)
    yield client
    client.abort_all()
    client.http_client.close()


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose queue is full: who connects to it hears nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
        for each in waiting:
            each.close()


async def in_pieces(request: Received, reply: Reply) -> None:
    """Each in a packet of its own."""
    await reply.stream_head()
    for piece in PIECES:
        await reply.chunk(piece)
        await asyncio.sleep(0.02)
    await reply.end()


def send(client: UpstreamClient, port: int, body: bytes = b"{}") -> Exchange:
    """Begins a request."""
    return client.send(f"http://127.0.0.1:{port}/v1/chat/completions", body, [("Authorization", "Bearer sk-made-up")])


async def test_pieces_are_poured_as_they_come(client: UpstreamClient, upstream: Upstream) -> None:
    """In their order, to the clean end."""
    upstream.script = in_pieces
    exchange, got = send(client, upstream.port), []
    await exchange.head()
    assert await exchange.stream_to(lambda piece: got.append(piece) is None)
    assert got == PIECES


async def test_who_has_enough_may_go_on_later(client: UpstreamClient, upstream: Upstream) -> None:
    """Nothing is lost between."""
    upstream.script = in_pieces
    exchange, got = send(client, upstream.port), []
    await exchange.head()
    rounds = 1
    while not await exchange.stream_to(lambda piece: got.append(piece) is not None):
        rounds += 1
    assert (b"".join(got), rounds) == (b"".join(PIECES), 4)


async def test_a_fault_of_who_takes_reaches_who_waits(client: UpstreamClient, upstream: Upstream) -> None:
    """And not the transfers, which others have theirs in, too."""
    upstream.script = in_pieces

    def take(piece: bytes) -> bool:
        if piece != PIECES[0]:
            raise ZeroDivisionError
        return True

    exchange = send(client, upstream.port)
    await exchange.head()
    with pytest.raises(ZeroDivisionError):
        await exchange.stream_to(take)
    exchange.abort()
    assert client.running == 0


async def test_who_aborts_and_fails_in_one_step_is_told_of_the_abort(
    client: UpstreamClient, upstream: Upstream
) -> None:
    """And the loop of no fault, which would keep the other transfers of that turn from theirs."""

    async def late(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        await asyncio.sleep(0.05)
        await reply.chunk(b"one")

    upstream.script = late
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    exchange = send(client, upstream.port)
    await exchange.head()

    def take(_: bytes) -> bool:
        exchange.abort(ClientClosed())
        raise ZeroDivisionError

    with pytest.raises(ClientClosed):
        await exchange.stream_to(take)
    await asyncio.sleep(0)
    assert faults == []


async def test_what_nobody_takes_is_not_fetched(client: UpstreamClient, upstream: Upstream) -> None:
    """Beyond what is held back; all of it comes when it is taken."""
    size = 16 * HIGH_WATER

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(b"x" * size)

    upstream.script = script
    exchange, got = send(client, upstream.port), 0
    await exchange.head()
    await asyncio.sleep(0.1)
    assert exchange._queued < 2 * HIGH_WATER
    while piece := await exchange.read():
        got += len(piece)
    assert got == size


async def test_a_connection_that_does_not_come_about_is_given_up_at_once(
    client: UpstreamClient, full_port: int
) -> None:
    """It need not wait for `connect_timeout`."""
    exchange = send(client, full_port)
    await asyncio.sleep(0.05)
    exchange.abort(ClientClosed())
    with pytest.raises(ClientClosed):
        await asyncio.wait_for(exchange.head(), 0.5)
    assert client.running == 0


async def test_nothing_of_a_request_stays_in_its_handle(client: UpstreamClient, upstream: Upstream) -> None:
    """Its body goes with it, though the handle is kept for the next."""
    exchange = send(client, upstream.port, b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}')
    await exchange.head()
    while await exchange.read():
        pass
    await asyncio.sleep(0.05)
    kept = weakref.ref(exchange)
    del exchange
    gc.collect()
    assert client.http_client.idle_handles == 1
    assert kept() is None


async def test_a_request_that_was_cut_off_is_told_why(client: UpstreamClient, upstream: Upstream) -> None:
    """Whoever reads it, after what had come."""
    upstream.script = in_pieces
    exchange = send(client, upstream.port)
    await exchange.head()
    assert await exchange.read() == PIECES[0]
    exchange.abort()
    with pytest.raises(UpstreamError, match="ended the request"):
        await exchange.read()
