"""The program in processes of its own: commands, and an agent that serves."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

from tests.support.client import fetch


async def run_command(*args: str, environment: dict[str, str], stdin: bytes = b"", code: int = 0) -> str:
    """Runs a command and returns its standard output; it must end with this exit code."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chatgpt_agent", *args, env=_environment(environment),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, errors = await process.communicate(stdin)
    assert process.returncode == code, errors.decode()
    return out.decode()


class Serving:
    """`chatgpt-agent serve` with settings from the environment; its standard error goes to a file."""

    def __init__(self, log: Path, **settings: object) -> None:
        self.log = log
        self.environment = {"PORT": "0", "ADMIN_PORT": "0", "BIND_ADDRESS": "127.0.0.1"}
        self.environment |= {name.upper(): str(value) for name, value in settings.items()}
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> "Serving":
        """Starts the process and waits until it is ready."""
        with self.log.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "chatgpt_agent", "serve", env=_environment(self.environment), stderr=log
            )
        async with asyncio.timeout(20):
            while not (await self._is_ready()):
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.02)
        return self

    async def _is_ready(self) -> bool:
        return "listens on" in self.log.read_text() and (await fetch(self.url + "/readyz")).status == 200

    @property
    def url(self) -> str:
        """The URL of the API, from the log."""
        match = re.search(r"listens on (http://\S+)", self.log.read_text())
        assert match is not None
        return match[1]

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(20):
            return await self.process.wait()


def _environment(settings: dict[str, str]) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**inherited, **settings}
