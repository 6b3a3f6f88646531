"""Counts the processor's instructions of a request in two checkouts: `python -m benchmarks.instructions --beside
NAME=DIR [--reps N] [--only stream] [--clients N]`. Needs valgrind.

Sixty-four clients, or N, send the same request at the same time to an agent that runs in callgrind. Unlike processor
time, the number of instructions hardly depends on what else the machine does; two counts of the same program differ by
1 %. An agent in callgrind is fifty times slower than usual, so what it does by the clock counts for more here than it
costs.
"""

import argparse
import asyncio
import contextlib
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from benchmarks.keepalive_client import KeptConnection, chat
from benchmarks.relay.beside import Checkout, checkout_from
from benchmarks.upstream import Upstream

MODEL = "gpt-6-luna"
CLIENTS = 64
WARM_UP, REQUESTS = 192, 384  # of all clients together
CONTENTS = {"whole": "chunks=1", "stream": "chunks=5"}
THIS = Checkout("this", Path(__file__).parent.parent)
RUNNER = Path(__file__).with_name("callgrind_agent.py")


class CountedAgent(msgspec.Struct, frozen=True):
    """An agent that runs in callgrind."""

    url: str
    token: str
    pid: int
    out: Path  # callgrind writes the files out.1, out.2 …

    async def control(self, *arguments: str) -> None:
        """Tells callgrind to do something."""
        command = ("callgrind_control", *arguments, str(self.pid))
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)

    def total(self) -> int:
        """Returns the instructions up to the last dump."""
        return max(
            int(number)
            for path in self.out.parent.glob(f"{self.out.name}.*")
            for number in re.findall(r"^totals: (\d+)", path.read_text("utf-8", "replace"), re.MULTILINE)
        )


@contextlib.asynccontextmanager
async def agent_of(checkout: Checkout, openai_url: str) -> AsyncIterator[CountedAgent]:
    """Runs the agent of a checkout, with that checkout's own benchmarks and Python. Raises RuntimeError if it does not
    start."""
    python = sys.executable if checkout is THIS else str(checkout.folder / ".venv/bin/python")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        # -P, and the folder: the modules beside the runner, and those in the current folder, may be another checkout's.
        command = (python, "-P", str(RUNNER), openai_url, str(out), MODEL)
        environment = os.environ | {"PYTHONPATH": str(checkout.folder)}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, cwd=checkout.folder, env=environment, stdin=pipe, stdout=pipe
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = await process.stdout.readline()
            if not line:
                raise RuntimeError(f"the agent of {checkout.name} did not start")
            url, token, pid = msgspec.json.decode(line, type=tuple[str, str, int])
            yield CountedAgent(url, token, pid, out)
        finally:
            process.stdin.close()  # this ends the runner, which stops its agent
            await process.wait()


async def count(checkout: Checkout, kind: str, number: int) -> float:
    """Returns the instructions of a request of that many clients, in thousands."""
    async with Upstream(random.Random(1)) as upstream, agent_of(checkout, upstream.url) as agent:
        request = chat(agent.token, MODEL, CONTENTS[kind], stream=kind == "stream")
        clients = [await KeptConnection.open(agent.url) for _ in range(number)]
        await asyncio.gather(*(send(client, request, WARM_UP // number) for client in clients))
        await agent.control("-i", "on")
        await agent.control("-z")
        await asyncio.gather(*(send(client, request, REQUESTS // number) for client in clients))
        await agent.control("-d", "end")
        await agent.control("-i", "off")
        for client in clients:
            client.close()
        return agent.total() / (REQUESTS // number * number) / 1000


async def send(client: KeptConnection, request: bytes, times: int) -> None:
    for _ in range(times):
        await client.ask(request)


def main() -> None:
    """Counts in turn, and prints each count and the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--beside", type=checkout_from, required=True, metavar="NAME=DIR", help="another checkout")
    parser.add_argument("--reps", type=int, default=3, help="counts of each (3)")
    parser.add_argument("--only", choices=CONTENTS, action="append", help="this kind of answer, and not all")
    parser.add_argument("--clients", type=int, default=CLIENTS, metavar="N", help="clients at once (64)")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("there is no valgrind")
    for kind in options.only or CONTENTS:
        counts: dict[str, list[float]] = {options.beside.name: [], THIS.name: []}
        for _ in range(options.reps):
            for checkout in (options.beside, THIS):
                counts[checkout.name].append(asyncio.run(count(checkout, kind, options.clients)))
                print(f"{kind}, {checkout.name}: {counts[checkout.name][-1]:.0f} thousand instructions", flush=True)
        other, own = (statistics.median(each) for each in counts.values())
        print(f"{kind}: medians {own:.0f} beside {other:.0f}, {own / other - 1:+.2%}", flush=True)


if __name__ == "__main__":
    main()
