"""What processes take of the processor and of memory, as Linux tells it."""

import re
import time
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Processor time of a process with all its threads so far, to the nanosecond: /proc rounds to 10 ms.
    The clock's number is what clock_getcpuclockid(3) returns. Raises OSError where it has ended."""
    return time.clock_gettime((~pid << 3) | 2)


class Tree:
    """A process and those that it starts (PostgreSQL has one for each connection): their processor time together."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._last: dict[int, float] = {}

    def cpu_seconds(self) -> float:
        """Processor time so far; of a process that has ended, its time at the last call."""
        for pid in (self._pid, *children(self._pid)):
            try:
                self._last[pid] = cpu_seconds(pid)
            except OSError:
                continue
        return sum(self._last.values())


def children(pid: int) -> list[int]:
    """The processes that a process has started itself and that run."""
    text = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(word) for word in text.split()]


def resident_megabytes(pid: int) -> float:
    """Memory of a process that is in RAM."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024
