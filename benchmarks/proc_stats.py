"""Processor time and memory of processes, from Linux."""

import re
import time
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Returns the processor time of a process with all its threads, to the nanosecond: /proc rounds to 10 ms. The
    clock's number is the one of clock_getcpuclockid(3). Raises OSError if the process has ended."""
    return time.clock_gettime((~pid << 3) | 2)


class Tree:
    """A process and its children (PostgreSQL has one for each connection)."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._last: dict[int, float] = {}

    def cpu_seconds(self) -> float:
        """Returns their processor time; a process that has ended counts with its time at the last call."""
        for pid in (self._pid, *children(self._pid)):
            try:
                self._last[pid] = cpu_seconds(pid)
            except OSError:
                continue
        return sum(self._last.values())


def children(pid: int) -> list[int]:
    """Returns the running child processes of a process."""
    text = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(word) for word in text.split()]


def resident_megabytes(pid: int) -> float:
    """Returns the resident memory of a process."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024
