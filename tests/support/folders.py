"""Folders in memory, where no write waits for a disk."""

import shutil
from pathlib import Path

ROOM = 4 * 1024**3  # bytes; /dev/shm of a container may have 64 MiB


def memory_folder() -> Path | None:
    """The folder of files in memory, or None where there is none with room."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > ROOM else None
