"""An agent in a process of its own, and figures of the operating system about it."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.client import Connection, request_bytes
from tests.support.commands import PROGRAM, Cli
from tests.support.serving import Serve, with_user
from tests.support.upstream import Received, Reply, event, stream_events
from tests.support.waiting import until_steady

CHAT = "/v1/chat/completions"
PIECE = event("x" * 100_000)


def with_limit(name: str, value: int) -> type[Serve]:
    """Makes a class of serving processes with a lower limit, one of resource.RLIMIT_…."""
    lower = f"import os, resource, sys; resource.setrlimit(resource.{name}, ({value}, {value}))"

    class WithLimits(Serve):
        may_log_tracebacks = name == "RLIMIT_AS"  # a module that cannot be loaded
        program = (sys.executable, "-c", f"{lower}; os.execv(sys.executable, sys.argv[1:])", *PROGRAM)

    return WithLimits


@asynccontextmanager
async def serving(cli: Cli, kind: type[Serve] = Serve, **settings: str) -> AsyncIterator[tuple[Serve, str, str]]:
    """Runs a serving process; yields it, its URL and the token of a user. The model `m` has a price."""
    token = await with_user(cli)
    async with kind({**cli.settings, **settings}) as serve:
        yield serve, await serve.ready(), token


async def narrow(url: str) -> Connection:
    """Opens a connection with small buffers in the client."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    client.connect(("127.0.0.1", int(url.rsplit(":", 1)[1])))
    return Connection(*await asyncio.open_connection(sock=client, limit=16384))


async def send_chat(connection: Connection, token: str, body: bytes) -> None:
    """Sends a chat request and leaves the answer to the caller."""
    fields = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    await connection.send(request_bytes("POST", CHAT, fields, body))


class Flood:
    """A script that streams events of 100 kB as fast as they are read, and counts them."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces
        self.sent = 0

    async def __call__(self, request: Received, reply: Reply) -> None:
        await reply.stream_head()
        for _ in range(self.pieces):
            await reply.chunk(PIECE)
            self.sent += 1
        for piece in stream_events(1, (10, 2, 5, 0)):
            await reply.chunk(piece)
        await reply.end()

    async def until_blocked(self) -> None:
        """Waits until no more is read."""
        await until_steady(lambda: self.sent)


class PausedStream:
    """A script that sends the first event of each stream, and the others after `open` is set.

    `waiting` is the number of streams that have begun."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.waiting = 0

    async def __call__(self, request: Received, reply: Reply) -> None:
        first, *others = stream_events(3, (10, 2, 5, 0))
        await reply.stream_head()
        await reply.chunk(first)
        self.waiting += 1
        await self.open.wait()
        for piece in others:
            await reply.chunk(piece)
        await reply.end()


def resident(pid: int) -> int:
    """Resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def busy(pid: int) -> float:
    """Processor time of a process in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
