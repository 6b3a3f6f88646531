"""Measures how much memory bursts of large bodies and answers take, and what is left of it:
`python -m benchmarks.memory [--idle S]`.

Each line is a burst on an agent of its own: the resident memory of the agent's process before, at most meanwhile
(looked at every 20 ms), and after the idle time; and how many requests were answered with which status.
"""

import argparse
import asyncio
import contextlib
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.fleet import Fleet
from benchmarks.keepalive_client import chat
from benchmarks.loss import command_line, server_version, surroundings
from benchmarks.proc_stats import resident_megabytes
from benchmarks.upstream import Upstream

MIB = 1 << 20
MODEL = "model1"
READ_BYTES = 1 << 16


class Burst(NamedTuple):
    """Requests that are sent at once; `rest`: seconds between two reads of each client."""

    name: str
    requests: int
    content: Callable[[], str]
    stream: bool = False
    rest: float = 0.0


BURSTS = (
    Burst("bodies of 10 MiB", 200, lambda: "think=3 " + "x" * 10 * MIB),
    Burst("streams with bodies of 10 MiB", 200, lambda: "think=3 " + "x" * 10 * MIB, stream=True),
    Burst("answers of 62 MiB", 20, lambda: f"size={62 * MIB}"),
    Burst("answers of 62 MiB, read slowly", 20, lambda: f"size={62 * MIB}", rest=0.01),
    Burst("streams of 8 MiB, read slowly", 500, lambda: f"size={8 * MIB}", stream=True, rest=0.2),
)


@contextlib.asynccontextmanager
async def highest_memory(pid: int) -> AsyncIterator[list[float]]:
    """Follows the resident memory of a process while the context is open. The list then contains the maximum, in MB."""
    highest = [0.0]

    async def follow() -> None:
        while True:
            highest[0] = max(highest[0], resident_megabytes(pid))
            await asyncio.sleep(0.02)

    task = asyncio.create_task(follow())
    try:
        yield highest
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(url: str, request: bytes, rest: float) -> str:
    """Sends a request on a connection of its own, reads the answer to its end, and returns the status."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=READ_BYTES)
    answer = b""
    with contextlib.suppress(ConnectionError):
        writer.write(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        while data := await reader.read(READ_BYTES):
            answer = answer or data
            await asyncio.sleep(rest)
    writer.transport.abort()
    match = re.match(rb"HTTP/1.1 (\d{3}) ", answer)
    return match[1].decode() if match else "reset"


async def run(burst: Burst, idle: float, settings: dict[str, str]) -> str:
    """Runs a burst on a new agent, and returns its line of the table."""
    async with Upstream(random.Random(1)) as upstream, Fleet(upstream.url, log_level="error", **settings) as fleet:
        await fleet.set_up(1, {MODEL: ("1", "1", "2")})
        await fleet.agent.start()
        await fleet.agent.until_ready()
        before = resident_megabytes(fleet.agent.pid)
        request = chat(fleet.tokens[0], MODEL, burst.content(), stream=burst.stream)
        async with highest_memory(fleet.agent.pid) as highest:
            answers = await asyncio.gather(*(ask(fleet.agent.url, request, burst.rest) for _ in range(burst.requests)))
        await asyncio.sleep(idle)
        after = resident_megabytes(fleet.agent.pid)
        counts = ", ".join(f"{count} × {status}" for status, count in sorted(Counter(answers).items()))
        return f"| {burst.requests} {burst.name} | {before:.0f} | {highest[0]:.0f} | {after:.0f} | {counts} |"


async def measure(options: argparse.Namespace) -> None:
    """Prints the table."""
    print(f"| burst | before, MB | at most, MB | {options.idle:.0f} s later, MB | answers |\n|---|---:|---:|---:|---|")
    settings = dict(setting.split("=", 1) for setting in options.set)
    for burst in BURSTS:
        if options.only in burst.name:
            print(await run(burst, options.idle, settings), flush=True)
    async with Fleet("http://127.0.0.1:1/v1/chat/completions") as fleet:
        version = server_version(fleet.postgres.dsn)
    print("", *surroundings(command_line("benchmarks.memory"), version), sep="\n")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--idle", type=float, default=30.0, help="seconds")
    parser.add_argument("--only", default="", help="the lines with this text in their name")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the agent")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
