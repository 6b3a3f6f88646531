"""Clients' connections: their number is limited, and those of clients that do not read or send are cut off."""

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

from chatgpt_agent.web import listener
from chatgpt_agent.web.client_stream import ConnectionLimits
from chatgpt_agent.web.listener import Listener
from tests.support.client import Connection, fetch
from tests.support.waiting import until

SIZE = 20_000_000  # bytes, more than any socket's buffer
NO_FILES = "no connection can be accepted: Too many open files"

Listen = Callable[..., "Listening"]


class Small(RequestHandler):
    """Answers with a few bytes."""

    def get(self) -> None:
        self.write("here")


class Large(RequestHandler):
    """Answers with more than buffers hold."""

    def get(self) -> None:
        self.write(b"x" * SIZE)


class Listening:
    """A listener on a free port, and its clients."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.clients: list[socket.socket] = []
        self.server = Listener(Application([("/", Small), ("/large", Large)]), limits)
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        self.server.listen_on(sockets)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """Returns a connection, which the listener may not have accepted yet."""
        client = socket.socket()
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(("127.0.0.1", self.port))
        client.setblocking(False)
        self.clients.append(client)
        return client

    async def until_connections(self, count: int) -> None:
        """Waits until so many connections are open."""
        await until(lambda: self.server.connections == count)

    async def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.server.stop()
        await self.server.close_all_connections()


@pytest.fixture
def listen(io_loop: IOLoop) -> Iterator[Listen]:
    """Starts a listener with some limits."""
    started: list[Listening] = []

    def start(**limits: float) -> Listening:
        asyncio.set_event_loop(io_loop.asyncio_loop)  # type: ignore[attr-defined]  # Tornado's own loops have it
        started.append(Listening(ConnectionLimits(**limits)))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for listening in started:
        io_loop.run_sync(listening.stop)


async def read_until_closed(client: socket.socket) -> None:
    """Reads until the other side closes. Raises ConnectionResetError if it does so with a reset."""
    async with asyncio.timeout(10):
        while await asyncio.get_running_loop().sock_recv(client, 65536):
            pass


# The limit of connections.


async def test_connections_over_the_limit_are_not_accepted(listen: Listen) -> None:
    """Connections over the limit stay in the system's queue."""
    listening = listen(connections=3)
    for _ in range(5):
        listening.connect()
    await listening.until_connections(3)
    await asyncio.sleep(0.05)
    assert listening.server.connections == 3


async def test_waiting_connection_is_served_when_another_ends(listen: Listen) -> None:
    """A connection in the system's queue is served as soon as another one ends."""
    listening = listen(connections=1)
    first = listening.connect()
    await listening.until_connections(1)
    waiting = asyncio.create_task(fetch(listening.url))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    first.close()
    async with asyncio.timeout(10):
        assert (await waiting).status == 200


async def test_ended_connections_are_not_counted(listen: Listen) -> None:
    """Fifty connections are served with a limit of two, and none is counted afterwards."""
    listening = listen(connections=2)
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*(fetch(listening.url) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    await listening.until_connections(0)


async def test_limit_is_logged_once(listen: Listen, caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line about the limit, however many connections reach it."""
    listening = listen(connections=1)
    async with asyncio.timeout(20):
        await asyncio.gather(*(fetch(listening.url) for _ in range(20)))
    assert [record.message for record in caplog.records if "connections are open" in record.message] == [
        "1 connections are open: no more are accepted until one ends"
    ]


# No more files.


@contextmanager
def no_file_left() -> Iterator[None]:
    """While it is active, this process cannot open another file."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_accepting_pauses_without_files(listen: Listen, caplog: pytest.LogCaptureFixture) -> None:
    """If the process cannot open another file, it uses little time and logs one line."""
    listening = listen()
    for _ in range(20):
        listening.connect()
    with no_file_left(), caplog.at_level(logging.WARNING):
        before = time.thread_time()  # other tests may have left threads that work and log
        await asyncio.sleep(1)
        used = time.thread_time() - before
    assert [record.message for record in caplog.records if record.name == listener.__name__] == [NO_FILES]
    assert used < 0.3


async def test_accepting_resumes_with_files(listen: Listen, caplog: pytest.LogCaptureFixture) -> None:
    """A client that waits for a file is served as soon as there is one."""
    listening = listen()
    client = listening.connect()
    with no_file_left(), caplog.at_level(logging.WARNING):
        await until(lambda: NO_FILES in caplog.text)
        assert listening.server.connections == 0
    await asyncio.get_running_loop().sock_sendall(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(10):
        assert (await asyncio.get_running_loop().sock_recv(client, 100)).startswith(b"HTTP/1.1 200")


async def test_listener_can_be_stopped_during_a_pause(listen: Listen, caplog: pytest.LogCaptureFixture) -> None:
    """A listener that is stopped while it pauses accepts no connection afterwards."""
    listening = listen()
    client = listening.connect()
    with no_file_left(), caplog.at_level(logging.WARNING):
        await until(lambda: NO_FILES in caplog.text)
    listening.server.stop()
    with pytest.raises(ConnectionResetError):
        await read_until_closed(client)
    assert listening.server.connections == 0


# Clients that do not read, or do not send.


async def request_large(listening: Listening) -> socket.socket:
    """Connects a client that requests more than it has room for."""
    client = listening.connect(receive_buffer=65536)
    await asyncio.get_running_loop().sock_sendall(client, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: listening.server.connections)
    return client


async def test_client_that_reads_nothing_is_reset(listen: Listen, caplog: pytest.LogCaptureFixture) -> None:
    """After `stall_seconds` a client that reads nothing is reset, so that its answer cannot look complete, and the log
    has one line without a traceback."""
    listening = listen(stall_seconds=0.3)
    client = await request_large(listening)
    await listening.until_connections(0)
    with pytest.raises(ConnectionResetError):
        await read_until_closed(client)
    [record] = [record for record in caplog.records if "is reset" in record.message]
    assert record.exc_info is None


async def test_client_that_reads_slowly_is_not_cut_off(listen: Listen) -> None:
    """A client that reads some bytes now and then gets its whole answer, even if that takes longer than
    `stall_seconds`."""
    listening = listen(stall_seconds=1.0)
    client = await request_large(listening)
    loop, size, started = asyncio.get_running_loop(), 0, time.monotonic()
    while size < SIZE:
        size += len(await loop.sock_recv(client, SIZE // 20))
        if time.monotonic() - started < 2.5:
            await asyncio.sleep(0.2)


async def test_idle_connection_is_not_stalled(listen: Listen) -> None:
    """A connection that is kept between requests, with nothing to read, is not cut off after `stall_seconds`."""
    listening = listen(stall_seconds=0.2)
    connection = await Connection.open(listening.url)
    for path in ("/large", "/"):
        await connection.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        answer = await connection.answer()
        assert (answer.status, answer.complete) == (200, True)
        await asyncio.sleep(0.5)
    await connection.close()


async def trickle(client: socket.socket) -> None:
    """Sends a byte now and then for ten seconds."""
    for _ in range(200):
        await asyncio.get_running_loop().sock_sendall(client, b"X")
        await asyncio.sleep(0.05)


async def test_endless_head_is_cut_off(listen: Listen) -> None:
    """A head that is not complete after `head_seconds` is cut off, even if bytes of it still arrive."""
    client = listen(head_seconds=0.5).connect()
    with pytest.raises(ConnectionError):
        await trickle(client)


async def test_silent_connection_is_closed(listen: Listen) -> None:
    """A connection without a request is closed after `head_seconds`."""
    await read_until_closed(listen(head_seconds=0.3).connect())


async def test_endless_body_is_cut_off(listen: Listen) -> None:
    """A body that is not complete after `body_seconds` is cut off."""
    client = listen(body_seconds=0.3).connect()
    await asyncio.get_running_loop().sock_sendall(client, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
    await read_until_closed(client)
