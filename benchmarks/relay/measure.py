"""Measures one run: the load, and the gateway's CPU time until it is idle again, so that postponed work
(usage records, logs) counts."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import msgspec

from benchmarks.relay.processes import IDLE, busy_seconds, cpu_seconds, peak_mb, reset_peak, until_calm
from benchmarks.relay.workloads import Streams, Target, Tools, Whole, Workload

SETTLE_SECONDS = 60.0  # how long a gateway may take to become idle after a load
QUIET = 0.2  # of a core: other programs do not disturb a run


async def _nothing() -> None:
    pass


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway under test. `pid` is the root of its process tree, `db_pid` that of its database, 0 without one.
    `settled` returns when the gateway has no postponed work that is visible from outside."""

    name: str
    target: Target
    pid: int = 0
    db_pid: int = 0
    settled: Callable[[], Awaitable[object]] = _nothing


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a workload. CPU time is in microseconds for each answer or chunk, of the gateway and of its database
    separately. `others_share` is the share of the machine's CPU time that unrelated programs used."""

    gateway: str
    workload: str
    repetition: int
    result: Whole | Streams
    cpu_us: float | None = None
    db_us: float | None = None
    memory_mb: float | None = None  # the gateway's peak
    others_share: float = 0.0

    @property
    def total_us(self) -> float | None:
        """CPU time of the gateway and its database together."""
        return None if self.cpu_us is None else self.cpu_us + (self.db_us or 0.0)


async def measure(tools: Tools, gateway: Gateway, workload: Workload, repetition: int, *, wait: float) -> Run:
    """Measures one run. It starts when the machine is quiet, or after `wait` seconds."""
    related = (os.getpid(), gateway.pid, gateway.db_pid)
    await until_calm(lambda: busy_seconds() - cpu_seconds(*related), QUIET, wait, windows=3)
    reset_peak(gateway.pid)
    loop = asyncio.get_running_loop()
    started, busy, own = loop.time(), busy_seconds(), cpu_seconds(*related)
    cpu, database = cpu_seconds(gateway.pid), cpu_seconds(gateway.db_pid)
    result = await tools.run(workload, gateway.target)
    await until_calm(lambda: cpu_seconds(gateway.pid, gateway.db_pid), IDLE, SETTLE_SECONDS)
    await gateway.settled()
    cpu, database = cpu_seconds(gateway.pid) - cpu, cpu_seconds(gateway.db_pid) - database
    others = busy_seconds() - busy - (cpu_seconds(*related) - own)
    count = count_units(result, workload)
    return Run(
        gateway=gateway.name,
        workload=workload.name,
        repetition=repetition,
        result=result,
        cpu_us=microseconds_each(cpu, count) if gateway.pid else None,
        db_us=microseconds_each(database, count) if gateway.db_pid else None,
        memory_mb=peak_mb(gateway.pid) if gateway.pid else None,
        others_share=max(0.0, others / (loop.time() - started) / (os.cpu_count() or 1)),
    )


def count_units(result: Whole | Streams, workload: Workload) -> int:
    """Returns the number of answers or chunks that the gateway worked on. At its end `wrk` interrupts one request of
    each client; these count too."""
    if isinstance(result, Streams):
        return result.chunks
    return result.ok + workload.clients if result.ok else 0


def microseconds_each(seconds: float, count: int) -> float | None:
    """Returns microseconds for each unit. None without units, or if `seconds` is negative because a process of the
    tree has ended."""
    return seconds * 1e6 / count if count and seconds >= 0 else None


def lost_most_streams(run: Run, workload: Workload) -> bool:
    """Returns whether fewer than half of the streams were completed; larger workloads are then skipped."""
    return isinstance(run.result, Streams) and run.result.completed < workload.clients * workload.rounds / 2
