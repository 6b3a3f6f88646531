"""`chatgpt-agent serve` in a process of its own: what it logs, where it listens, how it ends."""

import asyncio
import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.support.client import Answer, Connection, fetch, request_bytes
from tests.support.commands import KEY, PROGRAM, Cli, environ_with
from tests.support.database import query
from tests.support.waiting import SECONDS, until

LISTENS = re.compile(r"listens on http://127\.0\.0\.1:(\d+)")


class Serve:
    """A serving process, which does not outlive the `async with`."""

    program: Sequence[str] = PROGRAM  # before the word `serve`
    may_log_tracebacks = False

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
        elif not self.may_log_tracebacks:
            assert not any("Traceback" in line for line in self.lines), "\n".join(self.lines)

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode().rstrip("\n"))
            self._news.set()

    async def logged(self, text: str) -> str:
        """Waits for a line with this text and returns it."""
        async with asyncio.timeout(SECONDS):
            while not (matches := [line for line in self.lines if text in line]):
                self._news.clear()
                await self._news.wait()
        return matches[0]

    async def listening(self) -> str:
        """Waits until the agent listens and returns its URL."""
        match = LISTENS.search(await self.logged(" listens on http://"))
        assert match is not None
        return f"http://127.0.0.1:{match[1]}"

    async def ready(self) -> str:
        """Waits until the agent is ready and returns its URL."""
        url = await self.listening()
        await until(lambda: fetch(f"{url}/readyz"), lambda answer: answer.status == 200)
        return url

    async def ended(self, number: signal.Signals | None = None) -> int:
        """Sends a signal, if one is given, waits for the end of the process, and returns its exit code."""
        if number is not None:
            self.process.send_signal(number)
        async with asyncio.timeout(SECONDS):
            code = await self.process.wait()
            assert self._reader is not None
            await self._reader
        return code

    async def stopped(self) -> int:
        """Stops the agent by SIGTERM and returns its exit code."""
        return await self.ended(signal.SIGTERM)


async def begin_stream(url: str, token: str) -> Connection:
    """Requests a stream and returns the connection, from which the caller reads the answer."""
    connection = await Connection.open(url)
    await connection.send(request_bytes("POST", "/v1/chat/completions", headers(token), body(stream=True)))
    return connection


async def chat(url: str, token: str) -> Answer:
    """Sends a chat request and returns the answer."""
    return await fetch(f"{url}/v1/chat/completions", "POST", headers(token), body(stream=False))


def headers(token: str) -> dict[str, str]:
    """Returns the headers of a valid request."""
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def body(*, stream: bool) -> bytes:
    """Returns a chat request for the model `m`."""
    message = {"role": "user", "content": "chunks=3"}
    return json.dumps({"model": "m", "messages": [message], "stream": stream}).encode()


def postmaster(folder: Path) -> Path:
    """Returns the file that exists while the embedded PostgreSQL runs."""
    return folder / "data" / "postgres" / "pg" / "postmaster.pid"


async def with_user(cli: Cli) -> str:
    """Adds a user and a price, and returns the user's token."""
    await cli.in_thread("price", "set", "m", "--input", "1", "--output", "2")
    return (await cli.in_thread("user", "add", "alice", "--openai-key-stdin", stdin=KEY)).strip()


def states(dsn: str) -> list[str]:
    """Returns the states of the rows in the ledger."""
    return [state for (state,) in query(dsn, "SELECT state FROM usage ORDER BY started_at")]
