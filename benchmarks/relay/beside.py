"""Agents of other checkouts of this repository, which are measured in alternation with the agent of this one."""

import argparse
import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from benchmarks.relay.measure import Gateway
from benchmarks.relay.workloads import Target

RUNNER = Path(__file__).with_name("run_agent.py")


class Checkout(msgspec.Struct, frozen=True):
    """Another checkout, with its own virtual environment in `.venv`."""

    name: str
    folder: Path


def checkout_from(text: str) -> Checkout:
    """Parses NAME=DIR. Raises argparse.ArgumentTypeError."""
    name, _, directory = text.partition("=")
    folder = Path(directory).resolve()
    if not name or not (folder / ".venv/bin/python").exists():
        raise argparse.ArgumentTypeError("expected NAME=DIR, and a virtual environment in DIR/.venv")
    return Checkout(name, folder)


@contextlib.asynccontextmanager
async def agent_of(checkout: Checkout, openai_url: str) -> AsyncIterator[Gateway]:
    """Runs the agent of a checkout with that checkout's own benchmark. Raises RuntimeError if it does not start."""
    # -P: the modules beside the runner belong to this checkout.
    command = (checkout.folder / ".venv/bin/python", "-P", RUNNER, openai_url)
    environment = os.environ | {"PYTHONPATH": str(checkout.folder)}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=checkout.folder, env=environment, stdin=pipe, stdout=pipe
    )
    assert process.stdin is not None
    assert process.stdout is not None
    commands, replies = process.stdin, process.stdout

    async def settled() -> None:
        commands.write(b"\n")
        await replies.readline()

    try:
        line = await replies.readline()
        if not line:
            raise RuntimeError(f"the agent of {checkout.name} did not start")
        url, token, model, pid, db_pid = msgspec.json.decode(line, type=tuple[str, str, str, int, int])
        target = Target(url, token, model)
        yield Gateway(name=checkout.name, target=target, pid=pid, db_pid=db_pid, settled=settled)
    finally:
        commands.close()  # this ends the runner, which stops its agent
        await process.wait()
