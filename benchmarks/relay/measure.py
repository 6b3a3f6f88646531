"""One run of one gateway: the load, and what it cost until the gateway was idle again, so that work which it puts off
(usage records, logs) counts."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import msgspec

from benchmarks.relay.processes import IDLE, busy_seconds, cpu_seconds, forget_peak, peak_mb, until_calm
from benchmarks.relay.workloads import Streams, Target, Tools, Whole, Work

SETTLE_SECONDS = 60.0  # that a gateway may take to work off what it owes
QUIET = 0.2  # of a core: then nobody else works


async def _nothing() -> None:
    pass


class Gateway(msgspec.Struct, frozen=True):
    """What is measured. `pid` is the root of its process tree, `db_pid` of its database's; 0: there is none.
    `settled` returns when it owes nothing that can be seen from outside."""

    name: str
    target: Target
    pid: int = 0
    db_pid: int = 0
    settled: Callable[[], Awaitable[object]] = _nothing


class Run(msgspec.Struct, frozen=True):
    """One run. CPU in microseconds for each answer or chunk, of the gateway and apart of its database; `memory_mb` is
    the gateway's peak; `strangers` is the share of the machine's CPU that others took."""

    gateway: str
    work: str
    repetition: int
    seen: Whole | Streams
    cpu_us: float | None = None
    db_us: float | None = None
    memory_mb: float | None = None
    strangers: float = 0.0


async def measure(tools: Tools, gateway: Gateway, work: Work, repetition: int, wait: float) -> Run:
    """One run, begun when the machine is quiet, or after `wait` seconds."""
    await until_calm(busy_seconds, QUIET, wait, windows=3)
    forget_peak(gateway.pid)
    loop = asyncio.get_running_loop()
    began, busy, ours = loop.time(), busy_seconds(), cpu_seconds(os.getpid(), gateway.pid, gateway.db_pid)
    own, database = cpu_seconds(gateway.pid), cpu_seconds(gateway.db_pid)
    seen = await tools.run(work, gateway.target)
    await until_calm(lambda: cpu_seconds(gateway.pid, gateway.db_pid), IDLE, SETTLE_SECONDS)
    await gateway.settled()
    own, database = cpu_seconds(gateway.pid) - own, cpu_seconds(gateway.db_pid) - database
    ours = cpu_seconds(os.getpid(), gateway.pid, gateway.db_pid) - ours
    strangers = (busy_seconds() - busy - ours) / (loop.time() - began) / (os.cpu_count() or 1)
    count = units(seen, work)
    return Run(
        gateway.name,
        work.name,
        repetition,
        seen,
        of_each(own, count) if gateway.pid else None,
        of_each(database, count) if gateway.db_pid else None,
        peak_mb(gateway.pid) if gateway.pid else None,
        max(0.0, strangers),
    )


def units(seen: Whole | Streams, work: Work) -> int:
    """Answers or chunks that the gateway worked on: `wrk` cuts its last requests off, and they count too."""
    if isinstance(seen, Streams):
        return seen.chunks
    return seen.ok + work.clients if seen.ok else 0


def of_each(seconds: float, count: int) -> float | None:
    """Microseconds of each unit. None where there was none, or where a process ended, and what it had used with it."""
    return seconds * 1e6 / count if count and seconds >= 0 else None


def sank(run: Run, work: Work) -> bool:
    """Whether fewer than half of a set's streams were completed: more of them are not tried."""
    return isinstance(run.seen, Streams) and run.seen.completed < work.clients * work.rounds / 2
