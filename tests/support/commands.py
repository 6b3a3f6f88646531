"""Runs commands, in this process or in one of their own, and reads what they have stored."""

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from click.testing import CliRunner, Result

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.keyring import read_master_key
from chatgpt_agent.cli.main import main
from tests.support.database import query

KEY = "sk-made-up-key-0123456789"
PROGRAM = [sys.executable, "-m", "chatgpt_agent"]
VARIABLES = ("CHATGPT_AGENT_CONFIG", *(field.name.upper() for field in msgspec.structs.fields(Config)))


class Cli:
    """The program with these settings in its environment."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.settings = settings

    def run(self, *args: str, stdin: str | bytes = "", settings: dict[str, str] | None = None) -> Result:
        """Runs a command in this process. Raises an exception that the command does not handle."""
        environ = dict.fromkeys(VARIABLES) | self.settings | (settings or {})
        with logging_as_before():
            result = CliRunner().invoke(main, args, input=stdin, env=environ)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def ok(self, *args: str, stdin: str | bytes = "") -> str:
        """Runs a command that must succeed and returns its standard output."""
        result = self.run(*args, stdin=stdin)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    def refused(
        self, *args: str, code: int = 1, stdin: str | bytes = "", settings: dict[str, str] | None = None
    ) -> list[str]:
        """Runs a command that must fail without standard output, and returns the lines of standard error."""
        result = self.run(*args, stdin=stdin, settings=settings)
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        return result.stderr.splitlines()

    def add_user(self, name: str = "alice", key: str = KEY) -> str:
        """Adds a user and returns the token."""
        return self.ok("user", "add", name, "--openai-key-stdin", stdin=key).strip()

    def process(self, *args: str | bytes, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """Runs a command in its own process."""
        return subprocess.run(
            [*PROGRAM, *args],
            input=stdin,
            env=environ_with(self.settings),
            capture_output=True,
            timeout=60,
            check=False,
        )

    async def in_thread(self, *args: str, stdin: str = "") -> str:
        """Runs a command that must succeed in a thread of this process, beside this loop, and returns its standard
        output. A process of its own would take longer: `command` is for tests of the program."""
        return await asyncio.to_thread(self.ok, *args, stdin=stdin)

    async def command(self, *args: str, stdin: bytes = b"") -> str:
        """Runs a command that must succeed in its own process, beside this loop, and returns its standard output."""
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
    """Returns this process's environment with only these settings of the program."""
    return {name: value for name, value in os.environ.items() if name not in VARIABLES} | settings


@contextlib.contextmanager
def logging_as_before() -> Iterator[None]:
    """Restores the root logger and the levels of all others, which a command sets up for its process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in root.manager.loggerDict}
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name in root.manager.loggerDict:
            logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))


def leaf_commands() -> dict[str, click.Command]:
    """Returns every command that is not a group, by its name with those of its groups."""
    return dict(_leaves(main, ()))


def _leaves(group: click.Group, args: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _leaves(command, (*args, name))
        else:
            yield " ".join([*args, name]), command


# What commands have stored.


def stored_key(cli: Cli, name: str = "alice") -> str:
    """Returns the OpenAI key of a user, decrypted."""
    [(id_, sealed)] = query(cli.settings["DATABASE_URL"], "SELECT id, upstream_key FROM users WHERE name = %s", [name])
    return read_master_key(Path(cli.settings["DATA_DIR"]) / "master.key").decrypt(id_, bytes(sealed))


def show(cli: Cli, name: str = "alice") -> Any:
    """Returns the JSON of `user show`."""
    return json.loads(cli.ok("user", "show", name, "--json"))


def names(cli: Cli) -> list[str]:
    """Returns the names in `user list`."""
    return [user["name"] for user in json.loads(cli.ok("user", "list", "--json"))]
