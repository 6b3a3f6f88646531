"""Clients' connections: counted, rested from where the system has no room, and reset where nobody reads."""

import asyncio
import logging
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from chatgpt_agent.web.listener import ConnectionLimits, Listener
from tests.support.client import Connection, fetch

SIZE = 20_000_000  # more than any socket's buffer
Listen = Callable[..., "Listening"]


class Small(RequestHandler):
    """Answers at once."""

    def get(self) -> None:
        self.write("here")


class Large(RequestHandler):
    """Writes more than a client may want to read."""

    def get(self) -> None:
        self.write(b"x" * SIZE)


class Listening:
    """A listener on a free port."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.clients: list[socket.socket] = []
        self.server = Listener(Application([("/", Small), ("/large", Large)]), limits)
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        self.server.listen_on(sockets)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """A connection that the system has made, whether it is accepted or not."""
        client = socket.socket()
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(("127.0.0.1", self.port))
        client.setblocking(False)
        self.clients.append(client)
        return client

    async def stop(self) -> None:
        """Ends it."""
        for client in self.clients:
            client.close()
        self.server.stop()
        await self.server.close_all_connections()


@pytest.fixture
def listen(io_loop: IOLoop) -> Iterator[Listen]:
    """Listens with limits of the test's own."""
    made: list[Listening] = []

    def start(**limits: float) -> Listening:
        asyncio.set_event_loop(io_loop.asyncio_loop)
        made.append(Listening(ConnectionLimits(**limits)))  # type: ignore[arg-type]
        return made[-1]

    yield start
    for listening in made:
        io_loop.run_sync(listening.stop)


async def until(happened: Callable[[], object], seconds: float = 10) -> None:
    """Waits for something that is about to happen."""
    async with asyncio.timeout(seconds):
        while not happened():
            await asyncio.sleep(0.01)


async def drained(client: socket.socket) -> None:
    """Reads until the other side closes; raises ConnectionResetError where it does so with a reset."""
    async with asyncio.timeout(10):
        while await asyncio.get_running_loop().sock_recv(client, 65536):
            pass


# How many.


async def test_no_more_connections_than_may_be(listen: Listen) -> None:
    """Those over the limit wait in the system's queue."""
    listening = listen(connections=3)
    for _ in range(5):
        listening.connect()
    await until(lambda: listening.server.connections == 3)
    assert len(listening.server._connections) == 3


async def test_who_waits_is_served_when_another_leaves(listen: Listen) -> None:
    """One place is enough."""
    listening = listen(connections=1)
    first = listening.connect()
    await until(lambda: listening.server.connections == 1)
    waiting = asyncio.create_task(fetch(listening.url))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    first.close()
    async with asyncio.timeout(10):
        assert (await waiting).status == 200


async def test_no_place_is_lost(listen: Listen) -> None:
    """After fifty connections through two places there are two."""
    listening = listen(connections=2)
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*(fetch(listening.url) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    await until(lambda: listening.server.connections == 0)


async def test_a_full_house_is_said_once(listen: Listen, caplog: pytest.LogCaptureFixture) -> None:
    """And not for every client that finds it full."""
    listening = listen(connections=1)
    async with asyncio.timeout(20):
        await asyncio.gather(*(fetch(listening.url) for _ in range(20)))
    assert [record.message for record in caplog.records if "connections are open" in record.message] == [
        "1 connections are open: no more are accepted until one ends"
    ]


# No room in the system.


@contextmanager
def no_file_left() -> Iterator[None]:
    """This process cannot open one more file."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_without_a_file_left_it_rests(listen: Listen, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing spins: in one second of it the process uses little time, and says it in one line."""
    listening = listen()
    for _ in range(20):
        listening.connect()
    with no_file_left(), caplog.at_level(logging.WARNING):
        before = time.process_time()
        await asyncio.sleep(1)
        used = time.process_time() - before
    assert [record.message for record in caplog.records] == ["no connection can be accepted: Too many open files"]
    assert used < 0.3


async def test_with_files_again_it_accepts(listen: Listen) -> None:
    """Who has waited is served; nobody has to do anything."""
    listening = listen()
    client = listening.connect()
    with no_file_left():
        await until(lambda: listening.server._resting is not None)
        assert listening.server.connections == 0
    await asyncio.get_running_loop().sock_sendall(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(10):
        assert (await asyncio.get_running_loop().sock_recv(client, 100)).startswith(b"HTTP/1.1 200")


async def test_it_can_be_stopped_while_it_rests(listen: Listen) -> None:
    """And does not wake up afterwards."""
    listening = listen()
    listening.connect()
    with no_file_left():
        await until(lambda: listening.server._resting is not None)
    listening.server.stop()
    await asyncio.sleep(0.4)
    assert not listening.server._accepting


# Who does not read, or does not write.


async def ask_for_much(listening: Listening) -> socket.socket:
    """A client that asks for more than it has room for."""
    client = listening.connect(receive_buffer=65536)
    await asyncio.get_running_loop().sock_sendall(client, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: listening.server.connections)
    return client


async def test_who_reads_nothing_is_cut_off(listen: Listen) -> None:
    """After `stall_seconds`, with all that was kept for it."""
    listening = listen(stall_seconds=0.3)
    await ask_for_much(listening)
    await until(lambda: listening.server.connections == 0)


async def test_who_is_cut_off_sees_it(listen: Listen) -> None:
    """With a reset: what it has of the answer cannot look whole, and the system lets go of the rest."""
    listening = listen(stall_seconds=0.3)
    client = await ask_for_much(listening)
    await until(lambda: listening.server.connections == 0)
    with pytest.raises(ConnectionResetError):
        await drained(client)


async def test_who_is_cut_off_is_in_the_log(listen: Listen, caplog: pytest.LogCaptureFixture) -> None:
    """One line, no traceback."""
    listening = listen(stall_seconds=0.3)
    await ask_for_much(listening)
    await until(lambda: listening.server.connections == 0)
    [record] = [record for record in caplog.records if "cut off" in record.message]
    assert record.exc_info is None


async def test_who_reads_slowly_is_not_cut_off(listen: Listen) -> None:
    """Every byte that is taken counts: the whole answer takes longer than `stall_seconds`, and arrives."""
    listening = listen(stall_seconds=1.0)
    client = await ask_for_much(listening)
    loop, size, began = asyncio.get_running_loop(), 0, time.monotonic()
    while size < SIZE:
        size += len(await loop.sock_recv(client, SIZE // 20))
        if time.monotonic() - began < 2.5:
            await asyncio.sleep(0.2)


async def test_a_stream_that_was_read_keeps_no_timer(listen: Listen) -> None:
    """Kept-alive connections are not cut off for having nothing to read."""
    listening = listen(stall_seconds=0.2)
    connection = await Connection.open(listening.url)
    for path in ("/large", "/"):
        await connection.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        answer = await connection.answer()
        assert (answer.status, answer.complete) == (200, True)
        await asyncio.sleep(0.5)
    await connection.close()


async def trickled(client: socket.socket) -> None:
    """Sends a byte now and then, for longer than anybody should listen."""
    for _ in range(200):
        await asyncio.get_running_loop().sock_sendall(client, b"X")
        await asyncio.sleep(0.05)


async def test_a_head_that_does_not_end_is_cut_off(listen: Listen) -> None:
    """However often another byte of it comes."""
    listening = listen(head_seconds=0.5)
    client = listening.connect()
    with pytest.raises(ConnectionError):
        await trickled(client)


async def test_a_silent_connection_is_closed(listen: Listen) -> None:
    """That of a client which never asks."""
    await drained(listen(head_seconds=0.3).connect())


async def test_a_body_that_does_not_end_is_cut_off(listen: Listen) -> None:
    """After `body_seconds`."""
    client = listen(body_seconds=0.3).connect()
    await asyncio.get_running_loop().sock_sendall(client, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
    await drained(client)
