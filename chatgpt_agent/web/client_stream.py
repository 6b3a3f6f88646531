"""A client's connection: limits of time, and what is done with bytes that come too late or are not HTTP."""

import asyncio
import contextlib
import fcntl
import logging
import socket
import struct
import termios
from asyncio import TimerHandle
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError

from chatgpt_agent.core.errors import AgentError, RequestTimeout
from chatgpt_agent.web.connection_table import Address

log = logging.getLogger(__name__)

READ_BYTES = 16 * 1024  # at a time; a buffer of this size is allocated and zeroed for each read
LATE_SECONDS = 1.0  # for what the client had begun to send when its time was over
LINGER_BYTES = 16 * 1024 * 1024  # of a refused body that are read
LINGER_BYTES_WITH_TOKEN = 1 << 62  # of one whose token is accepted: time alone limits it
END_SECONDS = 0.25  # between two looks whether a client that sends one request behind another has left

_ESTABLISHED = b"\1"  # TCP_ESTABLISHED of Linux
_CR_LF = b"\r\n"


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of clients' connections. Times in seconds, sizes in bytes."""

    connections: int = 10_000
    connections_per_address: int = 1_000
    head_seconds: float = 60.0  # for a request's whole head, and for the first byte of the first
    body_seconds: float = 60.0  # without a byte of its body
    idle_seconds: float = 150.0  # between two requests
    stall_seconds: float = 60.0  # without reading a byte of what it is sent
    head_bytes: int = 32 * 1024


class Owner(Protocol):
    """What the connections of a listener report to."""

    def begin_idle(self, stream: "ClientStream") -> None:
        """The stream waits for a request."""

    def begin_request(self, stream: "ClientStream", forwarded: list[str]) -> None:
        """The head of a request has arrived, with these values of X-Forwarded-For. Raises AgentError."""

    def on_closed(self, stream: "ClientStream") -> None:
        """The stream is closed; its socket may be in `lingering`."""


class ClientStream(IOStream):
    """A client's connection, with limits of time: a read fails with RequestTimeout when the client does not send what
    it began to send; the connection is closed when it is idle for too long, and reset when the client has read nothing
    for `stall_seconds` while there was something to read. After the end its socket is in `lingering` if what the client
    still sends is to be read and dropped, up to `linger_bytes`.

    A client that reads in time costs nothing: a timer is set only where the socket's send buffer is full. Without it, a
    client that stops reading would hold its stream, and OpenAI's, without end: TCP keeps a connection for as long as
    the other side answers probes."""

    def __init__(self, connection: socket.socket, peer: str, limits: ConnectionLimits, owner: Owner) -> None:
        super().__init__(connection, read_chunk_size=READ_BYTES)
        self._set_options(connection)
        self._loop: asyncio.AbstractEventLoop = self.io_loop.asyncio_loop  # type: ignore[attr-defined]
        self._limits = limits
        # Whose it is; set by the table of connections.
        self.peer = peer
        self.is_proxy = False
        self.address: Address | None = None
        self._owner = owner
        # Closing.
        self._lingers = False
        self.lingering: socket.socket | None = None
        self.linger_bytes = LINGER_BYTES
        # Receiving.
        self._idle = True  # no byte of the next request has been read
        self._came_early = False  # bytes came while nothing was reading, and have not been read
        self._idle_seconds = limits.head_seconds  # until the first request
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

    def _set_options(self, connection: socket.socket) -> None:
        # Set once: a chunk of a stream must not wait until the client has acknowledged the one before.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # The connection reads a head, then a body in pieces; then it waits for the answer.

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._idle = True
        self._deadline = self._loop.time() + self._idle_seconds
        self._idle_seconds = self._limits.idle_seconds
        # Requests that were sent behind its end may still be in the buffer.
        if self.closed() or (self._read_buffer_size and not self._begin(self._read_buffer)):
            self.close()
            raise StreamClosedError
        self._owner.begin_idle(self)
        return super().read_until_regex(regex, max_bytes)

    def _try_inline_read(self) -> None:
        if self._idle and not self._read_buffer_size and not self._came_early:
            # Tornado would read at once; a client sends its next request when it has the answer to this one.
            self._check_closed()
            self._add_io_state(IOLoop.READ)
        else:
            self._came_early = False
            super()._try_inline_read()

    def _handle_read(self) -> None:
        """Leaves the first bytes that come between two requests to the next read. Where a client sends its next request
        at once, Tornado would read them, look for more, stop listening, and listen again."""
        if self._close_callback is None and not self._came_early and not self.reading():
            self._came_early = True  # only once: nothing may read for long
        else:
            super()._handle_read()

    def begin_request(self, forwarded: list[str]) -> None:
        """Notes that the head of a request has been read, with these values of X-Forwarded-For. Raises AgentError if
        the client has too many connections."""
        self._owner.begin_request(self, forwarded)

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        self._deadline = self._loop.time() + self._limits.body_seconds
        return super().read_bytes(num_bytes, partial)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._deadline = self._loop.time() + self._limits.body_seconds
        return super().read_until(delimiter, max_bytes)

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        try:
            size = super().read_from_fd(buf)
            if size and self._idle and not self._begin(buf[: min(size, 64)]):
                return 0  # the end, for Tornado: it closes the connection
            if size and self._close_callback is not None:  # a request behind the one that is being answered
                self._schedule_end_check()
            return size
        finally:
            del buf  # as Tornado's does (tornado#2008)

    def _begin(self, first: bytearray | memoryview) -> bool:
        """Takes the first bytes of a request. Returns whether they can be HTTP: a TLS handshake begins with 0x16, and
        its client would wait for an answer as long as the agent waits for the end of a line."""
        line = bytes(first[:64]).lstrip(_CR_LF)
        if line:
            self._idle = False
            self._deadline = self._loop.time() + self._limits.head_seconds
        return not line or line[:1].isalpha()

    def has_buffered(self) -> bool:
        """Whether bytes have been received that no read has taken."""
        return self._read_buffer_size > 0

    def take_buffered(self, size: int) -> bytes | None:
        """Returns so many bytes if they have been received; None: they have not, and nothing is taken."""
        return self._consume(size) if size <= self._read_buffer_size else None

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        self._deadline = None
        if callback is None:  # three times a request; the further checks of Tornado's method are for a callback
            self._close_callback = None
        else:
            super().set_close_callback(callback)
            if self._read_buffer_size:
                self._schedule_end_check()

    def _schedule_end_check(self) -> None:
        if self._end_timer is None:
            self._end_timer = self._loop.call_later(END_SECONDS, self._check_end)

    def _check_end(self) -> None:
        """Closes the stream when the connection has ended. Tornado notices only an end that nothing stands before."""
        self._end_timer = None
        if self._close_callback is not None and not self.has_ended():
            self._schedule_end_check()

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

    def _check_deadline(self) -> None:
        """Ends the wait for the client past its deadline. Runs as seldom as it can: many requests come between two
        checks."""
        self._deadline_timer = None
        now, limits = self._loop.time(), self._limits
        if self._deadline is not None and self._deadline <= now:
            # What has just been read, and what waits to be read, has come in time.
            if self.reading() and not _readable(self.socket):
                self._time_out()
                return
            self._deadline = now + LATE_SECONDS
        soonest = now + min(limits.head_seconds, limits.body_seconds, limits.idle_seconds)
        self._deadline_timer = self._loop.call_at(min(self._deadline or soonest, soonest), self._check_deadline)

    def _time_out(self) -> None:
        if self._idle:
            self.close()
        else:
            self._fail_read(RequestTimeout())

    def _fail_read(self, error: AgentError | UnsatisfiableReadError) -> None:
        """Lets the read that waits raise an error, so that its request can be answered."""
        future, self._read_future = self._read_future, None
        self._read_bytes = self._read_delimiter = self._read_regex = None
        if future is not None and not future.done():
            future.set_exception(error)

    def write_to_fd(self, data: memoryview) -> int:
        size, sent = len(data), 0
        try:
            sent = super().write_to_fd(data)
        finally:
            del data  # as Tornado's does (tornado#2008)
            self._sent += sent
            if sent < size and self._stall_timer is None:
                self._acknowledged_at = self._loop.time()
                self._schedule_stall_check()
        return sent

    def _schedule_stall_check(self) -> None:
        self._stall_timer = self._loop.call_later(self._limits.stall_seconds / 4, self._check_stall)

    def _check_stall(self) -> None:
        self._stall_timer = None
        if self.closed() or not self.writing():
            return
        # The kernel takes more only when a third of its buffer is free, which at 20 kB/s may take a minute.
        acknowledged, now = self._sent - _unacknowledged(self.socket), self._loop.time()
        if acknowledged != self._acknowledged:
            self._acknowledged, self._acknowledged_at = acknowledged, now
        if now - self._acknowledged_at < self._limits.stall_seconds:
            self._schedule_stall_check()
            return
        log.warning("a client's connection is reset: it has read nothing for %.0f s", self._limits.stall_seconds)
        # A reset: the kernel would otherwise keep what it has not sent for minutes more.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    # The end.

    def has_ended(self) -> bool:
        """Whether the client has closed or reset the connection, also if bytes that it sent before have not been read.
        Then the stream is closed."""
        # The first byte of tcp_info is the connection's state (tcp(7)): one system call, and no object.
        if not self.closed() and self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != _ESTABLISHED:
            self.close()
        return self.closed()

    def close_idle(self) -> bool:
        """Closes a connection that waits for a request, unless bytes wait to be read. Returns whether it is closed."""
        if self.reading() and not _readable(self.socket):
            self.close()
        return self.closed()

    def close(self, exc_info: Any = False) -> None:
        """As Tornado's, but a head that is too long, for which Tornado would close it, is only not read on."""
        if isinstance(exc_info, UnsatisfiableReadError) and not self.closed():
            self._fail_read(exc_info)
        else:
            super().close(exc_info)

    def cut_off(self) -> None:
        """Closes the connection in the middle of an answer."""
        self.close()

    def close_after_answer(self, *, unread: bool) -> None:
        """Closes the connection; its socket lingers if something of the client is `unread`."""
        self._lingers = not self.closed() and (unread or self.has_buffered() or _readable(self.socket))
        self.close()

    def close_fd(self) -> None:
        for timer in (self._stall_timer, self._deadline_timer, self._end_timer):
            if timer is not None:
                timer.cancel()
        if self._lingers:
            self.lingering, self.socket = self._detach(), None  # type: ignore[assignment]  # None as Tornado does
        else:
            super().close_fd()
        self._owner.on_closed(self)

    def _detach(self) -> socket.socket:
        return self.socket


def _unacknowledged(connection: socket.socket) -> int:
    """The bytes in a socket's send queue (SIOCOUTQ, tcp(7)), which on Linux has the number of TIOCOUTQ."""
    size: int = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]
    return size


def _readable(connection: socket.socket) -> bool:
    """Whether bytes of the client, or its end, wait to be read."""
    try:
        socket.socket.recv(connection, 1, socket.MSG_PEEK)  # past TLS, which has no flags
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
