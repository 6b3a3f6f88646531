"""Clients' connections: how many there may be, and how long one may be silent, or not read what it is sent.

Tornado's own accept handler neither counts nor rests. When the process has no file left for one more connection, the
loop finds the listening socket readable for ever: 14,000 tracebacks a second and a whole core, measured.
"""

import asyncio
import errno
import fcntl
import logging
import socket
import struct
import termios
from asyncio import TimerHandle
from collections.abc import Awaitable, Callable

import msgspec
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerConnectionDelegate
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

from chatgpt_agent.runtime.background import Throttle

log = logging.getLogger(__name__)

BATCH = 128  # connections that are accepted before the loop turns to something else
REST_SECONDS = 0.25  # when the system has no room for one more
LOG_SECONDS = 10.0  # at most one line about it in so long
SEND_BUFFER = 256 * 1024  # bytes, which Linux doubles; by itself it goes up to 4 MB for a client that does not read
READ_BYTES = 16 * 1024  # of what a client sends, at a time; as much is made ready, and zeroed, for each read
NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}  # accept(2)


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may take. Times in seconds, sizes in bytes."""

    connections: int = 10_000
    head_seconds: float = 60.0  # for the whole of a request's head, and between two requests
    body_seconds: float = 60.0  # for the whole of its body
    stall_seconds: float = 60.0  # without taking a byte of what it is sent
    head_bytes: int = 32 * 1024


class Listener(HTTPServer):
    """Tornado's server over connections that are counted. Those over the limit wait in the system's queue."""

    def __init__(self, app: HTTPServerConnectionDelegate, limits: ConnectionLimits) -> None:
        """Nothing: Tornado's servers are made by `initialize`."""

    def initialize(self, app: HTTPServerConnectionDelegate, limits: ConnectionLimits) -> None:  # type: ignore[override]
        super().initialize(
            app,
            max_header_size=limits.head_bytes,
            # Tornado's own answer to a body over this is a bare 400 without a handler: the handler sees to the limit.
            max_body_size=1 << 50,
        )
        # Tornado's timeouts cost 7 % of a request: the connections keep them, with a timer each for many requests.
        self.conn_params.header_timeout = None
        self._limits = limits
        self.connections = 0
        # Accepting.
        self._listening: list[socket.socket] = []
        self._accepting = False
        self._resting: object | None = None  # the timer that ends it
        self._warning = Throttle(log, seconds=LOG_SECONDS)

    def listen_on(self, sockets: list[socket.socket]) -> None:
        """Begins to accept. The sockets are the listener's from here on."""
        self._listening = sockets
        for listening in sockets:  # connections inherit it
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._start_accepting()

    def stop(self) -> None:
        """Accepts no more; connections that are open stay so."""
        self._stop_accepting()
        if self._resting is not None:
            IOLoop.current().remove_timeout(self._resting)
        for listening in self._listening:
            listening.close()
        self._listening.clear()

    def on_close(self, server_conn: object) -> None:
        super().on_close(server_conn)
        self.connections -= 1
        if self._resting is None:
            self._start_accepting()

    def _start_accepting(self) -> None:
        if not self._accepting:
            self._accepting = True
            for listening in self._listening:
                IOLoop.current().add_handler(listening, self._accept, IOLoop.READ)

    def _stop_accepting(self) -> None:
        if self._accepting:
            self._accepting = False
            for listening in self._listening:
                IOLoop.current().remove_handler(listening)

    def _accept(self, listening: socket.socket, _events: int) -> None:
        for _ in range(BATCH):
            if self.connections >= self._limits.connections:
                self._stop_accepting()  # until one of them ends
                self._warning.warning("%d connections are open: no more are accepted until one ends", self.connections)
                return
            try:
                connection, address = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._rest(error)
                    return
                continue  # it ended before it was accepted; Linux tells its errors here too
            self.connections += 1
            self.handle_stream(ClientStream(connection, self._limits), address)

    def _rest(self, error: OSError) -> None:
        self._stop_accepting()
        self._warning.warning("no connection can be accepted: %s", error.strerror)
        self._resting = IOLoop.current().call_later(REST_SECONDS, self._end_rest)

    def _end_rest(self) -> None:
        self._resting = None
        self._start_accepting()


class ClientStream(IOStream):
    """A connection that is closed when its client does not send what it has begun, and reset when it has taken nothing
    for so long, while there was something to take.

    A client that reads in time costs it nothing: a timer is set where the system's buffer is full, once, and set again
    when it fires. Without it such a client would hold its stream, and OpenAI's, for ever: as long as the other side
    answers probes, TCP never gives up."""

    def __init__(self, connection: socket.socket, limits: ConnectionLimits) -> None:
        super().__init__(connection, read_chunk_size=READ_BYTES)
        # Once and for all: a piece of a stream must not wait until the client has acknowledged the one before.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop: asyncio.AbstractEventLoop = self.io_loop.asyncio_loop  # type: ignore[attr-defined]
        self._limits = limits
        # What it sends.
        self._in_body = False
        self._due: float | None = None  # when what it has begun must be there
        self._due_timer: TimerHandle | None = None
        self._look_for_due()
        # What it takes.
        self._sent = 0  # bytes that the system has taken of what had to wait
        # While there is something to take.
        self._look_timer: TimerHandle | None = None
        self._taken = 0  # bytes that the client's side had acknowledged at the last look
        self._taken_at = 0.0

    # What Tornado's connection reads: first a head, then a body in pieces; then it waits for the answer.

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._in_body = False
        self._due = self._loop.time() + self._limits.head_seconds
        return super().read_until_regex(regex, max_bytes)

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        self._begin_body()
        return super().read_bytes(num_bytes, partial)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._begin_body()
        return super().read_until(delimiter, max_bytes)

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        self._due = None
        super().set_close_callback(callback)

    def set_nodelay(self, value: bool) -> None:
        """Nothing: Tornado would turn it on and off with each answer."""

    def _begin_body(self) -> None:
        if not self._in_body:
            self._in_body = True
            self._due = self._loop.time() + self._limits.body_seconds

    def _look_for_due(self) -> None:
        """A look at the time, as rarely as it can be: requests come and go between two of them."""
        self._due_timer = None
        now = self._loop.time()
        if self._due is not None and self._due <= now:
            self.close()
            return
        soonest = now + min(self._limits.head_seconds, self._limits.body_seconds)
        self._due_timer = self._loop.call_at(min(self._due or soonest, soonest), self._look_for_due)

    def write_to_fd(self, data: memoryview) -> int:
        size, sent = len(data), 0
        try:
            sent = super().write_to_fd(data)
        finally:
            del data  # as Tornado's does (tornado#2008)
            self._sent += sent
            if sent < size and self._look_timer is None:
                self._taken_at = self.io_loop.time()
                self._look_later()
        return sent

    def _look_later(self) -> None:
        self._look_timer = self._loop.call_later(self._limits.stall_seconds / 4, self._look)

    def _look(self) -> None:
        self._look_timer = None
        if self.closed() or not self.writing():
            return
        # The system takes more only when a third of its buffer is free, which at 20 kB/s may be a minute.
        taken, now = self._sent - _unacknowledged(self.socket), self.io_loop.time()
        if taken != self._taken:
            self._taken, self._taken_at = taken, now
        if now - self._taken_at < self._limits.stall_seconds:
            self._look_later()
            return
        log.warning("a client is cut off that has read nothing for %.0f s", self._limits.stall_seconds)
        # With a reset: the system would else hold what it has not sent for minutes more.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close_fd(self) -> None:
        for timer in (self._look_timer, self._due_timer):
            if timer is not None:
                timer.cancel()
        super().close_fd()


def _unacknowledged(connection: socket.socket) -> int:
    """The bytes in a socket's send queue (SIOCOUTQ, tcp(7)), which on Linux has the terminals' number."""
    found: int = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]
    return found
