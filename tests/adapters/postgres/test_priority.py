"""The priority of a server's process on this machine."""

import os
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.connection import Store


@pytest.fixture
def background(io_loop: IOLoop, postgres: str) -> Iterator[Store]:
    """A store that leaves the processors to others."""
    store = Store(postgres, background=True)
    yield store
    io_loop.run_sync(store.close)


async def test_process_in_the_background_has_a_low_priority(background: Store) -> None:
    """The one that serves its connection."""
    [(process,)] = await background.fetch("SELECT pg_backend_pid()")
    assert os.getpriority(os.PRIO_PROCESS, process) == 10


async def test_other_processes_keep_their_priority(background: Store, postgres: str) -> None:
    """The process that listens, and those of other connections."""
    async with Store(postgres) as store:
        [(process, listening)] = await store.fetch(
            "SELECT pg_backend_pid(), split_part(pg_read_file('postmaster.pid'), chr(10), 1)::int"
        )
        assert await background.fetch("SELECT 1")
        assert [os.getpriority(os.PRIO_PROCESS, each) for each in (process, listening)] == [0, 0]


async def test_server_of_which_the_process_is_not_known_is_used_as_it_is(
    background: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler, which invents process numbers: one may be that of another program."""
    monkeypatch.setattr("chatgpt_agent.adapters.postgres.priority._parent", lambda _: os.getpid())
    [(process,)] = await background.fetch("SELECT pg_backend_pid()")
    assert os.getpriority(os.PRIO_PROCESS, process) == 0
