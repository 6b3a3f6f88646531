"""The agent where the machine fails it: no files, no disk, no memory, no time left."""

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
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.runtime.ledger import Ledger
from tests.cli.commands import Cli
from tests.cli.serving import Serve, begin_stream, chat, until
from tests.faults.processes import Authenticator, ask, busy, serving, with_limit
from tests.support.client import Answer, Connection, fetch
from tests.support.database import query
from tests.support.factories import BOOK, PRICE, make_intent, make_outcome
from tests.support.observers import IgnoreRows
from tests.support.upstream import Upstream


@pytest.fixture
def cli(dsn: str, upstream: Upstream, tmp_path: Path) -> Cli:
    """The program on a database of the test's own, with a fake OpenAI behind it."""
    return Cli({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path / "data"), "OPENAI_URL": upstream.url})


def states(cli: Cli) -> list[str]:
    """The states of the rows in PostgreSQL."""
    return [state for (state,) in query(cli.settings["DATABASE_URL"], "SELECT state FROM usage ORDER BY started_at")]


# Asked to stop (X1).


async def test_fifty_open_streams_are_finished(cli: Cli, upstream: Upstream) -> None:
    """SIGTERM cuts none of them; the agent ends with 0 and every row is there."""
    upstream.script = gate = Authenticator()
    async with serving(cli) as (serve, url, token):
        streams = [await begin_stream(url, token) for _ in range(50)]
        await until(lambda: asyncio.sleep(0, gate.waiting), lambda waiting: waiting == 50)
        serve.process.send_signal(signal.SIGTERM)
        await serve.logged("received a stop signal")
        gate.open.set()
        answers = await asyncio.gather(*(stream.answer() for stream in streams))
        assert await serve.ended() == 0
    for stream in streams:
        await stream.close()
    assert [(answer.complete, answer.body.endswith(b"data: [DONE]\n\n")) for answer in answers] == [(True, True)] * 50
    assert states(cli) == ["done"] * 50


# A disk that refuses (X5).


class Disk:
    """The agent's disk, and how it is made to refuse."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounted = False

    @contextmanager
    def full(self, serve: Serve) -> Iterator[None]:
        """Nothing more can be written: the disk has no room, or, where this account may not mount one, files may not
        grow."""
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
        """What is written does not get to the disk: EIO, or, where nobody can be traced, files may not grow."""
        words = ["-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO", "-p"]
        if (strace := shutil.which("strace")) is None:
            with self.full(serve):
                yield
            return
        tracer = subprocess.Popen([strace, *words, str(serve.process.pid)], stderr=subprocess.DEVNULL)
        while tracer.poll() is None and not _is_traced(serve.process.pid):
            os.sched_yield()
        if tracer.poll() is not None:  # not allowed
            with self.full(serve):
                yield
            return
        try:
            yield
        finally:
            tracer.terminate()
            tracer.wait(10)


def _is_traced(pid: int) -> bool:
    """Whether every thread of a process is."""
    found = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return all("TracerPid:\t0\n" not in text for text in found)


@contextmanager
def _limit_of(pid: int, which: int, value: int) -> Iterator[None]:
    """Another process's limit, lowered and put back."""
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
async def test_without_a_disk_nothing_is_sent(cli: Cli, upstream: Upstream, disk: Disk, fault: str) -> None:
    """503, and OpenAI is not asked; the agent is not ready, and is again by itself."""
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
async def in_flight(cli: Cli, upstream: Upstream, disk: Disk, fault: str) -> AsyncIterator[tuple[Serve, Answer]]:
    """An agent whose disk fails in the middle of a stream, and what the client got of it."""
    upstream.script = gate = Authenticator()
    async with serving(cli) as (serve, url, token):
        connection = await begin_stream(url, token)
        await until(lambda: asyncio.sleep(0, gate.waiting), bool)
        with getattr(disk, fault)(serve):
            gate.open.set()
            answer = await connection.answer()
            yield serve, answer
        await connection.close()
        await until(lambda: fetch(f"{url}/readyz"), lambda answer: answer.status == 200)
        assert await serve.stopped() == 0


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_runs_is_not_ended_without_a_row(cli: Cli, upstream: Upstream, disk: Disk, fault: str) -> None:
    """The client does not get the end, and sees that it does not."""
    async with in_flight(cli, upstream, disk, fault) as (_, answer):
        assert not answer.complete
        assert b"[DONE]" not in answer.body


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_numbers_are_in_the_log(cli: Cli, upstream: Upstream, disk: Disk, fault: str) -> None:
    """If the disk never comes back, a CRITICAL line is the record."""
    async with in_flight(cli, upstream, disk, fault) as (serve, answer):
        line = await serve.logged(" CRITICAL ")
        assert "10 in, 2 cached, 5 out" in line
        assert str(answer.header("x-agent-request-id")) in line


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_row_is_written_when_the_disk_is_well(cli: Cli, upstream: Upstream, disk: Disk, fault: str) -> None:
    """By itself, once."""
    async with in_flight(cli, upstream, disk, fault):
        pass
    assert states(cli) == ["done"]


# An outbox that is not ours (X6).


def no_database(path: Path) -> None:
    """Something else under that name."""
    path.write_bytes(b"something else " * 1000)


def another_format(path: Path) -> None:
    """From a newer program."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("spoil", [no_database, another_format])
async def test_an_outbox_that_cannot_be_read_ends_the_start(cli: Cli, spoil: object) -> None:
    """One line that names the file, exit code 1, and the file is as it was."""
    await cli.command("user", "list")
    path = Path(cli.settings["DATA_DIR"]) / "outbox.db"
    spoil(path)  # type: ignore[operator]
    before = path.read_bytes()
    async with Serve({**cli.settings, "LOG_LEVEL": "error"}) as serve:
        assert await serve.ended() == 1
    assert len(serve.lines) == 1
    assert serve.lines[0].startswith(f"Error: the outbox {path} cannot be used: ")
    assert path.read_bytes() == before


# No file left (X8).


@contextmanager
def two_hundred(url: str) -> Iterator[None]:
    """Clients that connect, whether there is room for them or not."""
    clients = [socket.socket() for _ in range(200)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", int(url.rsplit(":", 1)[1])))
    try:
        yield
    finally:
        for client in clients:
            client.close()


async def rests(serve: Serve) -> None:
    """Asserts that a process does next to nothing for two seconds, and hardly says why."""
    lines, used = len(serve.lines), busy(serve.process.pid)
    await asyncio.sleep(2)
    assert busy(serve.process.pid) - used < 0.4
    assert len(serve.lines) - lines <= 2
    assert not any("Traceback" in line for line in serve.lines)


async def test_few_files_are_shared_out(cli: Cli) -> None:
    """With 64 files and 200 clients it rests; when they leave, others are served."""
    async with serving(cli, with_limit("RLIMIT_NOFILE", 64)) as (serve, url, token):
        with two_hundred(url):
            await serve.logged("connections are open")
            await rests(serve)
        assert (await chat(url, token)).status == 200
        assert await serve.stopped() == 0


async def test_without_a_file_left_it_rests(cli: Cli) -> None:
    """Whoever has taken the files; when there are some again, others are served."""
    async with serving(cli) as (serve, url, token):
        pid = serve.process.pid
        taken = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
        with _limit_of(pid, resource.RLIMIT_NOFILE, taken), two_hundred(url):
            await serve.logged("no connection can be accepted: Too many open files")
            await rests(serve)
        assert (await chat(url, token)).status == 200
        assert await serve.stopped() == 0


# A clock that steps (X9).


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(hours=1), timedelta(days=-40), timedelta(days=40)])
async def test_a_clock_that_steps_does_not_stop_the_shipper(dsn: str, tmp_path: Path, step: timedelta) -> None:
    """Rows go on being shipped, those from before the step and those after it."""
    clock = [datetime.now(UTC)]
    ledger = Ledger(Outbox(tmp_path), Store(dsn), observer=IgnoreRows(), now=lambda: clock[0])
    await ledger.open_outbox()
    await ledger.start_shipping()
    for number in range(3):
        entry = await ledger.open(make_intent(number, started_at=clock[0]), PRICE, BOOK)
        clock[0] += step
        await ledger.settle(entry, make_outcome(number))
        count = number + 1
        await until(lambda: asyncio.to_thread(query, dsn, "SELECT 1 FROM usage"), lambda rows, n=count: len(rows) == n)
    await ledger.close()


# No memory left (X10).


async def test_what_needs_too_much_memory_is_cut_off_alone(cli: Cli, upstream: Upstream) -> None:
    """Thirty bodies of 5 MB where there is room for one: others are served when these are gone, which is soon after
    their clients are, and nothing is sent that has no row."""
    big = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 5_000_000}]}).encode()
    async with serving(cli) as (serve, url, token):
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
    """Whether a small request is answered."""
    try:
        return (await chat(url, token)).status == 200
    except (ConnectionError, asyncio.IncompleteReadError):  # there was no memory for this one
        return False


async def send(client: Connection, token: str, data: bytes) -> None:
    """Sends a request and waits for an answer, or for the end."""
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await ask(client, token, data)
            await client.answer()


def virtual(pid: int) -> int:
    """The bytes of addresses that a process has: what RLIMIT_AS counts."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_start_without_memory_fails_and_harms_nothing(cli: Cli, upstream: Upstream) -> None:
    """Its exit code says so; what a killed agent had left in the outbox is shipped by the next good start."""
    upstream.script = gate = Authenticator()
    async with serving(cli) as (serve, url, token):
        stream = await begin_stream(url, token)
        await until(lambda: asyncio.sleep(0, gate.waiting), bool)
        await serve.ended(signal.SIGKILL)
        await stream.close()
    gate.open.set()
    for megabytes in (50, 80):
        async with with_limit("RLIMIT_AS", megabytes * 1024 * 1024)(cli.settings) as starved:
            assert await starved.ended() not in (0, None)
    async with Serve(cli.settings) as serve:
        await serve.ready()
        assert await serve.stopped() == 0
    assert states(cli) == ["unknown"]
