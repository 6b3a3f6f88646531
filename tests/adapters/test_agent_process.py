"""The process that runs on a data directory, and its disk."""

import fcntl
import os
from pathlib import Path

from chatgpt_agent.adapters.agent_process import running_agent
from chatgpt_agent.adapters.disk import disk_room, write_seconds


def test_process_with_the_lock_is_the_agent(tmp_path: Path) -> None:
    """The lock is not taken for that."""
    with (tmp_path / "outbox.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert running_agent(tmp_path) == os.getpid()


def test_file_without_a_lock_has_no_agent(tmp_path: Path) -> None:
    """An agent that has stopped leaves it behind; before the first start there is none."""
    assert running_agent(tmp_path) is None
    (tmp_path / "outbox.lock").touch()
    assert running_agent(tmp_path) is None


def test_system_without_a_list_of_locks_shows_no_agent(tmp_path: Path) -> None:
    """Only Linux has one."""
    (tmp_path / "outbox.lock").touch()
    assert running_agent(tmp_path, tmp_path / "nowhere") is None


def test_disk_is_measured_without_a_trace(tmp_path: Path) -> None:
    """There is room, and a write takes some time."""
    assert disk_room(tmp_path).free > 0
    assert write_seconds(tmp_path) > 0
    assert list(tmp_path.iterdir()) == []
