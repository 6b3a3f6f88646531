"""`doctor` on this machine: the disk, the outbox, the agent, the limit of open files."""

import fcntl
import os
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from chatgpt_agent.adapters.disk import Room
from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.admin.doctor.machine import of_room
from chatgpt_agent.admin.doctor.results import Outcome
from chatgpt_agent.core.errors import SetupError
from tests.support.agent import Agent
from tests.support.doctor import as_root, names_in, run_check, run_one, set_mode, write
from tests.support.factories import make_intent, make_row
from tests.support.full_disk import full_disk, without_root

# The disk.


async def test_disk_is_ok(data_dir: Path) -> None:
    """A file is written and removed."""
    outcome, text, _ = await run_one("disk", data_dir=data_dir)
    assert (outcome, "a write takes" in text) == (Outcome.OK, True)
    assert names_in(data_dir) == []


async def test_disk_without_room_for_a_write_is_a_failure(data_dir: Path) -> None:
    """The system's reason is shown, and nothing is left behind."""
    with full_disk():
        outcome, text, _ = await run_one("disk", data_dir=data_dir)
    assert outcome is Outcome.FAILURE
    assert text.startswith(f"{data_dir} cannot be written: File too large (")
    assert names_in(data_dir) == []


@as_root
async def test_read_only_folder_is_a_failure(data_dir: Path) -> None:
    """The system's reason is shown."""
    set_mode(data_dir, 0o555)
    with without_root():
        outcome, text, advice = await run_one("disk", data_dir=data_dir)
    assert outcome is Outcome.FAILURE
    assert text.startswith(f"{data_dir} cannot be written: Permission denied (")
    assert advice.startswith("give it to the agent's account")


@pytest.mark.parametrize(
    ("free", "files", "expected"),
    [
        (1 << 30, None, []),
        (1 << 28, 1000, [Outcome.WARNING]),
        (1 << 19, None, [Outcome.FAILURE]),
        (1 << 30, 5, [Outcome.FAILURE]),
    ],
)
def test_room_on_the_disk(free: int, files: int | None, expected: list[Outcome]) -> None:
    """Half a gigabyte is little, and less than a megabyte none."""
    assert [result.outcome for result in of_room(Path("/data"), Room(free=free, free_files=files))] == expected


# The outbox.


async def fill(data_dir: Path, *, rows: int) -> None:
    """Leaves rows to be shipped in an outbox."""
    outbox = Outbox(data_dir)
    await outbox.open()
    for number in range(1, rows + 1):
        await outbox.add_intent(make_intent(number))
        await outbox.settle(make_row(number))
    await outbox.close()


async def test_missing_outbox_is_ok(data_dir: Path) -> None:
    """The first start creates it."""
    assert (await run_one("outbox", data_dir=data_dir))[0] is Outcome.OK


async def test_empty_outbox_is_ok(data_dir: Path) -> None:
    """The text says whether an agent runs."""
    await fill(data_dir, rows=0)
    outcome, text, _ = await run_one("outbox", data_dir=data_dir)
    assert (outcome, text) == (Outcome.OK, "no row waits to be shipped; no agent runs on it")


async def test_waiting_rows_without_an_agent_are_a_warning(data_dir: Path) -> None:
    """An agent ships them."""
    await fill(data_dir, rows=2)
    outcome, text, advice = await run_one("outbox", data_dir=data_dir)
    assert (outcome, advice) == (Outcome.WARNING, "start the agent, which ships them")
    assert text.startswith("2 rows wait to be shipped, the oldest began ")


async def test_rows_that_wait_long_beside_an_agent_are_a_warning(data_dir: Path) -> None:
    """The advice names what may be wrong; the rows of this test are of 2026."""
    await fill(data_dir, rows=1)
    with (data_dir / "outbox.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome, text, advice = await run_one("outbox", data_dir=data_dir)
    assert (outcome, "PostgreSQL" in advice) == (Outcome.WARNING, True)
    assert text.endswith(f"process {os.getpid()} runs on it")


async def test_damaged_outbox_is_an_error(data_dir: Path) -> None:
    """The runner makes a failure of it."""
    write(data_dir / "outbox.db", "no database" * 100)
    with pytest.raises(SetupError, match="cannot be read"):
        await run_check("outbox", data_dir=data_dir)


async def test_outbox_is_not_changed(data_dir: Path) -> None:
    """It is only read."""
    await fill(data_dir, rows=1)
    before = (data_dir / "outbox.db").read_bytes()
    await run_check("outbox", data_dir=data_dir)
    assert (data_dir / "outbox.db").read_bytes() == before
    with sqlite3.connect(data_dir / "outbox.db") as db:
        assert db.execute("SELECT count(*) FROM rows").fetchone() == (1,)


# The agent.


async def test_no_agent_is_ok(data_dir: Path) -> None:
    """There is nothing to ask, and a start would not fail for its ports."""
    outcome, text, _ = await run_one("ready", data_dir=data_dir, port=0, admin_port=0)
    assert (outcome, text) == (Outcome.OK, f"no agent runs on {data_dir}, and its ports are free")


@pytest.mark.parametrize("key", ["port", "admin_port"])
async def test_port_of_another_program_is_a_failure(data_dir: Path, key: str) -> None:
    """An agent could not start."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings: dict[str, Any] = {"port": 0, "admin_port": 0, "bind_address": "127.0.0.1", key: port}
        outcome, text, _ = await run_one("ready", data_dir=data_dir, **settings)
    assert outcome is Outcome.FAILURE
    assert text.startswith(f"{key}: cannot listen on 127.0.0.1:{port}: Address already in use: another program")


async def test_port_of_another_agent_is_a_warning(agent: Agent, data_dir: Path) -> None:
    """That agent is perhaps the one that is meant, in another container."""
    settings: dict[str, Any] = {"port": agent.server.port, "admin_port": 0, "bind_address": "127.0.0.1"}
    outcome, text, _ = await run_one("ready", data_dir=data_dir, **settings)
    assert (outcome, f"by an agent that does not run on {data_dir}" in text) == (Outcome.WARNING, True)


async def test_agent_that_does_not_answer_is_a_failure(data_dir: Path) -> None:
    """Its process has the lock, and nothing listens on its port."""
    with (data_dir / "outbox.lock").open("ab") as lock, socket.socket() as closed:
        fcntl.flock(lock, fcntl.LOCK_EX)
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        outcome, text, _ = await run_one("ready", data_dir=data_dir, bind_address="127.0.0.1", port=port)
        unknown, *_ = await run_one("ready", data_dir=data_dir, port=0)
    assert (outcome, "Connection refused" in text) == (Outcome.FAILURE, True)
    assert unknown is Outcome.SKIPPED


# Open files.


@pytest.mark.parametrize(("requests", "expected"), [(10, Outcome.OK), (100_000_000, Outcome.WARNING)])
async def test_limit_of_open_files(data_dir: Path, requests: int, expected: Outcome) -> None:
    """It must have room for every request and its client."""
    assert (await run_one("open-files", data_dir=data_dir, max_concurrent_requests=requests))[0] is expected
