"""Several agents behind HAProxy, on one PostgreSQL with a streaming replica:
`python -m benchmarks.scaling [--phase SECONDS] [--synchronous] [--seed S] [--workers W] [--output FILE]`.

Under a mixed load through HAProxy an agent is killed and started again, all agents are restarted one after the other,
and the primary is killed and the replica promoted. One of the users has a budget that the load exceeds. Before the
load, tokens are revoked, and each agent is asked until it refuses them. In the end, what the upstream received and
billed, what clients received, and the ledger are compared request by request. Exit code 1 if a row was lost,
duplicated, missing or wrong, a budget was overspent by more than docs/budgets.md allows, a token worked for longer than
a second, a restart broke an answer, or an agent believes that requests of a rate limit are still in progress.
"""

import argparse
import asyncio
import contextlib
import json
import math
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from decimal import Decimal
from pathlib import Path

import msgspec
import psycopg2

from benchmarks.accounting import Findings, compare, read_ledger
from benchmarks.clients import End, Load, Mix
from benchmarks.cluster import Cluster
from benchmarks.fleet import START_SECONDS
from benchmarks.loss import PRICES, PRINTED, command_line, describe, server_version, surroundings
from benchmarks.reliability import status_of
from benchmarks.upstream import Upstream

USERS = 3
BUDGET = Decimal("0.20")  # USD, of the last user: less than the load costs
INPUT_TOKENS = 50  # at most, of a request: as many as its few words have, so that reservations cover the cost
OUTPUT_TOKENS = 3000  # at most, of a request, which reserves so many
REST = 0.05  # seconds, on average, between two requests of a client
REVOKED = 3  # tokens
MAX_REVOCATION_MS = 1000.0
SHIP_SECONDS = 60.0
EXCHANGE_SECONDS = 10.0  # for agents to hear of each other's rate limits: they look every 5
RESTART = "all agents are restarted, one after the other"
CUT = "upstream cuts its answer"  # a kind of request


class Phase(msgspec.Struct, frozen=True):
    """What happened to the requests that ended while something was done to the processes. `broken`: answers that broke
    off, without those that the upstream cut."""

    name: str
    seconds: float
    ends: Counter[End]
    broken: int


class Result(msgspec.Struct):
    """The counts of a run. `overspent` and `allowed`: USD; `revocations`: milliseconds."""

    findings: Findings
    phases: list[Phase]
    dispatched: int
    rows: int
    spent: Decimal
    overspent: Decimal
    allowed: Decimal
    revocations: list[float]
    postgres: str


class Faults:
    """What is done to the processes under load, one after the other, with some seconds for each."""

    def __init__(self, cluster: Cluster, load: Load, seconds: float) -> None:
        self._cluster = cluster
        self._load = load
        self._seconds = seconds
        self.phases: list[Phase] = []

    async def run(self) -> None:
        """Ends the load after the last one, once all agents are ready."""
        steps = [
            ("two agents, nothing else", self._nothing),
            ("an agent is killed and started again", self._kill),
            (RESTART, self._restart),
            ("the primary is killed, the replica promoted", self._fail_over),
        ]
        for name, step in steps:
            before, began = len(self._load.received), time.monotonic()
            await asyncio.sleep(self._seconds / 2)
            await step()
            await asyncio.sleep(self._seconds / 2)
            received = self._load.received[before:]
            broken = sum(each.end is End.BROKEN and each.kind != CUT for each in received)
            ends = Counter(each.end for each in received)
            self.phases.append(Phase(name, time.monotonic() - began, ends, broken))
        self._load.stopping = True

    async def _nothing(self) -> None:
        return

    async def _kill(self) -> None:
        agent = self._cluster.agents[-1]
        await agent.end(signal.SIGKILL)
        await agent.start()
        await agent.until_ready()

    async def _restart(self) -> None:
        for agent in self._cluster.agents:
            if (code := await agent.end(signal.SIGTERM)) != 0:
                raise RuntimeError(f"an agent ended with exit code {code}:\n{agent.log_tail()}")
            await agent.start()
            await agent.until_ready()
            await asyncio.sleep(0.5)  # until HAProxy has noticed, as a careful operator would wait

    async def _fail_over(self) -> None:
        await self._cluster.pair.fail_over()
        for agent in self._cluster.agents:
            await agent.until_ready()


async def revocation(cluster: Cluster, draw: random.Random) -> float:
    """Returns the milliseconds from the COMMIT that revokes a token until all agents refuse it."""
    token = await cluster.command("token", "issue", "user0")
    for agent in cluster.agents:
        while await _ask(agent.url, token) != 200:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.05)
    await asyncio.sleep(draw.uniform(0, 0.5))  # independent of the agents' polling
    connection = await asyncio.to_thread(psycopg2.connect, cluster.pair.dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE tokens SET revoked_at = now() WHERE id = (SELECT max(id) FROM tokens)")
        await asyncio.to_thread(connection.commit)
    finally:
        connection.close()
    began = time.perf_counter()
    for agent in cluster.agents:
        while await _ask(agent.url, token) == 200:
            pass
    return (time.perf_counter() - began) * 1000


async def _ask(url: str, token: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    try:
        return await status_of(reader, writer, token)
    finally:
        writer.close()


async def measure(options: argparse.Namespace) -> Result:
    """Runs the load and compares the records. Raises RuntimeError or TimeoutError if a process fails."""
    draw = random.Random(options.seed)
    async with (
        Upstream(draw, max_input=INPUT_TOKENS) as upstream,
        Cluster(upstream.url, synchronous=options.synchronous, budget_output_tokens=str(OUTPUT_TOKENS)) as cluster,
    ):
        await cluster.set_up(USERS, PRICES)
        limited = f"user{USERS - 1}"
        await cluster.command("budget", "set", str(BUDGET), "--user", limited, "--period", "month")
        # More than the load uses: the agents tell each other about it all the time, and refuse nothing.
        await cluster.command("user", "set", "user0", "--rpm", "100000", "--concurrency", "1000")
        await cluster.start()
        revocations = [await revocation(cluster, draw) for _ in range(REVOKED)]
        load = Load(lambda: cluster.url, cluster.tokens, Mix(draw, list(PRICES)), draw, rest=REST)
        faults = Faults(cluster, load, options.phase)
        limit = 4 * options.phase + 4 * START_SECONDS
        async with asyncio.timeout(limit), asyncio.TaskGroup() as group:
            group.create_task(load.run(sys.maxsize, options.workers, math.inf))
            group.create_task(faults.run())
        shipped = await cluster.until_shipped(SHIP_SECONDS)
        dsn = cluster.pair.replica.dsn  # the primary of now
        findings = compare(upstream, load.received, await asyncio.to_thread(read_ledger, dsn), PRICES)
        if not shipped:
            findings.others.append(f"outboxes are not empty after {SHIP_SECONDS} s: {cluster.all_waiting()}")
        try:
            await cluster.command("ledger", "verify")
        except RuntimeError as error:
            findings.others.append(str(error))
        rows, spent = await asyncio.to_thread(_sums, dsn, limited)
        allowed = _allowed_overspending(len(cluster.agents))
        findings.others += await _still_running(cluster)
        result = Result(
            findings,
            faults.phases,
            dispatched=len(upstream.dispatched),
            rows=rows,
            spent=spent,
            overspent=max(spent - BUDGET, Decimal(0)),
            allowed=allowed,
            revocations=revocations,
            postgres=server_version(dsn),
        )
        findings.others += _violations(result)
        if findings.violations:
            print(*(agent.log_tail() for agent in cluster.agents), sep="\n\n", file=sys.stderr)
        return result


async def _still_running(cluster: Cluster) -> list[str]:
    """Says which agents believe that requests of the first user are in progress, at any agent, long after the load."""
    wrong = []
    for number, agent in enumerate(cluster.agents):
        request = urllib.request.Request(f"{agent.url}/me", headers={"Authorization": f"Bearer {cluster.tokens[0]}"})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXCHANGE_SECONDS):
                while await asyncio.to_thread(_in_progress, request):  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(0.1)
                continue
        wrong.append(f"agent {number} counts requests in progress that have ended")
    return wrong


def _in_progress(request: urllib.request.Request) -> int:
    with urllib.request.urlopen(request, timeout=5) as answer:
        return int(json.load(answer)["limits"]["user"]["requests_in_progress"])


def _sums(dsn: str, user: str) -> tuple[int, Decimal]:
    """Returns the number of rows, and what a user has spent, with what may have been."""
    connection = psycopg2.connect(dsn)
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT (SELECT count(*) FROM usage), coalesce(sum(cost + uncertain_cost), 0)
               FROM usage WHERE user_id = (SELECT id FROM users WHERE name = %s)""",
            [user],
        )
        [(rows, spent)] = cursor.fetchall()
    connection.close()
    return int(rows), spent


def _allowed_overspending(agents: int) -> Decimal:
    """As docs/budgets.md says of agents that cannot reach each other: (N - 1) × the larger of a share and a request."""
    price = max(Decimal(outputs) for _, _, outputs in PRICES.values())
    request = price * OUTPUT_TOKENS / 1_000_000
    return (agents - 1) * max(BUDGET / agents, request)


def _violations(result: Result) -> list[str]:
    wrong = []
    if result.overspent > result.allowed:
        wrong.append(
            f"a budget of {BUDGET} USD was overspent by {result.overspent}, at most {result.allowed} is allowed"
        )
    if max(result.revocations) > MAX_REVOCATION_MS:
        wrong.append(f"a revoked token worked for {max(result.revocations):.0f} ms")
    for phase in result.phases:
        if phase.name == RESTART and phase.broken:
            wrong.append(f"{phase.name}: {phase.broken} answers broke off")
        if stuck := phase.ends[End.STUCK]:
            wrong.append(f"{phase.name}: {stuck} requests did not end")
    return wrong


def markdown(result: Result, command: str) -> str:
    """Returns the report."""
    findings = result.findings
    lines = [
        *surroundings(command, result.postgres),
        "",
        "| while | seconds | whole answers | other answers | broken off | no agent was ready |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for phase in result.phases:
        ends = phase.ends
        others = ends[End.ERROR] + ends[End.LEFT] + ends[End.BROKEN] - phase.broken
        counts = (ends[End.WHOLE], others, phase.broken, ends[End.NOT_READY] + ends[End.REFUSED])
        lines.append(f"| {phase.name} | {phase.seconds:.0f} | {' | '.join(f'{count:,}' for count in counts)} |")
    figures: list[tuple[str, object]] = [
        ("requests that reached the upstream", f"{result.dispatched:,}"),
        ("rows in the ledger", f"{result.rows:,}"),
        ("**lost**", len(findings.lost) + len(findings.unrecorded)),
        ("**doubled**", len(findings.duplicated) + len(findings.dispatched_twice)),
        ("**wrong**", len(findings.differing)),
        (f"spent of a budget of {BUDGET} USD", f"{result.spent:f}"),
        (
            f"**overspent**, USD (at most {result.allowed:f} are allowed)",
            f"{result.overspent:f}",
        ),
        ("a revoked token works for, ms, at most", f"{max(result.revocations):.0f}"),
    ]
    lines += ["", "| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in figures)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark; exit code 1 if something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phase", type=float, default=20, metavar="SECONDS", help="of load around each step")
    parser.add_argument("--synchronous", action="store_true", help="a commit waits for the replica, too")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=12, help="clients at once")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the tables go as Markdown")
    options = parser.parse_args()
    try:
        result = asyncio.run(measure(options))
    except (ExceptionGroup, RuntimeError, OSError, subprocess.SubprocessError, asyncio.CancelledError) as error:
        sys.exit(f"the run failed: {describe(error)}")
    report = markdown(result, command_line("benchmarks.scaling"))
    print(report)
    if options.output is not None:
        options.output.write_text(report, "utf-8")
    for violation in result.findings.violations[:PRINTED]:
        print(violation, file=sys.stderr)
    sys.exit(1 if result.findings.violations else 0)


if __name__ == "__main__":
    main()
