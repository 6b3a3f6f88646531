"""What glibc's malloc keeps of freed memory (mallopt(3), malloc_trim(3)). With another C library nothing happens."""

import contextlib
import ctypes
import mmap
from pathlib import Path

LARGE = 512 * 1024  # bytes; larger blocks are mapped one by one, and go back to the system when they are freed

_M_MMAP_THRESHOLD = -3

_STATM = Path("/proc/self/statm")


def map_large_blocks() -> None:
    """Fixes the size from which blocks are mapped. By default glibc raises it to that of each large block that is
    freed, up to 32 MiB, and keeps such blocks from then on."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE)


def trim() -> None:
    """Gives freed memory back to the system."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """Returns the resident memory of this process (proc(5), statm); 0 where the system does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0
