"""A TCP relay that a test can cut, freeze or slow down, between the agent and PostgreSQL or the upstream."""

import asyncio
import contextlib
import socket
import struct
from pathlib import Path

from tests.support.ports import port_of, reserve


class Link:
    """Listens and passes bytes on. The target is `(host, port)` or the path of a Unix socket."""

    def __init__(self, target: tuple[str, int] | Path) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None  # with the port, while no server has it
        self._tasks: set[asyncio.Task[None]] = set()
        self._pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._lose_answer = False
        self.delay = 0.0  # seconds before each part is passed on
        self.accepted = 0
        self.port = 0

    async def start(self, listen: Path | None = None) -> "Link":
        """Listens on a Unix socket, or on a free port of 127.0.0.1."""
        if listen is not None:
            self._server = await asyncio.start_unix_server(self._accept, listen)
        else:
            self.reserve()
            await self.listen()
        return self

    def reserve(self) -> None:
        """Chooses a port, which refuses connections until `listen`, and which no other process gets until `stop`."""
        self._reserved = reserve()
        self.port = port_of(self._reserved)

    async def stop(self) -> None:
        """Stops listening and ends every connection."""
        if self._server is not None:
            self._server.close()
        if self._reserved is not None:
            self._reserved.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Resets every connection."""
        for writers in self._pairs:
            for writer in writers:
                connection: socket.socket | None = writer.get_extra_info("socket")
                if connection is None:  # of uvloop, after it is closed
                    continue
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
        self._pairs.clear()

    async def refuse(self) -> None:
        """Stops listening, so that connecting is refused, and resets every connection."""
        assert self._server is not None
        self._server.close()
        self.cut()

    async def listen(self) -> None:
        """Listens on its port of 127.0.0.1, for the first time or again."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    @property
    def loses_answer(self) -> bool:
        """Whether the next answer will be lost."""
        return self._lose_answer

    def freeze(self) -> None:
        """Accepts bytes and connections and passes nothing on, like a network that drops packets."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Passes bytes on again, including those that arrived meanwhile."""
        self._flowing.set()

    def lose_next_answer(self) -> None:
        """Drops the next bytes from the target and their connection, so that a client sees no answer."""
        self._lose_answer = True

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.create_task(self._join(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._flowing.wait()
            if isinstance(self._target, Path):
                target = await asyncio.open_unix_connection(self._target)
            else:
                target = await asyncio.open_connection(*self._target)
        except (OSError, asyncio.CancelledError) as error:
            writer.transport.abort()
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        self._pairs.append((writer, target[1]))
        out = asyncio.create_task(self._pass(reader, target[1], back=False))
        back = asyncio.create_task(self._pass(target[0], writer, back=True))
        try:
            await asyncio.wait({out, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (out, back):
                task.cancel()
            await asyncio.gather(out, back, return_exceptions=True)
            for side in (writer, target[1]):
                side.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await asyncio.sleep(self.delay)
                await self._flowing.wait()
                if back and self._lose_answer:
                    self._lose_answer = False
                    return
                writer.write(data)
                await writer.drain()
