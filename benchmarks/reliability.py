"""Measures what an outage of PostgreSQL costs, and how long a revoked token works:
`python -m benchmarks.reliability [--rounds N] [--rows N] [--tokens N] [--output FILE]`.

(a) The seconds from PostgreSQL's return (when `pg_ctl start -w` ends) to an empty outbox, with 10,000 rows waiting.
(b) The milliseconds of whole answers of an upstream without delay, while PostgreSQL is up and while it is down. (c) The
milliseconds from the COMMIT of a revocation to the first refusal, with requests one after the other on one connection.
All processes are real, on loopback addresses; PostgreSQL syncs to its disk.
"""

import argparse
import asyncio
import random
import signal
import statistics
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psycopg2

from benchmarks.clients import ChatRequest, End, send
from benchmarks.fleet import Fleet
from benchmarks.loss import PRICES, command_line, server_version, surroundings
from benchmarks.upstream import Upstream

MODEL = "gpt-6-luna"
WORKERS = 4  # requests at once that are timed
FILLERS = 16  # requests at once that only add rows
DRAIN_SECONDS = 120.0


class Round(msgspec.Struct, frozen=True):
    """Milliseconds of each answer before and during an outage, and seconds until its rows were shipped."""

    alive: list[float]
    dead: list[float]
    drain: float


async def timed(fleet: Fleet, count: int, workers: int) -> list[float]:
    """Returns the milliseconds of `count` whole answers. Raises RuntimeError if one fails."""
    left = iter(range(count))
    times: list[float] = []

    async def work() -> None:
        for _ in left:
            began = time.perf_counter()
            received = await send(fleet.agent.url, fleet.tokens[0], ChatRequest("chat", "hello", MODEL))
            times.append((time.perf_counter() - began) * 1000)
            if received.end is not End.WHOLE:
                raise RuntimeError(f"a request ended as {received.end} with status {received.status}")

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())
    return times


async def outage(fleet: Fleet, *, rows: int, timed_requests: int) -> Round:
    """Measures one outage of PostgreSQL, which ends when `rows` rows wait."""
    alive = await timed(fleet, timed_requests, WORKERS)
    await _shipped(fleet)
    await fleet.postgres.stop_immediately()
    dead = await timed(fleet, timed_requests, WORKERS)
    await timed(fleet, rows - timed_requests, FILLERS)
    waiting = fleet.waiting()
    if waiting != (0, rows):
        raise RuntimeError(f"{waiting} intents and rows wait, not {rows} rows")
    await fleet.postgres.start()
    began = time.perf_counter()
    await _shipped(fleet)
    return Round(alive, dead, time.perf_counter() - began)


async def _shipped(fleet: Fleet) -> None:
    if not await fleet.until_shipped(DRAIN_SECONDS):
        raise RuntimeError(f"the outbox is not empty after {DRAIN_SECONDS} s")


async def revocation(fleet: Fleet) -> float:
    """Returns the milliseconds from the COMMIT that revokes a new token to the first refusal."""
    token = await fleet.command("token", "issue", "user0")
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(fleet.agent.url).port)
    connection = psycopg2.connect(fleet.postgres.dsn)
    try:
        while await status_of(reader, writer, token) != 200:
            writer.close()
            await asyncio.sleep(0.05)
            reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(fleet.agent.url).port)
        await asyncio.sleep(random.uniform(0, 0.5))  # independent of the agent's polling
        with connection.cursor() as cursor:
            cursor.execute("UPDATE tokens SET revoked_at = now() WHERE id = (SELECT max(id) FROM tokens)")
        began = time.perf_counter()
        committing = asyncio.create_task(asyncio.to_thread(connection.commit), name="commit")
        while await status_of(reader, writer, token) == 200:  # then 401, or 429 after many wrong tokens of this address
            pass
        elapsed = time.perf_counter() - began
        await committing
        return elapsed * 1000
    finally:
        connection.close()
        writer.close()


async def status_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> int:
    """Returns the status of a request that costs nothing."""
    writer.write(f"GET /v1/models HTTP/1.1\r\nHost: agent\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = head.partition("content-length: ")[2].partition("\r\n")[0]
    await reader.readexactly(int(length))
    return int(head.split(" ")[1])


async def measure(options: argparse.Namespace) -> tuple[list[Round], list[float], str]:
    """Returns the outages, the revocations and PostgreSQL's version."""
    async with Upstream(random.Random(1)) as upstream, Fleet(upstream.url, stale_after="3600") as fleet:
        await fleet.set_up(1, {MODEL: PRICES[MODEL]})
        await fleet.agent.start()
        await fleet.agent.until_ready()
        await timed(fleet, 300, WORKERS)  # warms up
        await _shipped(fleet)
        revocations = [await revocation(fleet) for _ in range(options.tokens)]
        rounds = [await outage(fleet, rows=options.rows, timed_requests=options.timed) for _ in range(options.rounds)]
        version = server_version(fleet.postgres.dsn)
        await fleet.agent.end(signal.SIGTERM)
    return rounds, revocations, version


def table(rounds: list[Round], revocations: list[float], rows: int) -> list[str]:
    """Returns the figures as Markdown."""
    drains = [round_.drain for round_ in rounds]
    lines = ["| | median | max |", "|---|---:|---:|"]
    lines.append(
        f"| seconds from PostgreSQL's return to an empty outbox, {rows:,} rows waiting ({len(rounds)} outages) "
        f"| {statistics.median(drains):.2f} | {max(drains):.2f} |"
    )
    lines.append(
        f"| milliseconds from the COMMIT of a revocation to the first refusal ({len(revocations)} tokens) "
        f"| {statistics.median(revocations):.1f} | {max(revocations):.1f} |"
    )
    lines += ["", "| whole answers, ms | PostgreSQL alive | dead | added |", "|---|---:|---:|---:|"]
    for name, part in (("p50", 0.50), ("p99", 0.99)):
        alive = statistics.median(_quantile(round_.alive, part) for round_ in rounds)
        dead = statistics.median(_quantile(round_.dead, part) for round_ in rounds)
        lines.append(f"| {name} | {alive:.2f} | {dead:.2f} | {dead - alive:+.2f} |")
    counts = f"{len(rounds)} times {len(rounds[0].alive):,} requests in each condition, {WORKERS} at once"
    return [*lines, "", f"The answers are medians over the outages: {counts}."]


def _quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reliability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5, help="outages")
    parser.add_argument("--rows", type=int, default=10_000, help="rows that wait when PostgreSQL returns")
    parser.add_argument("--timed", type=int, default=2000, help="requests that are timed, alive and dead")
    parser.add_argument("--tokens", type=int, default=20, help="tokens that are revoked")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the tables go as Markdown")
    options = parser.parse_args()
    rounds, revocations, version = asyncio.run(measure(options))
    report = "\n".join(
        [
            *surroundings(command_line("benchmarks.reliability"), version),
            "",
            *table(rounds, revocations, options.rows),
            "",
        ]
    )
    print(report)
    if options.output is not None:
        options.output.write_text(report, "utf-8")


if __name__ == "__main__":
    main()
