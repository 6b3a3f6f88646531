"""Kills the agent and stops PostgreSQL under load, again and again, and then checks the ledger:
`python -m benchmarks.loss --requests N --kills K --db-stops D [--seed S] [--seconds S] [--workers W] [--output FILE]`.

Real processes and a PostgreSQL that syncs to its disk, on loopback addresses in a temporary folder. The load is mixed:
whole answers, streams with and without usage, clients that disconnect, an upstream that answers with errors or breaks
off. The agent gets SIGKILL, PostgreSQL `stop -m immediate`, at random moments. The exit code is 1 if a row was lost,
duplicated, missing or wrong, or a request did not end.
"""

import argparse
import asyncio
import os
import platform
import random
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import psycopg2

from benchmarks.accounting import Findings, compare, read_ledger
from benchmarks.clients import End, Load, Mix
from benchmarks.fleet import Fleet
from benchmarks.upstream import Upstream
from chatgpt_agent import __version__

PRICES = {"gpt-6-luna": ("0.10", "0.01", "0.50"), "gpt-6-sol": ("2.00", "0.20", "10.00")}
USERS = 3
SHIP_SECONDS = 60.0  # for the outbox to become empty at the end
PRINTED = 20  # violations that are printed


class Result(msgspec.Struct):
    """The counts of a run."""

    findings: Findings
    dispatched: int
    billed: int
    states: Counter[str]
    ends: Counter[End]
    sent: int
    kills: int
    db_stops: int
    seconds: float
    shipped_seconds: float
    postgres: str


class Chaos:
    """Kills the agent and stops PostgreSQL at random moments of the load, counted in requests."""

    def __init__(self, fleet: Fleet, load: Load, random_: random.Random, deadline: float) -> None:
        self._fleet = fleet
        self._load = load
        self._random = random_
        self._deadline = deadline  # of the loop's clock
        self.kills = 0
        self.db_stops = 0

    async def run(self, requests: int, kills: int, db_stops: int) -> None:
        """Returns after the last kill or stop, or at the deadline, once the agent is ready again."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._inject(kills, requests, self._kill))
            group.create_task(self._inject(db_stops, requests, self._stop_database))
        await self._fleet.agent.until_ready()

    async def _inject(self, times: int, requests: int, fault: Callable[[], Awaitable[None]]) -> None:
        moments = sorted(self._random.uniform(0.03, 0.95) * requests for _ in range(times))
        loop = asyncio.get_running_loop()
        for moment in moments:
            while self._load.sent < moment:
                if loop.time() > self._deadline:
                    return
                await asyncio.sleep(0.005)
            await fault()

    async def _kill(self) -> None:
        """Kills the agent with SIGKILL. After one in five kills it does not wait until the agent is ready again."""
        agent = self._fleet.agent
        if not agent.alive:
            raise RuntimeError(f"the agent ended unexpectedly:\n{agent.log_tail()}")
        await agent.end(signal.SIGKILL)
        self.kills += 1
        await agent.start()
        if self._random.random() < 0.2:
            await asyncio.sleep(self._random.uniform(0.0, 1.5))
        else:  # this needs the database: without it, a new agent knows no users
            await agent.until_ready()

    async def _stop_database(self) -> None:
        await self._fleet.postgres.stop_immediately()
        self.db_stops += 1
        await asyncio.sleep(self._random.uniform(0.0, 2.0))
        await self._fleet.postgres.start()


async def measure(options: argparse.Namespace) -> Result:
    """Runs the load and compares the records. Raises RuntimeError or TimeoutError if a process fails."""
    draw = random.Random(options.seed)
    began = time.monotonic()
    async with Upstream(draw) as upstream, Fleet(upstream.url) as fleet:
        await fleet.set_up(USERS, PRICES)
        await fleet.agent.start()
        await fleet.agent.until_ready()
        load = Load(lambda: fleet.agent.url, fleet.tokens, Mix(draw, list(PRICES)), draw)
        deadline = asyncio.get_running_loop().time() + options.seconds
        chaos = Chaos(fleet, load, draw, deadline)
        async with asyncio.timeout(options.seconds + 2 * SHIP_SECONDS), asyncio.TaskGroup() as group:
            group.create_task(load.run(options.requests, options.workers, deadline))
            group.create_task(chaos.run(options.requests, options.kills, options.db_stops))
        loaded = time.monotonic()
        shipped = await fleet.until_shipped(SHIP_SECONDS)
        shipped_seconds = time.monotonic() - loaded
        ledger = await asyncio.to_thread(read_ledger, fleet.postgres.dsn)
        findings = compare(upstream, load.received, ledger, PRICES)
        if not shipped:
            findings.others.append(f"the outbox is not empty after {SHIP_SECONDS} s: {fleet.waiting()}")
        if stuck := load.ends()[End.STUCK]:
            findings.others.append(f"{stuck} requests did not end")
        findings.others += await _verified(fleet)
        if (code := await fleet.agent.end(signal.SIGTERM)) != 0:
            findings.others.append(f"the agent ended with exit code {code}")
        if tracebacks := fleet.agent.log.read_text("utf-8", "replace").count("Traceback"):
            findings.others.append(f"{tracebacks} tracebacks are in the agent's log")
        if findings.violations:
            print(fleet.agent.log_tail(), file=sys.stderr)
        return Result(
            findings,
            dispatched=len(upstream.dispatched),
            billed=len(upstream.billed),
            states=Counter(row.state for row in ledger.rows),
            ends=load.ends(),
            sent=load.sent,
            kills=chaos.kills,
            db_stops=chaos.db_stops,
            seconds=time.monotonic() - began,
            shipped_seconds=shipped_seconds,
            postgres=server_version(fleet.postgres.dsn),
        )


async def _verified(fleet: Fleet) -> list[str]:
    """Returns the error of `ledger verify`, if there is one."""
    try:
        await fleet.command("ledger", "verify")
    except RuntimeError as error:
        return [str(error)]
    return []


def server_version(dsn: str) -> str:
    """Returns the version of PostgreSQL. Raises RuntimeError if its commits do not wait for the disk."""
    connection = psycopg2.connect(dsn)
    number = connection.server_version
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('fsync') || current_setting('synchronous_commit')")
        [(settings,)] = cursor.fetchall()
    connection.close()
    if settings != "onon":
        raise RuntimeError("this PostgreSQL does not sync to its disk")
    return f"{number // 10000}.{number % 10000}"


def table(result: Result) -> list[tuple[str, str]]:
    """Returns the lines of the report."""
    findings, ends = result.findings, result.ends
    lines: list[tuple[str, object]] = [
        ("requests that reached an agent", result.sent),
        ("connections refused: the agent was dead", ends[End.REFUSED]),
        ("answers with 503: the agent was not ready", ends[End.NOT_READY]),
        ("`kill -9` of the agent", result.kills),
        ("`stop -m immediate` of PostgreSQL", result.db_stops),
        ("dispatched to the upstream", result.dispatched),
        ("billed by the upstream", result.billed),
        ("delivered whole with status 2xx", findings.whole),
        ("answers with another status", ends[End.ERROR]),
        ("answers that broke off", ends[End.BROKEN]),
        ("clients that disconnected", ends[End.LEFT]),
        ("rows in the ledger", sum(result.states.values())),
        *((f"rows in state `{state}`", count) for state, count in result.states.most_common()),
        ("**lost** (delivered whole, without a row that says so)", len(findings.lost)),
        ("**duplicated** (rows)", len(findings.duplicated)),
        ("**dispatched twice**", len(findings.dispatched_twice)),
        ("**billed, but not recorded** (reached the upstream, no row)", len(findings.unrecorded)),
        ("**differing** from the upstream's bill (row by row)", len(findings.differing)),
        ("**sums equal** over rows in state `done`", "yes" if findings.sums_equal else "no"),
        *((f"{kind}: upstream / ledger", f"{theirs:,} / {ours:,}") for kind, theirs, ours in findings.sums),
        ("other violations, including findings of `chatgpt-agent ledger verify`", len(findings.others)),
        ("seconds from the end of the load to an empty outbox", f"{result.shipped_seconds:.1f}"),
        ("seconds in total", f"{result.seconds:.0f}"),
    ]
    return [(name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in lines]


def command_line(module: str) -> str:
    """Returns the command that is running, without --output."""
    arguments = sys.argv[1:]
    if "--output" in arguments:
        del arguments[arguments.index("--output") : arguments.index("--output") + 2]
    return shlex.join(["python", "-m", module, *arguments])


def surroundings(command: str, postgres: str) -> list[str]:
    """Returns the machine and the versions of a measurement, as Markdown."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    return [
        f"- command: `{command}`",
        f"- date: {datetime.now(UTC):%Y-%m-%d}",
        f"- machine: {cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        f"- versions: chatgpt-agent {__version__}, Python {platform.python_version()}, PostgreSQL {postgres} "
        f"(fsync on), Tornado {version('tornado')}, aiopg {version('aiopg')}",
    ]


def markdown(result: Result, command: str) -> str:
    """Returns the report."""
    lines = [*surroundings(command, result.postgres), "", "| | |", "|---|---:|"]
    lines += [f"| {name} | {value} |" for name, value in table(result)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark; exit code 1 if the ledger is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loss", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--db-stops", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=16, help="clients at once")
    parser.add_argument("--seconds", type=float, default=1800, help="an upper limit for the load")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the table goes as Markdown")
    options = parser.parse_args()
    try:
        result = asyncio.run(measure(options))
    except (ExceptionGroup, RuntimeError, OSError, subprocess.SubprocessError, asyncio.CancelledError) as error:
        sys.exit(f"the run failed: {describe(error)}")
    report = markdown(result, command_line("benchmarks.loss"))
    print(report)
    if options.output is not None:
        options.output.write_text(report, "utf-8")
    violations = result.findings.violations
    if result.kills < options.kills or result.db_stops < options.db_stops or result.sent < options.requests:
        violations.append("the run ended before all requests, kills and stops")
    for violation in violations[:PRINTED]:
        print(violation, file=sys.stderr)
    sys.exit(1 if violations else 0)


def describe(error: BaseException) -> str:
    """Returns an error with its notes in words, and all errors of a group."""
    notes = "\n".join(["", *getattr(error, "__notes__", [])])
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(inner) for inner in error.exceptions) + notes
    return f"{type(error).__name__}: {error}{notes}"


if __name__ == "__main__":
    main()
