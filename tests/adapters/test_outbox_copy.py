"""Copies of an outbox: consistent, of one file, and without a word in the original."""

import shutil
import stat
from pathlib import Path

import pytest

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.outbox_copy import copy_outbox
from chatgpt_agent.core.errors import SetupError
from tests.support.agent import files_below
from tests.support.factories import make_intent, make_row


async def test_copy_has_what_a_crash_has_left(tmp_path: Path) -> None:
    """Rows that are still in SQLite's log are in the copy; the original stays as it is."""
    outbox, crashed = Outbox(tmp_path / "a"), tmp_path / "crashed"
    await outbox.open()
    for number in range(3):
        await outbox.add_intent(make_intent(number))
    await outbox.settle(make_row(0))
    agent = await outbox.identity()
    shutil.copytree(tmp_path / "a", crashed)  # as kill -9 leaves it, and without the memory of the process
    await outbox.close()
    (crashed / "outbox.db-shm").unlink()
    sums = copy_outbox(crashed, tmp_path / "copy")
    assert sums is not None
    assert (sums.intents, sums.rows, sums.agent_id) == (2, 1, str(agent))
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600
    assert [path for path in files_below(tmp_path) if path.name.startswith("copy-")] == []


def test_missing_outbox_is_none(tmp_path: Path) -> None:
    """The agent may be on another machine."""
    assert copy_outbox(tmp_path, tmp_path / "copy") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"not SQLite" * 1000, b"SQLite format 3\0" + bytes(4080)])
def test_damaged_outbox_is_one_line(tmp_path: Path, content: bytes) -> None:
    """The backup ends, so that it does not look good."""
    (tmp_path / "outbox.db").write_bytes(content)
    with pytest.raises(SetupError, match=r"^the outbox .*outbox\.db cannot be copied to "):
        copy_outbox(tmp_path, tmp_path / "copy")
