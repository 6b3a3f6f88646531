"""Faults of the machine: no open files left, a full or broken disk, no memory, a short time to stop."""

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.runtime.ledger import Ledger
from tests.faults.processes import PausedStream, busy, send_chat, serving, with_limit
from tests.support.client import Answer, Connection, fetch
from tests.support.commands import Cli
from tests.support.database import query
from tests.support.factories import BOOK, PRICE, make_intent, make_outcome
from tests.support.observers import IgnoreRows
from tests.support.serving import Serve, begin_stream, chat
from tests.support.upstream import Upstream
from tests.support.waiting import SECONDS, until

pytestmark = pytest.mark.slow


@pytest.fixture
def cli(dsn: str, upstream: Upstream, tmp_path: Path) -> Cli:
    """The program on a database of the test's own, with a fake OpenAI."""
    return Cli({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path / "data"), "OPENAI_URL": upstream.url})


def states(cli: Cli) -> list[str]:
    """The states of the rows in PostgreSQL."""
    return [state for (state,) in query(cli.settings["DATABASE_URL"], "SELECT state FROM usage ORDER BY started_at")]


# A stop signal (X1).


async def test_fifty_open_streams_are_finished(cli: Cli, upstream: Upstream) -> None:
    """After SIGTERM all fifty streams end whole, the agent exits with 0, and every row is recorded."""
    upstream.script = paused = PausedStream()
    async with serving(cli) as (serve, url, token):
        streams = [await begin_stream(url, token) for _ in range(50)]
        await until(lambda: paused.waiting == 50)
        serve.process.send_signal(signal.SIGTERM)
        await serve.logged("received a stop signal")
        paused.open.set()
        answers = await asyncio.gather(*(stream.answer() for stream in streams))
        assert await serve.ended() == 0
    for stream in streams:
        await stream.close()
    assert [(answer.complete, answer.body.endswith(b"data: [DONE]\n\n")) for answer in answers] == [(True, True)] * 50
    assert states(cli) == ["done"] * 50


# A disk that fails (X5).


class Disk:
    """The agent's disk, which can fail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounted = False

    @contextmanager
    def full(self, serve: Serve) -> Iterator[None]:
        """Makes the disk full; if this account may not mount one, files may not grow instead."""
        if not self.mounted:
            with _limit_of(serve.process.pid, resource.RLIMIT_FSIZE, 0):
                yield
            return
        filler = self.folder / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield
        filler.unlink()

    @contextmanager
    def broken(self, serve: Serve) -> Iterator[None]:
        """Lets fsync fail with EIO; where processes cannot be traced, files may not grow instead."""
        options = ["-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO", "-p"]
        if (strace := shutil.which("strace")) is None:
            with self.full(serve):
                yield
            return
        tracer = subprocess.Popen([strace, *options, str(serve.process.pid)], stderr=subprocess.DEVNULL)
        while tracer.poll() is None and not _is_traced(serve.process.pid):
            os.sched_yield()
        if tracer.poll() is not None:  # tracing is not allowed
            with self.full(serve):
                yield
            return
        try:
            yield
        finally:
            tracer.terminate()
            tracer.wait(10)


def _is_traced(pid: int) -> bool:
    """Whether every thread of a process is traced."""
    statuses = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return all("TracerPid:\t0\n" not in text for text in statuses)


@contextmanager
def _limit_of(pid: int, which: int, value: int) -> Iterator[None]:
    """Changes a limit of another process, and restores it at the end."""
    before = resource.prlimit(pid, which)
    resource.prlimit(pid, which, (value, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, which, before)


@pytest.fixture
def disk(tmp_path: Path, cli: Cli) -> Iterator[Disk]:
    """A disk of 2 MB for the agent's data."""
    disk = Disk(tmp_path / "disk")
    disk.folder.mkdir()
    if os.geteuid() == 0:
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=755", "none", str(disk.folder)]
        disk.mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    cli.settings["DATA_DIR"] = str(disk.folder / "data")
    yield disk
    if disk.mounted:
        subprocess.run(["umount", str(disk.folder)], check=True)


FAULTS = ["full", "broken"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_without_a_disk_no_request_is_sent(cli: Cli, upstream: Upstream, disk: Disk, fault: str) -> None:
    """The client gets 503 and the agent is not ready, until the disk works again."""
    async with serving(cli) as (serve, url, token):
        with getattr(disk, fault)(serve):
            answer = await chat(url, token)
            assert (answer.status, answer.error["code"]) == (503, "ledger_unavailable")
            assert (await fetch(f"{url}/readyz")).status == 503
            assert upstream.requests == []
        await until(lambda: fetch(f"{url}/readyz"), lambda answer: answer.status == 200)
        assert (await chat(url, token)).status == 200
        assert await serve.stopped() == 0
    assert states(cli) == ["done"]


@asynccontextmanager
async def in_progress(cli: Cli, upstream: Upstream, disk: Disk, fault: str) -> AsyncIterator[tuple[Serve, Answer]]:
    """Lets the disk fail in the middle of a stream; yields the agent and what the client received."""
    upstream.script = paused = PausedStream()
    async with serving(cli) as (serve, url, token):
        connection = await begin_stream(url, token)
        await until(lambda: paused.waiting)
        with getattr(disk, fault)(serve):
            paused.open.set()
            answer = await connection.answer()
            yield serve, answer
        await connection.close()
        await until(lambda: fetch(f"{url}/readyz"), lambda answer: answer.status == 200)
        assert await serve.stopped() == 0


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_stream_does_not_end_without_a_row(cli: Cli, upstream: Upstream, disk: Disk, fault: str) -> None:
    """The client does not receive the end of the stream, and can see that it is incomplete."""
    async with in_progress(cli, upstream, disk, fault) as (_, answer):
        assert not answer.complete
        assert b"[DONE]" not in answer.body


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_row_that_cannot_be_written_is_logged(cli: Cli, upstream: Upstream, disk: Disk, fault: str) -> None:
    """A CRITICAL line has the figures of the row, in case the disk never works again."""
    async with in_progress(cli, upstream, disk, fault) as (serve, answer):
        line = await serve.logged(" CRITICAL ")
        assert "10 in, 2 cached, 5 out" in line
        assert str(answer.header("x-agent-request-id")) in line


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_row_is_written_when_the_disk_works_again(
    cli: Cli, upstream: Upstream, disk: Disk, fault: str
) -> None:
    """The row is written by itself, and once."""
    async with in_progress(cli, upstream, disk, fault):
        pass
    assert states(cli) == ["done"]


# A file that is not an outbox (X6).


def no_database(path: Path) -> None:
    """Writes another kind of file with that name."""
    path.write_bytes(b"another file " * 1000)


def another_format(path: Path) -> None:
    """Marks the file as that of a newer version."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("spoil", [no_database, another_format])
async def test_an_outbox_that_cannot_be_read_ends_the_start(cli: Cli, spoil: Callable[[Path], None]) -> None:
    """The agent exits with 1 and one line that names the file, which is unchanged."""
    await cli.in_thread("user", "list")
    path = Path(cli.settings["DATA_DIR"]) / "outbox.db"
    spoil(path)
    before = path.read_bytes()
    async with Serve({**cli.settings, "LOG_LEVEL": "error"}) as serve:
        assert await serve.ended() == 1
    assert len(serve.lines) == 1
    assert serve.lines[0].startswith(f"Error: the outbox {path} cannot be used: ")
    assert path.read_bytes() == before


# No open files left (X8).


@contextmanager
def two_hundred(url: str) -> Iterator[None]:
    """Lets two hundred clients try to connect."""
    clients = [socket.socket() for _ in range(200)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", int(url.rsplit(":", 1)[1])))
    try:
        yield
    finally:
        for client in clients:
            client.close()


async def check_idle(serve: Serve) -> None:
    """Asserts that a process uses little processor time for two seconds, and logs at most two lines."""
    lines, used = len(serve.lines), busy(serve.process.pid)
    await asyncio.sleep(2)
    assert busy(serve.process.pid) - used < 0.4
    assert len(serve.lines) - lines <= 2
    assert not any("Traceback" in line for line in serve.lines)


async def test_more_clients_than_files_leave_the_agent_idle(cli: Cli) -> None:
    """With 64 files and 200 clients the agent waits without work; after they leave, others are served."""
    async with serving(cli, with_limit("RLIMIT_NOFILE", 64)) as (serve, url, token):
        with two_hundred(url):
            await serve.logged("connections are open")
            await check_idle(serve)
        assert (await chat(url, token)).status == 200
        assert await serve.stopped() == 0


async def test_without_a_file_left_the_agent_is_idle(cli: Cli) -> None:
    """When all files are in use the agent waits without work; when some are free again, clients are served."""
    async with serving(cli) as (serve, url, token):
        pid = serve.process.pid
        used = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
        with _limit_of(pid, resource.RLIMIT_NOFILE, used), two_hundred(url):
            await serve.logged("no connection can be accepted: Too many open files")
            await check_idle(serve)
        assert (await chat(url, token)).status == 200
        assert await serve.stopped() == 0


# A clock that steps (X9).


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(hours=1), timedelta(days=-40), timedelta(days=40)])
async def test_a_clock_that_steps_does_not_stop_the_shipper(dsn: str, tmp_path: Path, step: timedelta) -> None:
    """Rows from before and after the step are shipped."""
    clock = [datetime.now(UTC)]
    ledger = Ledger(Outbox(tmp_path), Store(dsn), observer=IgnoreRows(), now=lambda: clock[0])
    await ledger.open_outbox()
    await ledger.start_shipping()
    for number in range(3):
        entry = await ledger.open_request(make_intent(number, started_at=clock[0]), PRICE, BOOK)
        clock[0] += step
        await ledger.settle(entry, make_outcome(number))

        await until(lambda: asyncio.to_thread(query, dsn, "SELECT 1 FROM usage"), partial(has_length, number + 1))
    await ledger.close()


def has_length(length: int, rows: list[Any]) -> bool:
    """Whether there are this many rows."""
    return len(rows) == length


# No memory left (X10).


class Starved(Serve):
    """A process without memory, which may fail anywhere."""

    may_log_tracebacks = True


async def test_requests_that_need_too_much_memory_fail_alone(cli: Cli, upstream: Upstream) -> None:
    """Thirty bodies of 5 MB arrive where there is memory for one: after their clients have left, others are served, and
    each request that was sent has a row."""
    big = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 5_000_000}]}).encode()
    async with serving(cli, Starved) as (serve, url, token):
        assert (await chat(url, token)).status == 200
        clients = [await Connection.open(url) for _ in range(30)]
        with _limit_of(serve.process.pid, resource.RLIMIT_AS, virtual(serve.process.pid) + 8_000_000):
            await asyncio.gather(*(send(client, token, big) for client in clients))
            for client in clients:
                await client.close()
            await until(lambda: is_served(url, token), bool)
        assert await serve.stopped() == 0
    assert len(states(cli)) == len(upstream.requests)


async def is_served(url: str, token: str) -> bool:
    """Whether a small request succeeds."""
    try:
        return (await chat(url, token)).status == 200
    except (ConnectionError, asyncio.IncompleteReadError):  # there was no memory for this one
        return False


async def send(client: Connection, token: str, data: bytes) -> None:
    """Sends a request and waits for an answer or the end of the connection."""
    async with asyncio.timeout(SECONDS):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await send_chat(client, token, data)
            await client.answer()


def virtual(pid: int) -> int:
    """The size of a process's address space in bytes, which RLIMIT_AS limits."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_start_without_memory_fails_and_loses_no_row(cli: Cli, upstream: Upstream) -> None:
    """The agent exits with an error; the next start ships the rows that a killed agent had left in the outbox."""
    upstream.script = paused = PausedStream()
    async with serving(cli) as (serve, url, token):
        stream = await begin_stream(url, token)
        await until(lambda: paused.waiting)
        await serve.ended(signal.SIGKILL)
        await stream.close()
    paused.open.set()
    for megabytes in (50, 80):
        async with with_limit("RLIMIT_AS", megabytes * 1024 * 1024)(cli.settings) as starved:
            assert await starved.ended() not in (0, None)
    async with Serve(cli.settings) as serve:
        await serve.ready()
        assert await serve.stopped() == 0
    assert states(cli) == ["unknown"]
