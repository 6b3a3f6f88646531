"""The disk of a folder: how much room it has, whether it takes writes, and how long they take."""

import os
import secrets
import time
from pathlib import Path

import msgspec

WRITES = 3
BYTES = 4096  # of each write: a page of SQLite


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What is free: bytes, and the number of files; None: the file system has no limit of files."""

    free: int
    free_files: int | None


def disk_room(folder: Path) -> Room:
    """Returns what is free on a folder's disk. Raises OSError."""
    status = os.statvfs(folder)
    return Room(free=status.f_bavail * status.f_frsize, free_files=status.f_favail if status.f_files else None)


def write_seconds(folder: Path) -> float:
    """Writes and syncs a small file of its own in a folder, and removes it. Returns the longest of a few writes, in
    seconds. Raises OSError."""
    path = folder / f".probe-{secrets.token_hex(4)}"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        return max(_write(handle) for _ in range(WRITES))
    finally:
        os.close(handle)
        path.unlink()


def _write(handle: int) -> float:
    started = time.monotonic()
    os.write(handle, bytes(BYTES))
    os.fsync(handle)
    return time.monotonic() - started
