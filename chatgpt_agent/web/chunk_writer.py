"""Writes the chunks of a streamed answer through Tornado's connection."""

import contextlib
from collections.abc import Callable
from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler


class ChunkWriter:
    def __init__(self, handler: RequestHandler, on_disconnect: Callable[[], None]) -> None:
        self._connection = cast(HTTP1Connection, handler.request.connection)
        self._stream = self._connection.stream
        self._on_disconnect = on_disconnect
        self._discarding = False

    def write(self, chunk: bytes) -> bool:
        if self._discarding or not chunk:
            return True
        self._connection.write(chunk)
        if self._stream.closed():
            self._on_disconnect()
            return True
        return not self._stream.writing()

    async def drain(self) -> None:
        if self._discarding:
            return
        if self._stream.writing():
            with contextlib.suppress(StreamClosedError):
                await self._stream.write(b"")
        if self._stream.closed():
            self._on_disconnect()

    def discard(self) -> None:
        self._discarding = True
