"""The mark of a restore that is not finished: a file in the data directory, which no agent starts beside.

A restore writes the database in one transaction, but not the database and the data directory together. If it is
interrupted in between, the same command goes on where it stopped.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from chatgpt_agent.adapters.backup_file import write_file
from chatgpt_agent.adapters.files import remove_file, sync_folder
from chatgpt_agent.core.errors import SetupError

NAME = "restore-unfinished.json"
LOCK = "restore.lock"


class Unfinished(msgspec.Struct, frozen=True, kw_only=True):
    """A restore. `backup`: the id of the backup in the file `path`; `database_restored`: whether the database has all
    of its rows."""

    backup: str
    path: str
    database_restored: bool


def read_marker(data_dir: Path) -> Unfinished | None:
    """Returns the restore into this data directory that is not finished. Raises SetupError."""
    path = data_dir / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Unfinished)
    except OSError:  # there is none; or this account cannot enter the folder, and restores nothing into it either
        return None
    except msgspec.MsgspecError:
        raise SetupError(f"{path} is damaged: empty the folder and the database, and restore again") from None


def write_marker(data_dir: Path, state: Unfinished) -> None:
    """Notes how far a restore has come; it is on the disk when this returns. Raises SetupError."""
    write_file(data_dir / NAME, iter([msgspec.json.encode(state)]))


def remove_marker(data_dir: Path) -> None:
    """Notes that a restore is finished. Raises SetupError."""
    try:
        remove_file(data_dir / NAME)
        remove_file(data_dir / LOCK)
        sync_folder(data_dir)
    except OSError as error:
        raise SetupError(f"{data_dir / NAME} cannot be removed: {error.strerror}") from None


def check_finished(data_dir: Path) -> None:
    """Raises SetupError if a restore into this data directory is not finished."""
    unfinished = read_marker(data_dir)
    if unfinished is not None:
        raise SetupError(
            f"a restore into {data_dir} is not finished: repeat `chatgpt-agent restore` with {unfinished.path}"
        )


@contextmanager
def restore_lock(data_dir: Path) -> Iterator[None]:
    """One restore into a data directory at a time. Raises SetupError."""
    path = data_dir / LOCK
    try:
        lock: IO[bytes] = path.open("ab")
    except OSError as error:
        raise SetupError(f"{path} cannot be opened: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(f"another restore into {data_dir} is running") from None
        yield
