"""The processes of a measurement with several agents: HAProxy in front of them, one PostgreSQL behind them, and its
streaming replica. All of them can be killed. Everything is in one temporary folder and on loopback addresses.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import psycopg2

from benchmarks.fleet import AgentProcess, Fleet, Postgres, free_port
from chatgpt_agent.adapters.key_file import new_key, write_keys
from chatgpt_agent.adapters.outbox import read_state

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
STREAMING = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
WAIT_SECONDS = 60.0

# As docs/operations/scaling.md says, without TLS, and with checks that fit a short run.
_CONFIGURATION = """
defaults
    mode http
    option forwardfor
    option http-no-delay
    option abortonclose
    option redispatch
    retries 3
    timeout connect 5s
    timeout client 610s
    timeout server 610s
    timeout http-request 60s

frontend clients
    bind 127.0.0.1:{port}
    default_backend agents

backend agents
    balance leastconn
    option httpchk GET /readyz
    default-server check inter 200ms fall 1 rise 1
{servers}
"""


class Pair:
    """A primary, and a replica that follows it; `synchronous`: a commit waits for both."""

    def __init__(self, folder: Path, *, synchronous: bool) -> None:
        self._folder = folder
        self._synchronous = synchronous
        self.primary, self.replica = Postgres(folder / "a"), Postgres(folder / "b")

    async def start(self) -> None:
        """Starts both, and waits until the replica follows."""
        await self.primary.start()
        await self.primary.close()
        await asyncio.to_thread(shutil.copytree, self._folder / "a", self._folder / "b", symlinks=True)
        for path in (self._folder / "b", *(self._folder / "b").rglob("*")):
            status = (self._folder / "a" / path.relative_to(self._folder / "b")).lstat()
            os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
        data = self._folder / "b" / "pg"
        (data / "standby.signal").touch()
        self.primary = Postgres(self._folder / "a")
        await self.primary.start()
        with (data / "postgresql.auto.conf").open("a") as file:
            file.write(f"primary_conninfo = 'host={socket_folder(self.primary.dsn)} user=postgres'\n")
        await self.replica.start()
        await _until(lambda: _value(self.replica.dsn, STREAMING) == 1, "the replica does not follow")
        if self._synchronous:
            _value(self.primary.dsn, "ALTER SYSTEM SET synchronous_standby_names = '*'")
            _value(self.primary.dsn, "SELECT pg_reload_conf()")
            _value(self.replica.dsn, "ALTER SYSTEM SET synchronous_standby_names = ''")

    @property
    def dsn(self) -> str:
        """The connection string of whichever of them is the primary."""
        hosts = f"{socket_folder(self.primary.dsn)},{socket_folder(self.replica.dsn)}"
        return f"host={hosts} port=5432,5432 user=postgres dbname=postgres target_session_attrs=read-write"

    async def fail_over(self) -> None:
        """Ends the primary with kill -9, and promotes the replica."""
        for process in _processes(self._folder / "a" / "pg"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        await asyncio.to_thread(_value, self.replica.dsn, "SELECT pg_promote()")

    async def close(self) -> None:
        """Stops both for good."""
        await self.replica.close()
        await self.primary.close()


class Cluster(Fleet):
    """Several agents behind HAProxy at `url`. `agent` is the first of them; commands are run beside it."""

    def __init__(self, openai_url: str, *, agents: int = 2, synchronous: bool = False, **settings: str) -> None:
        # The name is short because a socket's path is limited, and the folder open because PostgreSQL, started by root,
        # runs as another account.
        self.folder = Path(tempfile.mkdtemp(prefix="agt"))
        self.folder.chmod(0o755)
        self.pair = Pair(self.folder, synchronous=synchronous)
        self._openai_url = openai_url
        self._count = agents
        self._settings = settings
        self._haproxy: asyncio.subprocess.Process | None = None
        self.agents: list[AgentProcess] = []
        self.tokens: list[str] = []
        self.url = ""

    async def __aenter__(self) -> "Cluster":
        try:
            await self.pair.start()
            self.agents = [self._make_agent(number) for number in range(self._count)]
            self.agent = self.agents[0]
            await self._start_haproxy()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for agent in self.agents:
                if agent.log.exists():
                    error.add_note(agent.log_tail())
        await self._close()

    async def start(self) -> None:
        """Starts all agents, and waits until each is ready and HAProxy knows it."""
        for agent in self.agents:
            await agent.start()
        for agent in self.agents:
            await agent.until_ready()
        async with asyncio.timeout(WAIT_SECONDS):
            while not await self._is_open():  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.05)

    def all_waiting(self) -> list[tuple[int, int]]:
        """Returns the number of intents and of rows in each agent's outbox."""
        states = [read_state(Path(agent.settings["DATA_DIR"])) for agent in self.agents]
        return [(state.intents, state.rows) if state else (0, 0) for state in states]

    async def until_shipped(self, seconds: float) -> bool:
        """Waits until all outboxes are empty. Returns False if that takes longer than `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(map(any, await asyncio.to_thread(self.all_waiting))):  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.02)
                return True
        return False

    def _make_agent(self, number: int) -> AgentProcess:
        folder = self.folder / f"agent{number}"
        folder.mkdir()
        key = self.folder / "master.key"
        if not key.exists():
            write_keys(key, [new_key()])
        settings = {
            "OPENAI_URL": self._openai_url,
            "DATABASE_URL": self.pair.dsn,
            "DATA_DIR": str(folder / "data"),
            "MASTER_KEY_FILE": str(key),
            "BIND_ADDRESS": "127.0.0.1",
            "PORT": str(free_port()),
            "ADMIN_PORT": "0",
            "TRUSTED_PROXIES": "127.0.0.1",
            **{name.upper(): value for name, value in self._settings.items()},
        }
        return AgentProcess(folder, settings)

    async def _start_haproxy(self) -> None:
        assert HAPROXY is not None, "HAProxy is not installed"
        port = free_port()
        servers = "\n".join(
            f"    server agent{number} 127.0.0.1:{agent.settings['PORT']}" for number, agent in enumerate(self.agents)
        )
        configuration = self.folder / "haproxy.cfg"
        configuration.write_text(_CONFIGURATION.format(port=port, servers=servers))
        with (self.folder / "haproxy.log").open("wb") as log:
            self._haproxy = await asyncio.create_subprocess_exec(
                HAPROXY, "-db", "-f", str(configuration), stdout=log, stderr=log
            )
        self.url = f"http://127.0.0.1:{port}"

    async def _is_open(self) -> bool:
        """Whether a request gets through HAProxy."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(self.url.rpartition(":")[2]))
        except OSError:
            return False
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")
        status = await reader.readline()
        writer.close()
        return b" 200 " in status

    async def _close(self) -> None:
        try:
            for agent in self.agents:
                if agent.alive:
                    await agent.end(signal.SIGKILL)
            if self._haproxy is not None and self._haproxy.returncode is None:
                self._haproxy.kill()
                await self._haproxy.wait()
            await self.pair.close()
        finally:
            shutil.rmtree(self.folder)


def socket_folder(dsn: str) -> str:
    """Returns the folder of a private server's socket, from its connection string."""
    return dsn.split("'")[1]


def _processes(data: Path) -> list[int]:
    pid = int((data / "postmaster.pid").read_text().splitlines()[0])
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _value(dsn: str, sql: str) -> object:
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(sql)
        return next(iter(cursor.fetchall()[0])) if cursor.description else None


async def _until(is_true: Callable[[], bool], otherwise: str) -> None:
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await asyncio.to_thread(is_true):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise RuntimeError(otherwise) from None
