"""The folder of the demonstration. It is deleted with the PostgreSQL in it, also where this process is killed: a child
waits for its end and does it."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from chatgpt_agent.core.errors import SetupError

PREFIX = "chatgpt-agent-demo-"
POSTGRES = "postgres"  # as runtime/database.py names it
REMOVE_SECONDS = 10.0  # a program of PostgreSQL may still write


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder, which does not outlive the context. Signals must be blocked, and there must be no other thread."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    waiting, alive = os.pipe()  # which no other child inherits (PEP 446)
    child = os.fork()
    if child == 0:
        os.close(alive)
        _wait_and_remove(folder, waiting)
    os.close(waiting)
    try:
        yield folder
    finally:
        os.close(alive)
        os.waitpid(child, 0)


def _wait_and_remove(folder: Path, waiting: int) -> None:
    """Is the child, which ends here. A signal for the group of processes, such as Ctrl-C, does not reach it."""
    try:
        os.setsid()
        os.read(waiting, 1)  # nothing is sent: it returns when the last writing end is closed
        with suppress(SetupError):
            EmbeddedPostgres(folder / POSTGRES).remove()
        _remove(folder)
    finally:
        os._exit(0)


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + REMOVE_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.02)
