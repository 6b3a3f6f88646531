"""How the limit of open files is split between exchanges and connections."""

import os

import pytest

from chatgpt_agent.adapters.open_files import (
    ADMIN_CONNECTIONS,
    RESERVED_FILES,
    file_limit,
    file_limit_of,
    files_needed,
    split_file_limit,
)


@pytest.mark.parametrize(
    ("limit", "max_exchanges", "exchanges"),
    [(96, 1000, 12), (1024, 1000, 476), (20_000, 1000, 1000), (1 << 30, 100_000, 100_000)],
)
def test_exchanges_and_connections_stay_below_the_file_limit(limit: int, max_exchanges: int, exchanges: int) -> None:
    """Each transfer has a connection, and the process keeps the files that it needs itself."""
    split, connections = split_file_limit(limit, max_exchanges)
    assert split == exchanges
    assert connections >= split
    assert split + connections + RESERVED_FILES + ADMIN_CONNECTIONS <= limit


def test_tiny_file_limit_leaves_one_of_each() -> None:
    """Accepting then fails, and the listener pauses."""
    assert split_file_limit(10, 1000) == (1, 1)


def test_needed_files_leave_room_for_every_exchange() -> None:
    """The limit that is recommended is the lowest one that is enough."""
    needed = files_needed(1000)
    assert split_file_limit(needed, 1000)[0] == 1000
    assert split_file_limit(needed - 1, 1000)[0] < 1000


def test_limit_of_another_process_is_that_of_proc() -> None:
    """Linux shows it for every process; a process that is gone has none."""
    assert file_limit_of(os.getpid()) == file_limit()
    assert file_limit_of(1 << 30) is None
