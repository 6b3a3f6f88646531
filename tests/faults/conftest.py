"""A PostgreSQL that a test may stop, freeze and starve, which no other module uses."""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from tests.support.agent import Agent
from tests.support.client import Answer
from tests.support.database import query
from tests.support.postgres_server import make_template, server_folder
from tests.support.tcp_relay import Link

# A killed server may lose nothing that it said it had: what it wrote is in the system's hands, which nobody kills.
OPTIONS = "-c fsync=off -c max_connections=50 -c autovacuum=off"


class Postgres:
    """A private server. What a test does to it ends with the `with` that it stands in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = EmbeddedPostgres(folder, OPTIONS)
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
        """Where its socket is: the host of its connection string."""
        return Path(self.dsn.split("'")[1])

    def start(self) -> None:
        """Starts it."""
        self.dsn = self.server.__enter__()

    def stop(self) -> None:
        """Stops it for good."""
        self.server.__exit__(None, None, None)

    def crash(self) -> None:
        """It ends as where it is killed."""
        assert self.server._run(self.data, "pg_ctl", "stop", "-m", "immediate", "-w") == 0, self.server._last_words

    def restart(self) -> None:
        """It comes back, with its log to replay."""
        self.server._start()

    @contextmanager
    def down(self) -> Iterator[None]:
        """It has crashed, and comes back."""
        self.crash()
        try:
            yield
        finally:
            self.restart()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """None of its processes runs: connections stay, and nothing comes."""
        stopped = []
        # The first one first, which makes the others: none that is made meanwhile is missed.
        for process in (self.postmaster, *self.children()):
            os.kill(process, signal.SIGSTOP)
            stopped.append(process)
        try:
            yield
        finally:
            for process in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

    @contextmanager
    def files_of_at_most(self, size: int) -> Iterator[None]:
        """None of its files can grow beyond so many bytes, as on a disk that is full. It restarts for that, because not
        every root may set another process's limits."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        query(self.dsn, "CHECKPOINT")  # what its start would have to write again might be beyond
        self.crash()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            self.restart()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        try:
            yield
        finally:
            with self.down():
                pass

    @property
    def postmaster(self) -> int:
        """The number of its first process."""
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def children(self) -> list[int]:
        """The numbers of the others."""
        number = self.postmaster
        return [int(word) for word in Path(f"/proc/{number}/task/{number}/children").read_text().split()]


class Load:
    """Clients that ask, one request after the other, until they are told to stop. `answers` are what they got."""

    def __init__(self, agent: Agent, clients: int = 4) -> None:
        self._agent = agent
        self._clients = clients
        self.answers: list[Answer] = []
        self.lag = 0.0  # the longest that the event loop, which is the agent's too, stood still, in seconds

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(self._clients)]
        self._tasks.append(asyncio.create_task(self._watch()))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._go_on = False
        await asyncio.gather(*self._tasks)

    async def more(self, count: int) -> None:
        """Waits for as many answers more."""
        wanted = len(self.answers) + count
        await self._agent.until(lambda: len(self.answers) >= wanted, seconds=20)

    _go_on = True

    async def _ask(self, number: int) -> None:
        while self._go_on:
            self.answers.append(await self._agent.chat(f"client={number}", stream=number % 2 == 0))

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while self._go_on:
            before = loop.time()
            await asyncio.sleep(0.01)
            self.lag = max(self.lag, loop.time() - before - 0.01)


@contextmanager
def private_server() -> Iterator[Postgres]:
    """A server of its own, in a folder of its own."""
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
    """A wire on a loopback address, to that server."""
    link = Link(server.socket)
    io_loop.run_sync(link.start)
    yield link
    io_loop.run_sync(link.stop)


@pytest.fixture
def through(link: Link, dsn: str) -> Callable[[], str]:
    """The connection string of the test's own database, in that server, by way of the wire."""
    name = dsn.split("dbname=")[1]
    return lambda: f"host=127.0.0.1 port={link.port} user=postgres dbname={name} sslmode=disable"
