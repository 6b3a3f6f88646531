"""The processes of a measurement: a PostgreSQL that syncs to its disk, and an agent. Both can be killed and restarted.

Everything is in one temporary folder and on loopback addresses, and is removed when the `async with` ends.
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
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
from chatgpt_agent.adapters.outbox import read_state

START_SECONDS = 60.0
PROGRAM = [sys.executable, "-m", "chatgpt_agent"]
VARIABLES = {"CHATGPT_AGENT_CONFIG", *(field.name.upper() for field in msgspec.structs.fields(Config))}
UPSTREAM_KEY = b"sk-made-up-key-of-a-benchmark"


class Postgres:
    """The private server in a folder, with PostgreSQL's default settings: a commit is on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uses = contextlib.ExitStack()  # of the server; it stops after the last one
        self.dsn = ""

    async def start(self) -> None:
        """Starts or restarts it, and waits until it accepts connections."""
        self.dsn = await asyncio.to_thread(self._uses.enter_context, EmbeddedPostgres(self._folder))

    async def stop_immediately(self) -> None:
        """Stops it as `pg_ctl stop -m immediate` does: without a checkpoint, so that the next start replays the log."""
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
        """The URL on which it listens."""
        return f"http://127.0.0.1:{self.settings['PORT']}"

    @property
    def pid(self) -> int:
        """The id of the last started process."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Starts the process, and does not wait until it listens."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *PROGRAM, "serve", stderr=log, env=environ_with(self.settings)
            )

    async def until_ready(self) -> None:
        """Waits until it is ready. Raises TimeoutError."""
        async with asyncio.timeout(START_SECONDS):
            while not await asyncio.to_thread(_is_ready, self.url):
                if not self.alive:
                    raise RuntimeError(f"the agent ended unexpectedly:\n{self.log_tail()}")
                await asyncio.sleep(0.05)

    async def end(self, number: signal.Signals) -> int:
        """Sends a signal, and returns the exit code."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        async with asyncio.timeout(START_SECONDS):
            return await self._process.wait()

    def log_tail(self, lines: int = 40) -> str:
        """Returns the end of its log, without the lines of requests."""
        text = [line for line in self.log.read_text("utf-8", "replace").splitlines() if "/v1/chat/" not in line]
        return "\n".join(text[-lines:])


class Fleet:
    """PostgreSQL, and an agent between clients and the upstream at `openai_url`. `tokens`: one of each user."""

    def __init__(self, openai_url: str, *, log_level: str = "info", **settings: str) -> None:
        # The name is short because a socket's path is limited. The folder is open because PostgreSQL, started by root,
        # runs as another account.
        self.folder = Path(tempfile.mkdtemp(prefix="agt"))
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
        # SIGTERM ends the processes and removes the folder, too.
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
            error.add_note(self.agent.log_tail())
        try:
            if self.agent.alive:
                await self.agent.end(signal.SIGKILL)
            await self.postgres.close()
        finally:
            shutil.rmtree(self.folder)

    async def command(self, *args: str, stdin: bytes = b"") -> str:
        """Runs a command of the program and returns its output. Raises RuntimeError if it fails."""
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
        """Adds users with a token each, and the prices of models: input, cached input, output."""
        await self.command("migrate")
        for model, (inputs, cached, outputs) in prices.items():
            await self.command("price", "set", model, "--input", inputs, "--cached-input", cached, "--output", outputs)
        for number in range(users):
            args = ("user", "add", f"user{number}", "--openai-key-stdin")
            self.tokens.append(await self.command(*args, stdin=UPSTREAM_KEY))

    def waiting(self) -> tuple[int, int]:
        """Returns the number of intents in the agent's outbox, and of rows that are to be shipped."""
        state = read_state(self.folder / "data")
        assert state is not None, "there is no outbox"
        return state.intents, state.rows

    async def until_shipped(self, seconds: float) -> bool:
        """Waits until the outbox is empty. Returns False if that takes longer than `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await asyncio.to_thread(self.waiting) != (0, 0):  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(0.02)
                return True
        return False


def environ_with(settings: dict[str, str]) -> dict[str, str]:
    """Returns the environment of this process with only these settings of the program."""
    return {name: value for name, value in os.environ.items() if name not in VARIABLES} | settings


def free_port() -> int:
    """Returns an unused port below those of outgoing connections, one of which could take it while the agent is
    down."""
    for port in random.sample(range(10_000, 30_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
