"""`chatgpt-agent serve` in a process of its own: what it logs, where it listens, how it ends."""

import asyncio
import json
import re
import signal
from collections.abc import Sequence
from types import TracebackType

from tests.cli.commands import PROGRAM, environ_with
from tests.support.client import Answer, Connection, fetch, request_bytes
from tests.support.waiting import until

LISTENS = re.compile(r"listens on http://127\.0\.0\.1:(\d+)")
SECONDS = 20.0  # for whatever is waited for here; a machine may be busy


class Serve:
    """A serving process, which does not outlive the `async with`."""

    program: Sequence[str] = PROGRAM  # before the word `serve`

    def __init__(self, settings: dict[str, str], *args: str) -> None:
        self._settings = {"BIND_ADDRESS": "127.0.0.1", "PORT": "0", "ADMIN_PORT": "0", **settings}
        self._args = args
        self.lines: list[str] = []  # of standard error
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Serve":
        self.process = await asyncio.create_subprocess_exec(
            *self.program, "serve", *self._args, stderr=asyncio.subprocess.PIPE, env=environ_with(self._settings)
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._reader is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reader
        if error is not None:
            error.add_note("\n".join(["It has logged:", *self.lines]))

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode().rstrip("\n"))
            self._news.set()

    async def logged(self, text: str) -> str:
        """The first line with a text in it, as soon as it is there."""
        async with asyncio.timeout(SECONDS):
            while not (matches := [line for line in self.lines if text in line]):
                self._news.clear()
                await self._news.wait()
        return matches[0]

    async def listening(self) -> str:
        """Where it listens for clients, as soon as it does."""
        match = LISTENS.search(await self.logged(" listens on http://"))
        assert match is not None
        return f"http://127.0.0.1:{match[1]}"

    async def ready(self) -> str:
        """Where it listens, as soon as it may serve."""
        url = await self.listening()
        await until(lambda: fetch(f"{url}/readyz"), lambda answer: answer.status == 200)
        return url

    async def ended(self, number: signal.Signals | None = None) -> int:
        """Its exit code, when it has ended; sends a signal before."""
        if number is not None:
            self.process.send_signal(number)
        async with asyncio.timeout(SECONDS):
            code = await self.process.wait()
            assert self._reader is not None
            await self._reader
        return code

    async def stopped(self) -> int:
        """Its exit code after a SIGTERM."""
        return await self.ended(signal.SIGTERM)


async def begin_stream(url: str, token: str) -> Connection:
    """Asks for a stream, and leaves the answer to the caller."""
    connection = await Connection.open(url)
    await connection.send(request_bytes("POST", "/v1/chat/completions", headers(token), body(stream=True)))
    return connection


async def chat(url: str, token: str) -> Answer:
    """One request, one answer."""
    return await fetch(f"{url}/v1/chat/completions", "POST", headers(token), body(stream=False))


def headers(token: str) -> dict[str, str]:
    """Those of a good request."""
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def body(*, stream: bool) -> bytes:
    """A chat request for the model `m`."""
    message = {"role": "user", "content": "chunks=3"}
    return json.dumps({"model": "m", "messages": [message], "stream": stream}).encode()
