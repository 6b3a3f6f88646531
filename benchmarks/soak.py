"""Measures memory and open files over a long run:
`python -m benchmarks.soak [--seconds S] [--workers W] [--db-stops D] [--rest R]`.

It runs the mixed load of `benchmarks.loss` on one agent, without kills, and stops PostgreSQL with `-m immediate` at
random moments for up to ten seconds. Resident memory and open files of the agent are read about 600 times; the slope is
that of a line through the memory of the second half. At the end the records are compared as in `benchmarks.loss`; exit
code 1 if the ledger is wrong.
"""

import argparse
import asyncio
import random
import re
import statistics
import sys
from pathlib import Path

from benchmarks.accounting import compare, read_ledger
from benchmarks.clients import Load, Mix
from benchmarks.fleet import Fleet, Postgres
from benchmarks.loss import PRICES, SHIP_SECONDS, USERS, command_line, server_version, surroundings
from benchmarks.upstream import Upstream

Sample = tuple[float, float, int]  # seconds, MB, files


async def watch(pid: int, samples: list[Sample], every: float) -> None:
    """Samples the memory and the open files of a process until it is cancelled."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        samples.append((loop.time() - began, *size_of(pid)))
        await asyncio.sleep(every)


def size_of(pid: int) -> tuple[float, int]:
    """Returns the resident memory of a process in MB and the number of its open files."""
    status = Path(f"/proc/{pid}/status").read_text()
    files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024, files


async def stop_at_random(postgres: Postgres, times: int, seconds: float, draw: random.Random) -> None:
    """Stops and restarts the database at random moments of the run, the last of them before its last tenth."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for moment in sorted(draw.uniform(0.05, 0.9) * seconds for _ in range(times)):
        await asyncio.sleep(max(0.0, began + moment - loop.time()))
        await postgres.stop_immediately()
        await asyncio.sleep(draw.uniform(0.0, 10.0))
        await postgres.start()


async def measure(options: argparse.Namespace) -> tuple[list[Sample], int, list[str], str]:
    """Returns the samples, the number of requests, the violations, and PostgreSQL's version."""
    draw = random.Random(options.seed)
    samples: list[Sample] = []
    async with Upstream(draw) as upstream, Fleet(upstream.url, log_level="warning") as fleet:
        await fleet.set_up(USERS, PRICES)
        await fleet.agent.start()
        await fleet.agent.until_ready()
        load = Load(lambda: fleet.agent.url, fleet.tokens, Mix(draw, list(PRICES)), draw, options.rest)
        deadline = asyncio.get_running_loop().time() + options.seconds
        watching = asyncio.create_task(watch(fleet.agent.pid, samples, max(0.5, options.seconds / 600)))
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(sys.maxsize, options.workers, deadline))
            group.create_task(stop_at_random(fleet.postgres, options.db_stops, options.seconds, draw))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        wrong = [] if await fleet.until_shipped(SHIP_SECONDS) else ["the outbox is not empty"]
        ledger = await asyncio.to_thread(read_ledger, fleet.postgres.dsn)
        wrong += compare(upstream, load.received, ledger, PRICES).violations
        return samples, load.sent, wrong, server_version(fleet.postgres.dsn)


def report(samples: list[Sample], requests: int, wrong: list[str]) -> list[str]:
    """Returns the table as Markdown. The first half of the run is left out of the slope, as warm-up."""
    half = samples[len(samples) // 2 :]
    slope = statistics.linear_regression([sample[0] for sample in half], [sample[1] for sample in half]).slope
    lines = [
        ("seconds", f"{samples[-1][0]:.0f}"),
        ("requests", f"{requests:,}"),
        (
            "resident memory: first, middle, last, MB",
            " / ".join(f"{s[1]:.0f}" for s in (samples[0], half[0], samples[-1])),
        ),
        ("slope over the second half, MB an hour", f"{slope * 3600:+.1f}"),
        ("open files: first, most, last", f"{samples[0][2]} / {max(s[2] for s in samples)} / {samples[-1][2]}"),
        ("violations of the promises", str(len(wrong))),
    ]
    return ["| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in lines)]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--workers", type=int, default=64, help="clients at once")
    parser.add_argument("--db-stops", type=int, default=12, help="how often PostgreSQL is stopped")
    parser.add_argument("--rest", type=float, default=0.0, help="a client's mean pause between requests, in seconds")
    parser.add_argument("--seed", type=int, default=1)
    samples, requests, wrong, postgres = asyncio.run(measure(parser.parse_args()))
    print("\n".join([*surroundings(command_line("benchmarks.soak"), postgres), "", *report(samples, requests, wrong)]))
    for line in wrong[:20]:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
