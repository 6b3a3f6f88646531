"""A PostgreSQL that only one module uses, and that its tests may stop, freeze and starve."""

import asyncio
import contextlib
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from tests.support.agent import Agent
from tests.support.client import Answer
from tests.support.database import query
from tests.support.postgres_server import make_template, server_folder
from tests.support.tcp_relay import Link
from tests.support.waiting import SECONDS

# No fsync: a server that is killed loses nothing that it wrote, because the operating system has it.
OPTIONS = "-c fsync=off -c max_connections=50 -c autovacuum=off"


class Postgres:
    """A private server. Faults end with the `with` block that causes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._uses = ExitStack()
        self.dsn = ""

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.folder / "pg"

    @property
    def socket(self) -> Path:
        """Its socket."""
        return self.socket_folder / ".s.PGSQL.5432"

    @property
    def socket_folder(self) -> Path:
        """The folder of its socket: the host of its connection string."""
        return Path(self.dsn.split("'")[1])

    def start(self) -> None:
        """Starts it, or starts it again after a crash, when it replays its log."""
        self.dsn = self._uses.enter_context(EmbeddedPostgres(self.folder, OPTIONS))

    def stop(self) -> None:
        """Stops it for good."""
        self._uses.close()

    def crash(self) -> None:
        """Ends it at once, without a checkpoint (an "immediate shutdown")."""
        os.kill(self.postmaster, signal.SIGQUIT)
        deadline = time.monotonic() + SECONDS
        while (self.data / "postmaster.pid").exists():
            assert time.monotonic() < deadline, "PostgreSQL does not end"
            time.sleep(0.01)

    def kill(self) -> None:
        """Ends all of its processes with kill -9."""
        processes = (self.postmaster, *self.children())
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        deadline = time.monotonic() + SECONDS
        while any(is_alive(process) for process in processes):
            assert time.monotonic() < deadline, "PostgreSQL does not end"
            time.sleep(0.01)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Lets it crash, and starts it again at the end."""
        self.crash()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stops all of its processes: connections stay open, and no answer comes."""
        stopped = []
        try:
            # The postmaster first, so that it starts no further process meanwhile. One of the others may just end.
            for process in (self.postmaster, *self.children()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGSTOP)
                    stopped.append(process)
            yield
        finally:
            for process in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

    @contextmanager
    def files_of_at_most(self, size: int) -> Iterator[None]:
        """Limits the size of its files in bytes, which acts like a full disk. It restarts to inherit the limit, because
        in a container even root may not set the limits of another process."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        query(self.dsn, "CHECKPOINT")  # so that the start has little to write again, within the limit
        self.crash()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            self.start()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        try:
            yield
        finally:
            with self.down():
                pass

    @property
    def postmaster(self) -> int:
        """The id of its first process."""
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def children(self) -> list[int]:
        """The ids of its other processes."""
        pid = self.postmaster
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(process: int) -> bool:
    """Whether a process runs: it exists, and is not merely unreaped."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Load:
    """Clients that each send one request after the other until the block ends. `answers` are the answers so far."""

    def __init__(self, agent: Agent, clients: int = 4) -> None:
        self._agent = agent
        self._clients = clients
        self._running = True
        self.answers: list[Answer] = []
        # Seconds; the longest time in which the event loop, also the agent's, waited for anything but events. Time in
        # which it computed, or waited for a processor, does not count: a slow or busy machine takes more of that.
        self.lag = 0.0

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._send_requests(number)) for number in range(self._clients)]
        self._tasks.append(asyncio.create_task(self._measure_lag()))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running = False
        await asyncio.gather(*self._tasks)

    async def more(self, count: int) -> None:
        """Waits for a number of further answers."""
        expected = len(self.answers) + count
        await self._agent.until(lambda: len(self.answers) >= expected)

    async def _send_requests(self, number: int) -> None:
        while self._running:
            self.answers.append(await self._agent.chat(f"client={number}", stream=number % 2 == 0))

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while self._running:
            before = loop.time() - runnable()
            await asyncio.sleep(0.01)
            self.lag = max(self.lag, loop.time() - runnable() - before - 0.01)


def runnable() -> float:
    """Seconds for which this thread has run or waited for a processor
    (https://docs.kernel.org/scheduler/sched-stats.html); without these statistics, for which it has run."""
    try:
        run, wait, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except FileNotFoundError:
        return time.thread_time()
    return (int(run) + int(wait)) / 1e9


@contextmanager
def private_server() -> Iterator[Postgres]:
    """Runs a server in a folder of its own."""
    with server_folder() as folder:
        server = Postgres(folder / "p")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """The module's own server, with a database to copy."""
    with private_server() as server:
        make_template(server.dsn)
        yield server


@pytest.fixture
def link(io_loop: IOLoop, server: Postgres) -> Iterator[Link]:
    """A relay on a loopback address, to the module's server."""
    link = Link(server.socket)
    io_loop.run_sync(link.start)
    yield link
    io_loop.run_sync(link.stop)


@pytest.fixture
def through(link: Link, dsn: str) -> Callable[[], str]:
    """The connection string of the test's database through the relay."""
    name = dsn.split("dbname=")[1]
    return lambda: f"host=127.0.0.1 port={link.port} user=postgres dbname={name} sslmode=disable"
