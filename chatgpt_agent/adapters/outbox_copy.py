"""Copies of an outbox, by SQLite's own backup: one consistent state, while an agent writes to it."""

import contextlib
import os
import sqlite3
from pathlib import Path

from chatgpt_agent.adapters.files import file_exists
from chatgpt_agent.adapters.outbox import read_file
from chatgpt_agent.adapters.outbox_format import FORMAT, OLD_FORMATS
from chatgpt_agent.core.backup import OutboxSums
from chatgpt_agent.core.errors import SetupError

FILE = "outbox.db"  # in its folder


def copy_outbox(folder: Path, target: Path) -> OutboxSums | None:
    """Copies the outbox of a folder to a new file, and returns what is in the copy; None: there is no outbox. Raises
    SetupError."""
    source = folder / FILE
    try:
        if not file_exists(source):
            return None
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with (
            contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as original,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            original.backup(copy)  # in one step: a writer does not make it begin again
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
    except (OSError, sqlite3.Error) as error:
        raise SetupError(f"the outbox {source} cannot be copied to {target.parent}: {error}") from None
    return check_outbox(target)


def check_outbox(path: Path) -> OutboxSums:
    """Returns what is in the copy of an outbox. Raises SetupError: it is damaged, or of a newer program."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            [(version,)] = db.execute("PRAGMA user_version")
            [(damage,)] = db.execute("PRAGMA quick_check(1)")
    except sqlite3.Error as error:
        raise SetupError(f"the outbox {path} cannot be read: {error}") from None
    if damage != "ok":
        raise SetupError(f"the outbox {path} is damaged: {damage}")
    if version not in (FORMAT, *OLD_FORMATS):
        raise SetupError(f"the outbox {path} has format {version}, this program knows format {FORMAT}")
    state = read_file(path)
    return OutboxSums(intents=state.intents, rows=state.rows, agent_id=str(state.agent_id) if state.agent_id else None)
