"""The processes of a measurement: a PostgreSQL that syncs to its disk, and an agent; both can be killed and come back.

Everything is in one temporary folder and on loopback addresses, and is gone when the `async with` ends.
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

import msgspec

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres

START_SECONDS = 60.0
PROGRAM = [sys.executable, "-m", "chatgpt_agent"]
VARIABLES = {"CHATGPT_AGENT_CONFIG", *(field.name.upper() for field in msgspec.structs.fields(Config))}
UPSTREAM_KEY = b"sk-made-up-key-of-a-benchmark"


class Postgres:
    """The private server of a folder, with PostgreSQL's own settings: a commit is on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uses = contextlib.ExitStack()  # of the server: the last to end stops it
        self.dsn = ""

    async def start(self) -> None:
        """Starts it, for the first time or again; returns when it accepts connections."""
        self.dsn = await asyncio.to_thread(self._uses.enter_context, EmbeddedPostgres(self._folder))

    async def stop_immediately(self) -> None:
        """Stops it as `pg_ctl stop -m immediate` does: no checkpoint, and the next start replays its log."""
        pid_file = self._folder / "pg" / "postmaster.pid"
        os.kill(int(pid_file.read_text().split("\n")[0]), signal.SIGQUIT)
        async with asyncio.timeout(START_SECONDS):
            while pid_file.exists():  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Stops it for good."""
        await asyncio.to_thread(self._uses.close)


class AgentProcess:
    """`chatgpt-agent serve` as a process. Its log continues in one file over all starts."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.log = folder / "agent.log"
        self.settings = settings
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.settings['PORT']}"

    @property
    def pid(self) -> int:
        """The id of the process that was started last."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Starts the process; it listens some time later."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *PROGRAM, "serve", stderr=log, env=environ_with(self.settings)
            )

    async def until_ready(self) -> None:
        """Returns when it may serve. Raises TimeoutError."""
        async with asyncio.timeout(START_SECONDS):
            while not await asyncio.to_thread(_says_ready, self.url):
                if not self.alive:
                    raise RuntimeError(f"the agent has ended by itself:\n{self.last_words()}")
                await asyncio.sleep(0.05)

    async def end(self, number: signal.Signals) -> int:
        """Sends a signal, and returns the exit code."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        async with asyncio.timeout(START_SECONDS):
            return await self._process.wait()

    def last_words(self, lines: int = 40) -> str:
        """The end of its log, without the lines of single requests."""
        text = [line for line in self.log.read_text("utf-8", "replace").splitlines() if "/v1/chat/" not in line]
        return "\n".join(text[-lines:])


class Fleet:
    """PostgreSQL, and an agent between clients and the upstream at `openai_url`. `tokens` are its users'."""

    def __init__(self, openai_url: str, *, log_level: str = "info", **settings: str) -> None:
        # A short name, because a socket's path is; and open, because as root PostgreSQL runs as another account.
        self.folder = Path(tempfile.mkdtemp(prefix="cga"))
        self.folder.chmod(0o755)
        self.postgres = Postgres(self.folder / "p")
        self._settings = {
            "OPENAI_URL": openai_url,
            "DATA_DIR": str(self.folder / "data"),
            "BIND_ADDRESS": "127.0.0.1",
            "PORT": str(free_port()),
            "ADMIN_PORT": "0",
            "LOG_LEVEL": log_level,
        } | {name.upper(): value for name, value in settings.items()}
        self.tokens: list[str] = []

    async def __aenter__(self) -> "Fleet":
        task = asyncio.current_task()
        assert task is not None
        # So that what was started ends, and the folder goes, also then.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            await self.postgres.start()
        except BaseException:
            shutil.rmtree(self.folder)
            raise
        self.agent = AgentProcess(self.folder, self._settings | {"DATABASE_URL": self.postgres.dsn})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.agent.log.exists():
            error.add_note(self.agent.last_words())
        try:
            if self.agent.alive:
                await self.agent.end(signal.SIGKILL)
            await self.postgres.close()
        finally:
            shutil.rmtree(self.folder)

    async def command(self, *args: str, stdin: bytes = b"") -> str:
        """Runs a command of the program; what it prints. Raises RuntimeError where it fails."""
        done = await asyncio.to_thread(
            subprocess.run,
            [*PROGRAM, *args],
            input=stdin,
            env=environ_with(self.agent.settings),
            capture_output=True,
            timeout=START_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(args)}: {done.stderr.decode()}{done.stdout.decode()}")
        return done.stdout.decode().strip()

    async def set_up(self, users: int, prices: dict[str, tuple[str, str, str]]) -> None:
        """Users with a token each, and the prices of models: input, cached input, output."""
        await self.command("migrate")
        for model, (inputs, cached, outputs) in prices.items():
            await self.command("price", "set", model, "--input", inputs, "--cached-input", cached, "--output", outputs)
        for number in range(users):
            args = ("user", "add", f"user{number}", "--openai-key-stdin")
            self.tokens.append(await self.command(*args, stdin=UPSTREAM_KEY))

    def waiting(self) -> tuple[int, int]:
        """Intents and rows in the agent's outbox."""
        path = self.folder / "data" / "outbox.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as db:
            [intents], [rows] = db.execute("SELECT count(*) FROM intents UNION ALL SELECT count(*) FROM rows")
        return int(intents), int(rows)

    async def until_shipped(self, seconds: float) -> bool:
        """Waits until the outbox is empty; whether it became so in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await asyncio.to_thread(self.waiting) != (0, 0):  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(0.02)
                return True
        return False


def environ_with(settings: dict[str, str]) -> dict[str, str]:
    """This process's environment with these settings of the program and no others."""
    return {name: value for name, value in os.environ.items() if name not in VARIABLES} | settings


def free_port() -> int:
    """Returns an unused port below those of outgoing connections, of which one could
    take it while the agent is down."""
    for port in random.sample(range(10_000, 30_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


def _says_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
