"""Outboxes that cannot be opened: one line, which says what to do."""

import sqlite3
from pathlib import Path

import pytest

from chatgpt_agent.adapters.outbox import Outbox, read_state
from chatgpt_agent.adapters.outbox_faults import describe_fault
from chatgpt_agent.core.errors import SetupError
from tests.support.doctor import as_root, set_mode, write
from tests.support.full_disk import without_root
from tests.support.postgres_server import server_folder


async def test_damaged_outbox_is_to_be_moved_away(tmp_path: Path) -> None:
    """It is left as it is: it may have rows that were not shipped."""
    (tmp_path / "outbox.db").write_bytes(b"no database" * 100)
    with pytest.raises(SetupError, match="file is not a database: move it away, or restore it from a backup"):
        await Outbox(tmp_path).open()
    with pytest.raises(SetupError, match="cannot be read: file is not a database: move it away"):
        read_state(tmp_path)
    assert (tmp_path / "outbox.db").read_bytes() == b"no database" * 100


async def test_outbox_without_tables_is_empty(tmp_path: Path) -> None:
    """A full disk has ended the first start; the next one creates them."""
    (tmp_path / "outbox.db").touch()
    state = read_state(tmp_path)
    assert state is not None
    assert (state.rows, state.intents, state.agent_id) == (0, 0, None)
    outbox = Outbox(tmp_path)
    await outbox.open()
    await outbox.close()


@as_root
async def test_outbox_without_rights_names_its_file_once() -> None:
    """The agent's account must be able to write it."""
    with server_folder() as folder:
        path = write(folder / "outbox.db", mode=0o444)
        set_mode(folder, 0o777)
        with without_root(), pytest.raises(SetupError) as caught:
            await Outbox(folder).open()
    reason = "Permission denied: the agent's account must be able to read and write it and its folder"
    assert caught.value.message == f"the outbox {path} cannot be used: {reason}"


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (sqlite3.SQLITE_IOERR_WRITE, "see whether its disk is full or broken"),
        (sqlite3.SQLITE_FULL, "see whether its disk is full or broken"),
        (sqlite3.SQLITE_CANTOPEN, "its folder must be writable, and the limit of open files"),
        (sqlite3.SQLITE_READONLY, "the agent's account must be able to"),
    ],
)
def test_what_sqlite_says_has_advice(code: int, advice: str) -> None:
    """A full disk is "disk I/O error" where the file of its log cannot grow."""
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code
    assert describe_fault(error).startswith(f"what SQLite says: {advice}")
