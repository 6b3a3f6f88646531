"""Does it stay as small as it began? `python -m benchmarks.soak [--seconds S] [--workers W] [--db-stops D] [--rest R]`.

The mixed load of `benchmarks.loss` (chats, streams, hang-ups, an upstream that refuses or breaks off), without kills,
on one agent for as long as is wanted, while its PostgreSQL is stopped with `-m immediate` at drawn moments for up to
ten seconds. Resident memory and open files of its process are read some 600 times; a line is put through the memory of
the second half. At the end the books are compared as `benchmarks.loss` does; exit code 1 where they are not right.
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
    """Reads memory and files of a process until it is cancelled."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        samples.append((loop.time() - began, *size_of(pid)))
        await asyncio.sleep(every)


def size_of(pid: int) -> tuple[float, int]:
    """Resident memory of a process in MB, and how many files it has open."""
    status = Path(f"/proc/{pid}/status").read_text()
    files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024, files


async def stop_now_and_then(postgres: Postgres, times: int, seconds: float, draw: random.Random) -> None:
    """Stops the database at so many moments of the run, which is over before its last tenth; it always comes back."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for moment in sorted(draw.uniform(0.05, 0.9) * seconds for _ in range(times)):
        await asyncio.sleep(max(0.0, began + moment - loop.time()))
        await postgres.stop_immediately()
        await asyncio.sleep(draw.uniform(0.0, 10.0))
        await postgres.start()


async def measure(options: argparse.Namespace) -> tuple[list[Sample], int, list[str], str]:
    """The samples, how many requests there were, what is wrong with the books, and PostgreSQL's version."""
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
            group.create_task(stop_now_and_then(fleet.postgres, options.db_stops, options.seconds, draw))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        wrong = [] if await fleet.until_shipped(SHIP_SECONDS) else ["the outbox is not empty"]
        ledger = await asyncio.to_thread(read_ledger, fleet.postgres.dsn)
        wrong += compare(upstream, load.received, ledger, PRICES).violations
        return samples, load.sent, wrong, server_version(fleet.postgres.dsn)


def report(samples: list[Sample], requests: int, wrong: list[str]) -> list[str]:
    """The table as Markdown. The slope is that of the second half: the first is warming up."""
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
        ("violations of the books", str(len(wrong))),
    ]
    return ["| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in lines)]


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--workers", type=int, default=64, help="clients at once")
    parser.add_argument("--db-stops", type=int, default=12, help="how often PostgreSQL is stopped")
    parser.add_argument("--rest", type=float, default=0.0, help="a client's mean rest between requests, in seconds")
    parser.add_argument("--seed", type=int, default=1)
    samples, requests, wrong, postgres = asyncio.run(measure(parser.parse_args()))
    print("\n".join([*surroundings(command_line("benchmarks.soak"), postgres), "", *report(samples, requests, wrong)]))
    for line in wrong[:20]:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
