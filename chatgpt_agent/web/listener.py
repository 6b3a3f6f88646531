"""Clients' connections: how many there may be, and for how long one may send nothing or read nothing.

Tornado's accept handler neither counts connections nor pauses. When the process has no file descriptor left for one
more, the listening socket stays readable: 14,000 tracebacks a second and a whole core, measured.
"""

import asyncio
import contextlib
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
from tornado.iostream import IOStream, StreamClosedError

from chatgpt_agent.runtime.background import Throttle

log = logging.getLogger(__name__)

BATCH = 128  # connections that are accepted in one iteration of the loop
PAUSE_SECONDS = 0.25  # while the system has no room for one more connection
LOG_SECONDS = 10.0  # between two warnings
SEND_BUFFER = 256 * 1024  # bytes, which Linux doubles; its own default grows to 4 MB for a client that reads slowly
READ_BYTES = 16 * 1024  # at a time; a buffer of this size is allocated and zeroed for each read
LATE_SECONDS = 1.0  # for what the client had begun to send when its time was over
END_SECONDS = 0.25  # between two looks whether a client that sends one request behind another has left
NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}  # accept(2)

_ESTABLISHED = b"\1"  # TCP_ESTABLISHED of Linux


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of clients' connections. Times in seconds, sizes in bytes."""

    connections: int = 10_000
    head_seconds: float = 60.0  # for a request's whole head, and between two requests
    body_seconds: float = 60.0  # for its whole body
    stall_seconds: float = 60.0  # without reading a byte of what it is sent
    head_bytes: int = 32 * 1024


class Listener(HTTPServer):
    """Tornado's server, with a limit of connections. Those over the limit wait in the kernel's queue."""

    def __init__(self, app: HTTPServerConnectionDelegate, limits: ConnectionLimits) -> None:
        """Does nothing: Tornado's servers are set up by `initialize`."""

    def initialize(self, app: HTTPServerConnectionDelegate, limits: ConnectionLimits) -> None:  # type: ignore[override]
        super().initialize(
            app,
            max_header_size=limits.head_bytes,
            # Over this, Tornado answers a bare 400 and calls no handler: the handlers have a limit of their own.
            max_body_size=1 << 50,
        )
        # Tornado's timeouts cost 7 % of a request: ClientStream has its own, with one timer for many requests.
        self.conn_params.header_timeout = None
        self._limits = limits
        self.connections = 0
        # Accepting.
        self._listening: list[socket.socket] = []
        self._accepting = False
        self._pause_timer: object | None = None
        self._warning = Throttle(log, seconds=LOG_SECONDS)

    def listen_on(self, sockets: list[socket.socket]) -> None:
        """Starts to accept. The listener closes the sockets when it stops."""
        self._listening = sockets
        for listening in sockets:  # inherited by connections
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._start_accepting()

    def stop(self) -> None:
        """Accepts no more; connections that are open stay so."""
        self._stop_accepting()
        if self._pause_timer is not None:
            IOLoop.current().remove_timeout(self._pause_timer)
        for listening in self._listening:
            listening.close()
        self._listening.clear()

    def on_close(self, server_conn: object) -> None:
        super().on_close(server_conn)
        self.connections -= 1
        if self._pause_timer is None:
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
                    self._pause(error)
                    return
                continue  # it was closed before it was accepted: Linux reports that here
            self.connections += 1
            self.handle_stream(ClientStream(connection, self._limits), address)

    def _pause(self, error: OSError) -> None:
        self._stop_accepting()
        self._warning.warning("no connection can be accepted: %s", error.strerror)
        self._pause_timer = IOLoop.current().call_later(PAUSE_SECONDS, self._end_pause)

    def _end_pause(self) -> None:
        self._pause_timer = None
        self._start_accepting()


class ClientStream(IOStream):
    """A client's connection, with limits of time: it is closed when the client does not send what it began to send, and
    reset when the client has read nothing for `stall_seconds` while there was something to read.

    A client that reads in time costs nothing: a timer is set only where the socket's send buffer is full. Without it, a
    client that stops reading would hold its stream, and OpenAI's, without end: TCP keeps a connection for as long as
    the other side answers probes."""

    def __init__(self, connection: socket.socket, limits: ConnectionLimits) -> None:
        super().__init__(connection, read_chunk_size=READ_BYTES)
        # Set once: a chunk of a stream must not wait until the client has acknowledged the one before.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop: asyncio.AbstractEventLoop = self.io_loop.asyncio_loop  # type: ignore[attr-defined]
        self._limits = limits
        # Receiving.
        self._in_body = False
        self._deadline: float | None = None  # for what the client has begun to send
        self._deadline_timer: TimerHandle | None = None
        self._end_timer: TimerHandle | None = None
        self._check_deadline()
        # Sending.
        self._written: asyncio.Future[None] = self._loop.create_future()  # of all that the kernel took at once
        self._written.set_result(None)
        self._sent = 0  # bytes that the kernel has taken of what had to wait
        self._stall_timer: TimerHandle | None = None
        self._acknowledged = 0  # bytes that the client's kernel had acknowledged at the last check
        self._acknowledged_at = 0.0

    # Tornado's connection reads a head, then a body in pieces; then it waits for the answer.

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        if self.closed():  # requests that were sent behind its end may still be in the buffer
            raise StreamClosedError
        self._in_body = False
        self._deadline = self._loop.time() + self._limits.head_seconds
        return super().read_until_regex(regex, max_bytes)

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        self._enter_body()
        return super().read_bytes(num_bytes, partial)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._enter_body()
        return super().read_until(delimiter, max_bytes)

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        self._deadline = None
        if callback is None:  # three times a request; the further checks of Tornado's method are for a callback
            self._close_callback = None
        else:
            super().set_close_callback(callback)
            if self._read_buffer_size and self._end_timer is None:
                self._watch_end()

    def has_ended(self) -> bool:
        """Whether the client has closed or reset the connection, also if bytes that it sent before have not been read.
        Then the stream is closed."""
        # The first byte of tcp_info is the connection's state (tcp(7)): one system call, and no object.
        if not self.closed() and self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != _ESTABLISHED:
            self.close()
        return self.closed()

    def _watch_end(self) -> None:
        """Closes the stream when the connection has ended. Tornado notices only an end that nothing stands before."""
        self._end_timer = None
        if self._close_callback is not None and not self.has_ended():
            self._end_timer = self._loop.call_later(END_SECONDS, self._watch_end)

    def write(self, data: bytes | memoryview) -> "asyncio.Future[None]":
        """As Tornado's. What the kernel takes at once, which is nearly everything, does not go through the buffer."""
        if data and not self.writing() and not self.closed():
            sent = 0
            with contextlib.suppress(OSError):  # Tornado's write meets the same error, and closes the stream
                sent = self.socket.send(data)
            if sent == len(data):
                return self._written
            data = memoryview(data)[sent:]
        return super().write(data)

    def set_nodelay(self, value: bool) -> None:
        """Does nothing: Tornado would switch the option on and off with each answer."""

    def _enter_body(self) -> None:
        if not self._in_body:
            self._in_body = True
            self._deadline = self._loop.time() + self._limits.body_seconds

    def _check_deadline(self) -> None:
        """Closes the connection past its deadline. Runs as seldom as it can: many requests come between two checks."""
        self._deadline_timer = None
        now = self._loop.time()
        if self._deadline is not None and self._deadline <= now:
            # What has just been read, and what waits to be read, has come in time.
            if self.reading() and not _readable(self.socket):
                self.close()
                return
            self._deadline = now + LATE_SECONDS
        soonest = now + min(self._limits.head_seconds, self._limits.body_seconds)
        self._deadline_timer = self._loop.call_at(min(self._deadline or soonest, soonest), self._check_deadline)

    def write_to_fd(self, data: memoryview) -> int:
        size, sent = len(data), 0
        try:
            sent = super().write_to_fd(data)
        finally:
            del data  # as Tornado's does (tornado#2008)
            self._sent += sent
            if sent < size and self._stall_timer is None:
                self._acknowledged_at = self.io_loop.time()
                self._schedule_stall_check()
        return sent

    def _schedule_stall_check(self) -> None:
        self._stall_timer = self._loop.call_later(self._limits.stall_seconds / 4, self._check_stall)

    def _check_stall(self) -> None:
        self._stall_timer = None
        if self.closed() or not self.writing():
            return
        # The kernel takes more only when a third of its buffer is free, which at 20 kB/s may take a minute.
        acknowledged, now = self._sent - _unacknowledged(self.socket), self.io_loop.time()
        if acknowledged != self._acknowledged:
            self._acknowledged, self._acknowledged_at = acknowledged, now
        if now - self._acknowledged_at < self._limits.stall_seconds:
            self._schedule_stall_check()
            return
        log.warning("a client's connection is reset: it has read nothing for %.0f s", self._limits.stall_seconds)
        # A reset: the kernel would otherwise keep what it has not sent for minutes more.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close_fd(self) -> None:
        for timer in (self._stall_timer, self._deadline_timer, self._end_timer):
            if timer is not None:
                timer.cancel()
        super().close_fd()


def _unacknowledged(connection: socket.socket) -> int:
    """The bytes in a socket's send queue (SIOCOUTQ, tcp(7)), which on Linux has the number of TIOCOUTQ."""
    size: int = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]
    return size


def _readable(connection: socket.socket) -> bool:
    """Whether bytes of the client, or its end, wait to be read."""
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
