"""Runs commands: in this process, which is fast, and in one of their own, which is what people do."""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import click
import msgspec
from click.testing import CliRunner, Result

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.cli.main import main

KEY = "sk-made-up-key-0123456789"
PROGRAM = [sys.executable, "-m", "chatgpt_agent"]
VARIABLES = ("CHATGPT_AGENT_CONFIG", *(field.name.upper() for field in msgspec.structs.fields(Config)))


class Cli:
    """The program as it is called with these settings in its environment."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.settings = settings

    def run(self, *args: str, stdin: str | bytes = "", settings: dict[str, str] | None = None) -> Result:
        """Runs a command in this process; raises what it would have died of."""
        environ = dict.fromkeys(VARIABLES) | self.settings | (settings or {})
        with logging_as_before():
            result = CliRunner().invoke(main, args, input=stdin, env=environ)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def ok(self, *args: str, stdin: str | bytes = "") -> str:
        """What a command that succeeds prints to standard output."""
        result = self.run(*args, stdin=stdin)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    def refused(
        self, *args: str, code: int = 1, stdin: str | bytes = "", settings: dict[str, str] | None = None
    ) -> list[str]:
        """The lines on standard error of a command that does not succeed, and prints nothing else."""
        result = self.run(*args, stdin=stdin, settings=settings)
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        return result.stderr.splitlines()

    def add_user(self, name: str = "alice", key: str = KEY) -> str:
        """Adds a user and returns the token."""
        return self.ok("user", "add", name, "--openai-key-stdin", stdin=key).strip()

    def process(self, *args: str | bytes, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """Runs a command in a process of its own."""
        return subprocess.run(
            [*PROGRAM, *args],
            input=stdin,
            env=environ_with(self.settings),
            capture_output=True,
            timeout=60,
            check=False,
        )

    async def command(self, *args: str, stdin: bytes = b"") -> str:
        """Runs a command that succeeds in a process of its own, beside this loop; what it prints."""
        process = await asyncio.create_subprocess_exec(
            *PROGRAM,
            *args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environ_with(self.settings),
        )
        out, errors = await process.communicate(stdin)
        assert process.returncode == 0, errors
        return out.decode()


def environ_with(settings: dict[str, str]) -> dict[str, str]:
    """This process's environment with these settings and no others."""
    return {name: value for name, value in os.environ.items() if name not in VARIABLES} | settings


@contextlib.contextmanager
def logging_as_before() -> Iterator[None]:
    """Undoes what a command does to logging, for which it thinks it is alone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def leaf_commands() -> dict[str, click.Command]:
    """Every command that does something, by the args that call it."""
    return dict(_leaves(main, ()))


def _leaves(group: click.Group, args: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _leaves(command, (*args, name))
        else:
            yield " ".join([*args, name]), command
