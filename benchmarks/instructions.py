"""Counts the processor's instructions of a request in two checkouts: `python -m benchmarks.instructions --beside
NAME=DIR [--reps N] [--only stream]`. Needs valgrind.

Sixty-four clients send the same request at the same time to an agent that runs in callgrind. Unlike processor time, the
number of instructions hardly depends on what else the machine does; two counts of the same program differ by 1 %. An
agent in callgrind is fifty times slower than usual, so what it does by the clock counts for more here than it costs.
"""

import argparse
import asyncio
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.fleet import AgentProcess, Fleet, environ_with
from benchmarks.keepalive_client import KeptConnection, chat
from benchmarks.relay.beside import Checkout, checkout_from
from benchmarks.upstream import Upstream

MODEL = "gpt-6-luna"
CLIENTS = 64
WARM_UP, REQUESTS = 3, 6  # of each client
CONTENTS = {"whole": "chunks=1", "stream": "chunks=5"}
THIS = Checkout("this", Path(__file__).parent.parent)


class CountedAgent(AgentProcess):
    """The agent of a checkout, in callgrind."""

    def __init__(self, folder: Path, settings: dict[str, str], checkout: Checkout) -> None:
        super().__init__(folder, settings)
        self._out = folder / "callgrind.out"
        self._checkout = checkout

    async def start(self) -> None:
        """Starts the process, which counts nothing yet."""
        callgrind = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self._out}")
        environment = environ_with(self.settings) | {"PYTHONPATH": str(self._checkout.folder), "PYTHONHASHSEED": "0"}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *callgrind, sys.executable, "-m", "chatgpt_agent", "serve", stderr=log, env=environment
            )

    async def control(self, *arguments: str) -> None:
        """Tells callgrind to do something."""
        command = ("callgrind_control", *arguments, str(self.pid))
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)

    def total(self) -> int:
        """The instructions up to the last dump."""
        return max(
            int(number)
            for path in self._out.parent.glob(f"{self._out.name}.*")
            for number in re.findall(r"^totals: (\d+)", path.read_text("utf-8", "replace"), re.MULTILINE)
        )


async def count(checkout: Checkout, kind: str) -> float:
    """Returns the instructions of a request, in thousands."""
    async with Upstream(random.Random(1)) as upstream, Fleet(upstream.url, log_level="info") as fleet:
        await fleet.set_up(1, {MODEL: ("0.10", "0.01", "0.50")})
        agent = fleet.agent = CountedAgent(fleet.folder, fleet.agent.settings, checkout)
        await agent.start()
        await agent.until_ready()
        request = chat(fleet.tokens[0], MODEL, CONTENTS[kind], stream=kind == "stream")
        clients = [await KeptConnection.open(agent.url) for _ in range(CLIENTS)]
        await asyncio.gather(*(send(client, request, WARM_UP) for client in clients))
        await agent.control("-i", "on")
        await agent.control("-z")
        await asyncio.gather(*(send(client, request, REQUESTS) for client in clients))
        await agent.control("-d", "end")
        await agent.control("-i", "off")
        for client in clients:
            client.close()
        total = agent.total()
        await agent.end(signal.SIGTERM)
        return total / (CLIENTS * REQUESTS) / 1000


async def send(client: KeptConnection, request: bytes, times: int) -> None:
    for _ in range(times):
        await client.ask(request)


def main() -> None:
    """Counts in turn, and prints each count and the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--beside", type=checkout_from, required=True, metavar="NAME=DIR", help="another checkout")
    parser.add_argument("--reps", type=int, default=3, help="counts of each (3)")
    parser.add_argument("--only", choices=CONTENTS, action="append", help="this kind of answer, and not all")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("there is no valgrind")
    for kind in options.only or CONTENTS:
        counts: dict[str, list[float]] = {options.beside.name: [], THIS.name: []}
        for _ in range(options.reps):
            for checkout in (options.beside, THIS):
                counts[checkout.name].append(asyncio.run(count(checkout, kind)))
                print(f"{kind}, {checkout.name}: {counts[checkout.name][-1]:.0f} thousand instructions", flush=True)
        other, own = (statistics.median(each) for each in counts.values())
        print(f"{kind}: medians {own:.0f} beside {other:.0f}, {own / other - 1:+.2%}", flush=True)


if __name__ == "__main__":
    main()
