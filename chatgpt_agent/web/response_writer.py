"""An answer on its way to its client, framed as RFC 9112 says.

Tornado reads the request. Its own way of writing makes futures, buffers and copies for each head and each piece: a
tenth of what a request cost.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from http.client import responses
from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest, format_timestamp
from tornado.iostream import StreamClosedError

_NO_CONTENT = 204


class WayOut:
    """`begin`, then pieces, then `end`; or `cut_off`. Once the client is gone, what is put is dropped."""

    __slots__ = (
        "_behind",
        "_chunked",
        "_chunks",
        "_connection",
        "_gone",
        "_on_gone",
        "_socket",
        "_stream",
        "begun",
        "closes",
    )

    def __init__(self, request: HTTPServerRequest, on_gone: Callable[[], None]) -> None:
        self._connection = cast(HTTP1Connection, request.connection)
        self._stream = self._connection.stream
        self._socket = self._stream.socket
        self._behind = self._stream.writing()  # whether something may wait until the system takes it
        self._on_gone: Callable[[], None] | None = on_gone
        self._chunks = request.version == "HTTP/1.1"  # whether the client knows them (RFC 9112 §7.1)
        self._chunked = False
        asked = request.headers.get("Connection", "").lower()
        # Whether the connection ends with the answer, which Tornado decides in the same way (RFC 9112 §9.3).
        self.closes = asked == "close" if self._chunks else asked != "keep-alive"
        self.begun = False
        self._gone = False

    def begin(
        self, status: int, fields: Iterable[tuple[str, str]], *, size: int | None = None, body: bytes = b""
    ) -> None:
        """Sends the head, and what there is already of a body. Its size in bytes is None where nobody knows yet."""
        lines = [f"HTTP/1.1 {status} {responses.get(status, 'Unknown')}", f"Date: {_Date.now()}"]
        lines += [f"{name}: {value}" for name, value in fields]
        if status == _NO_CONTENT:  # neither may stand in it (RFC 9110 §8.6, RFC 9112 §6.1)
            pass
        elif size is not None:
            lines.append(f"Content-Length: {size}")
        elif self._chunks:
            self._chunked = True
            lines.append("Transfer-Encoding: chunked")
        else:
            self.closes = True  # which is how the client knows where the body ends
        if self.closes:
            lines.append("Connection: close")
        elif not self._chunks:
            lines.append("Connection: keep-alive")
        head = "\r\n".join(lines)
        if not head.count("\r") == head.count("\n") == len(lines) - 1:
            raise ValueError("a header field of the answer would be two")
        self.begun = True
        self._send(f"{head}\r\n\r\n".encode("latin-1") + body)

    def put(self, piece: bytes) -> bool:
        """Sends a piece. Returns whether the system took all of it: what waits for the client slows the upstream down,
        and where nothing waits, which is nearly always, nobody does."""
        if self._gone or not piece:
            return True
        return self._send(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)

    async def drained(self) -> None:
        """Waits until the system has taken what was put."""
        if self._gone:
            return
        if self._stream.writing():
            with contextlib.suppress(StreamClosedError):
                await self._stream.write(b"")
        self._look()

    async def end(self) -> None:
        """Ends the answer, when the system has taken all of it."""
        if self._chunked and not self._gone:
            self._send(b"0\r\n\r\n")
        if not self.end_at_once():
            await self.drained()
            self._let_go()

    def end_at_once(self) -> bool:
        """Ends the answer, all of which was put, unless the system has yet to take some: then it returns False."""
        if not self._gone and self._stream.writing():
            return False
        self._look()
        self._let_go()
        return True

    def give_up(self) -> None:
        """Takes note that the client is gone."""
        self._gone = True
        self._on_gone = None

    def cut_off(self) -> None:
        """Closes the connection in the middle of the answer, so that the client sees that it is not whole."""
        self.closes = True
        self._let_go()

    def _send(self, data: bytes) -> bool:
        # Past the stream where nothing waits in it: it would make a future of each piece, and copy it first.
        sent = 0
        if self._behind:
            self._behind = self._stream.writing()
        if not self._behind:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self._stream.close(exc_info=True)
            else:
                if sent == len(data):
                    return True
        if self._look():
            return True
        self._stream.write(data[sent:])
        self._behind = self._stream.writing()
        return self._look() or not self._behind

    def _look(self) -> bool:
        if not self._stream.closed():
            return False
        if self._on_gone is not None:
            self._on_gone()
        return True

    def _let_go(self) -> None:
        self._on_gone = None  # it knows this: a circle would stay in memory until it is looked for
        if self.closes:
            self._stream.close()
        self._connection.finish()


class _Date:
    """The time of day as the header field has it (RFC 9110 §6.6.1), made once a second."""

    _second = -1
    _text = ""

    @classmethod
    def now(cls) -> str:
        second = int(time.time())
        if second != cls._second:
            cls._second, cls._text = second, format_timestamp(second)
        return cls._text
