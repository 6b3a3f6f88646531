"""Sockets whose request is answered while its client still sends: what comes is read and dropped for a while.

A connection that is closed with unread bytes is reset, and the reset may overtake the answer (RFC 9112 §9.6).
"""

import contextlib
import socket
import time
from collections.abc import Callable

from tornado.ioloop import IOLoop

SILENCE_SECONDS = 5.0  # without a byte, as nginx's lingering_timeout
TOTAL_SECONDS = 30.0  # as nginx's lingering_time

_scratch = bytearray(256 * 1024)


class LingeringSockets:
    """Reads sockets until their clients close them. `on_closed` is called for each that is closed."""

    def __init__(self, on_closed: Callable[[], None]) -> None:
        self._on_closed = on_closed
        self._sockets: dict[_Lingering, None] = {}  # the oldest first

    def add(self, connection: socket.socket, max_bytes: int) -> None:
        """Ends the sending direction, so that the client reads its answer and the end, and reads the other one, up to a
        number of bytes."""
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        self._sockets[_Lingering(connection, max_bytes, self._remove)] = None

    def close_oldest(self) -> bool:
        """Closes the socket that has lingered for longest. Returns whether there was one."""
        for lingering in self._sockets:
            lingering.close()
            return True
        return False

    def close_all(self) -> None:
        """Closes all."""
        while self.close_oldest():
            pass

    def _remove(self, lingering: "_Lingering") -> None:
        del self._sockets[lingering]
        self._on_closed()


class _Lingering:
    def __init__(self, connection: socket.socket, max_bytes: int, on_closed: Callable[["_Lingering"], None]) -> None:
        self._socket = connection
        self._left = max_bytes
        self._on_closed = on_closed
        self._loop = IOLoop.current()
        self._heard = False
        self._end = time.monotonic() + TOTAL_SECONDS
        self._loop.add_handler(connection, self._read, IOLoop.READ)
        self._timer = self._loop.call_later(SILENCE_SECONDS, self._check)

    def close(self) -> None:
        self._loop.remove_timeout(self._timer)
        self._loop.remove_handler(self._socket)
        self._socket.close()
        self._on_closed(self)

    def _read(self, _fd: object, _events: int) -> None:
        try:
            size = self._socket.recv_into(_scratch)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        self._heard = True
        self._left -= size
        if not size or self._left <= 0:
            self.close()

    def _check(self) -> None:
        if not self._heard or time.monotonic() >= self._end:
            self.close()
            return
        self._heard = False
        self._timer = self._loop.call_later(SILENCE_SECONDS, self._check)
