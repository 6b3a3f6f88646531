"""The outbox on a real disk: acknowledged writes survive, failed writes are reported."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.outbox import GROUP, Outbox
from chatgpt_agent.core.errors import LedgerUnavailable, SetupError
from tests.support.factories import make_intent, make_row, request_id
from tests.support.full_disk import full_disk
from tests.support.waiting import SECONDS


@pytest.fixture
def outbox(io_loop: IOLoop, tmp_path: Path) -> Iterator[Outbox]:
    """An open outbox in the test's folder."""
    outbox = Outbox(tmp_path)
    io_loop.run_sync(outbox.open)
    yield outbox
    io_loop.run_sync(outbox.close)


async def reopened(outbox: Outbox, folder: Path) -> Outbox:
    """Closes an outbox and returns a new one on the same folder."""
    await outbox.close()
    another = Outbox(folder)
    await another.open()
    return another


async def put(outbox: Outbox, *numbers: int) -> None:
    """Adds the rows with these numbers, in this order."""
    for number in numbers:
        await outbox.add_intent(make_intent(number))
        await outbox.settle(make_row(number))


async def numbers(outbox: Outbox, limit: int = 1000) -> list[int]:
    """The numbers of the rows in a batch."""
    _, rows = await outbox.peek_batch(limit)
    return [next(n for n in range(2000) if request_id(n) == row.intent.request_id) for row in rows]


# Storing.


async def test_an_intent_survives_reopening(outbox: Outbox, tmp_path: Path) -> None:
    """An intent is read back with all its fields."""
    await outbox.add_intent(make_intent(1))
    again = await reopened(outbox, tmp_path)
    assert await again.intents() == [make_intent(1)]
    await again.close()


async def test_a_row_survives_reopening(outbox: Outbox, tmp_path: Path) -> None:
    """A row is read back with all its fields."""
    await put(outbox, 1)
    again = await reopened(outbox, tmp_path)
    assert (await again.peek_batch(10))[1] == [make_row(1)]
    await again.close()


async def test_an_acknowledged_intent_is_readable_before_the_outbox_closes(outbox: Outbox, tmp_path: Path) -> None:
    """Another connection, as after a crash, reads an acknowledged intent from the file."""
    await outbox.add_intent(make_intent(1))
    with sqlite3.connect(tmp_path / "outbox.db") as db:
        assert db.execute("SELECT request_id FROM intents").fetchall() == [(str(request_id(1)),)]
    db.close()


async def test_every_commit_waits_for_the_disk(outbox: Outbox) -> None:
    """The file uses WAL with synchronous = FULL (2); NORMAL would lose acknowledged rows in a power cut."""
    assert [await outbox.pragma(name) for name in ("journal_mode", "synchronous")] == ["wal", 2]


async def test_a_cost_keeps_every_digit(outbox: Outbox) -> None:
    """A cost is stored as text, without rounding."""
    cost = Decimal("1234567890.12345678901234567890")
    await outbox.add_intent(make_intent(1))
    await outbox.settle(msgspec.structs.replace(make_row(1), cost=cost))
    [row] = (await outbox.peek_batch(1))[1]
    assert str(row.cost) == str(cost)


async def test_settling_replaces_the_intent_by_its_row(outbox: Outbox) -> None:
    """A request has either an intent or a row."""
    await put(outbox, 1)
    assert await outbox.intents() == []
    assert await numbers(outbox) == [1]


async def test_settling_again_changes_nothing(outbox: Outbox) -> None:
    """A repeated settle adds no second row, since a failed attempt may have succeeded."""
    await put(outbox, 1)
    await outbox.settle(make_row(1))
    assert await numbers(outbox) == [1]


async def test_settling_a_shipped_row_again_changes_nothing(outbox: Outbox) -> None:
    """A row that was shipped does not come back."""
    await put(outbox, 1)
    last, _ = await outbox.peek_batch(10)
    await outbox.ack(last)
    await outbox.settle(make_row(1))
    assert await outbox.depth() == 0


async def test_settling_keeps_other_intents(outbox: Outbox) -> None:
    """Settling one request keeps the intents of others."""
    await outbox.add_intent(make_intent(1))
    await put(outbox, 2)
    assert await outbox.intents() == [make_intent(1)]


# Shipping.


async def test_rows_are_ordered_by_the_time_of_settling(outbox: Outbox) -> None:
    """The row that was settled first comes first, whatever its id."""
    await put(outbox, 3, 1, 2)
    assert await numbers(outbox) == [3, 1, 2]


async def test_a_batch_has_at_most_the_requested_rows(outbox: Outbox) -> None:
    """A batch contains the oldest rows, up to the limit."""
    await put(outbox, 1, 2, 3)
    assert await numbers(outbox, limit=2) == [1, 2]


async def test_rows_stay_until_they_are_acknowledged(outbox: Outbox) -> None:
    """Reading a batch deletes nothing."""
    await put(outbox, 1)
    assert await numbers(outbox) == await numbers(outbox) == [1]


async def test_acknowledging_a_batch_keeps_later_rows(outbox: Outbox) -> None:
    """A row that was settled after the batch was read stays."""
    await put(outbox, 1, 2)
    last, _ = await outbox.peek_batch(2)
    await put(outbox, 3)
    await outbox.ack(last)
    assert await numbers(outbox) == [3]


async def test_numbers_are_not_used_again(outbox: Outbox, tmp_path: Path) -> None:
    """A late acknowledgement of a batch cannot delete a newer row."""
    await put(outbox, 1)
    last, _ = await outbox.peek_batch(10)
    await outbox.ack(last)
    again = await reopened(outbox, tmp_path)
    await put(again, 2)
    await again.ack(last)
    assert await again.depth() == 1
    await again.close()


async def test_an_empty_outbox_has_an_empty_batch(outbox: Outbox) -> None:
    """An empty outbox returns no rows, and acknowledging them is no error."""
    last, rows = await outbox.peek_batch(10)
    await outbox.ack(last)
    assert (last, rows, await outbox.depth()) == (0, [], 0)


# Group commit.


async def test_five_hundred_concurrent_intents_are_stored(outbox: Outbox, tmp_path: Path) -> None:
    """All concurrent intents are stored once."""
    await asyncio.gather(*(outbox.add_intent(make_intent(n)) for n in range(500)))
    again = await reopened(outbox, tmp_path)
    assert {intent.request_id for intent in await again.intents()} == {request_id(n) for n in range(500)}
    await again.close()


async def test_more_work_than_a_group_is_stored(outbox: Outbox) -> None:
    """Work beyond the size of a group is committed in the next one."""
    await asyncio.gather(*(put(outbox, n) for n in range(GROUP * 2 + 1)))
    assert (await outbox.depth(), await outbox.intents()) == (GROUP * 2 + 1, [])


async def test_concurrent_intents_share_commits(outbox: Outbox, tmp_path: Path) -> None:
    """A commit of one intent adds at least one page to the log, so that fewer pages than intents show shared
    commits."""
    await asyncio.gather(*(outbox.add_intent(make_intent(n)) for n in range(400)))
    frames = (tmp_path / "outbox.db-wal").stat().st_size // (4096 + 24)
    assert frames < 200


async def test_closing_finishes_waiting_work(outbox: Outbox, tmp_path: Path) -> None:
    """Intents that were added before closing are stored."""
    adding = [asyncio.create_task(outbox.add_intent(make_intent(n))) for n in range(50)]
    await asyncio.sleep(0)
    again = await reopened(outbox, tmp_path)
    await asyncio.gather(*adding)
    assert len(await again.intents()) == 50
    await again.close()


async def test_a_cancelled_caller_does_not_undo_the_write(outbox: Outbox) -> None:
    """An intent is stored although its caller was cancelled."""
    adding = asyncio.create_task(outbox.add_intent(make_intent(1)))
    await asyncio.sleep(0)
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
    assert await outbox.intents() == [make_intent(1)]


# Failing writes.


async def test_a_failed_write_raises(outbox: Outbox) -> None:
    """A full disk raises LedgerUnavailable, so that the request is not sent."""
    with full_disk(), pytest.raises(LedgerUnavailable):
        await outbox.add_intent(make_intent(1))
    assert not outbox.writable


async def test_a_failed_write_stores_nothing(outbox: Outbox) -> None:
    """After a failed settle the intent is still there, and a failed intent is not stored."""
    await outbox.add_intent(make_intent(1))
    with full_disk():
        results = await asyncio.gather(
            outbox.settle(make_row(1)), outbox.add_intent(make_intent(2)), return_exceptions=True
        )
    assert [type(result) for result in results] == [LedgerUnavailable, LedgerUnavailable]
    assert (await outbox.intents(), await outbox.depth()) == ([make_intent(1)], 0)


async def test_a_write_after_the_disk_recovers_succeeds(outbox: Outbox) -> None:
    """The next successful write makes the outbox writable again."""
    with full_disk(), pytest.raises(LedgerUnavailable):
        await outbox.add_intent(make_intent(1))
    await outbox.add_intent(make_intent(1))
    assert outbox.writable
    assert await outbox.intents() == [make_intent(1)]


async def test_reading_does_not_make_the_outbox_writable(outbox: Outbox) -> None:
    """A full disk can still be read, which does not show that writes work."""
    with full_disk():
        with pytest.raises(LedgerUnavailable):
            await outbox.add_intent(make_intent(1))
        await outbox.peek_batch(10)
        assert not outbox.writable


async def test_a_probe_shows_that_the_disk_works_again(outbox: Outbox) -> None:
    """A probe writes to the disk and leaves no record."""
    with full_disk():
        for work in (outbox.add_intent(make_intent(1)), outbox.probe()):
            with pytest.raises(LedgerUnavailable):
                await work
    await outbox.probe()
    assert outbox.writable
    assert (await outbox.intents(), await outbox.depth()) == ([], 0)


async def test_failing_writes_are_logged_once(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    """Only the first failed write is logged, because a line for each request would fill the disk further."""
    with full_disk():
        for number in range(3):
            await outbox.depth()
            with pytest.raises(LedgerUnavailable):
                await outbox.add_intent(make_intent(number))
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_another_writer_makes_writes_fail(outbox: Outbox, tmp_path: Path) -> None:
    """A write fails while another process has a transaction on the file, and succeeds afterwards."""
    other = sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable):
        await outbox.add_intent(make_intent(1))
    other.close()
    await outbox.add_intent(make_intent(1))
    assert outbox.writable


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), MemoryError()])
async def test_a_commit_that_cannot_be_rolled_back_raises(tmp_path: Path, error: Exception) -> None:
    """Callers get LedgerUnavailable while COMMIT and ROLLBACK fail, and the outbox works again afterwards."""
    broken: list[str] = []

    class Failing(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
            if sql in broken:
                raise error
            return super().execute(sql, parameters)

    outbox = Outbox(tmp_path, connect=lambda path: sqlite3.connect(path, isolation_level=None, factory=Failing))
    await outbox.open()
    broken += ["COMMIT", "ROLLBACK"]
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            async with asyncio.timeout(SECONDS):
                await outbox.add_intent(make_intent(1))
    broken.clear()
    with pytest.raises(LedgerUnavailable):  # the transaction that is still open goes first
        await outbox.add_intent(make_intent(1))
    await outbox.add_intent(make_intent(1))
    assert await outbox.intents() == [make_intent(1)]
    await outbox.close()


async def test_any_error_on_opening_is_a_setup_error(tmp_path: Path) -> None:
    """An unexpected error of SQLite ends `open` instead of leaving it waiting."""

    def connect(path: Path) -> sqlite3.Connection:
        raise MemoryError

    with pytest.raises(SetupError, match="cannot be used"):
        async with asyncio.timeout(SECONDS):
            await Outbox(tmp_path, connect=connect).open()


# Opening and closing.


async def test_a_closed_outbox_refuses_work(outbox: Outbox) -> None:
    """A write after closing raises LedgerUnavailable."""
    await outbox.close()
    assert not outbox.writable
    with pytest.raises(LedgerUnavailable):
        await outbox.add_intent(make_intent(1))


async def test_a_closing_outbox_refuses_work(outbox: Outbox) -> None:
    """A write during closing raises LedgerUnavailable at once."""
    closing = asyncio.create_task(outbox.close())
    await asyncio.sleep(0)
    with pytest.raises(LedgerUnavailable):
        async with asyncio.timeout(SECONDS):
            await outbox.add_intent(make_intent(1))
    await closing


async def test_an_unopened_outbox_refuses_work(tmp_path: Path) -> None:
    """A write before `open` raises LedgerUnavailable, and closing is no error."""
    outbox = Outbox(tmp_path)
    with pytest.raises(LedgerUnavailable):
        await outbox.add_intent(make_intent(1))
    await outbox.close()


async def test_closing_twice_is_allowed(outbox: Outbox) -> None:
    """The second `close` does nothing."""
    await outbox.close()
    await outbox.close()


async def test_a_second_outbox_on_the_folder_is_refused(outbox: Outbox, tmp_path: Path) -> None:
    """Two agents on one folder would ship each other's rows."""
    with pytest.raises(SetupError, match=f"another agent is running on {tmp_path}: give each its own data_dir"):
        await Outbox(tmp_path).open()


async def test_others_cannot_take_the_lock(tmp_path: Path) -> None:
    """Another account that holds it would keep the agent from starting."""
    before = os.umask(0)
    try:
        outbox = Outbox(tmp_path)
        await outbox.open()
        await outbox.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "outbox.lock").stat().st_mode) == 0o600


async def test_another_process_on_the_folder_is_refused(outbox: Outbox, tmp_path: Path) -> None:
    """The lock also excludes other processes."""
    code = (
        "import asyncio, pathlib, sys; from chatgpt_agent.adapters.outbox import Outbox\n"
        "asyncio.run(Outbox(pathlib.Path(sys.argv[1])).open())"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = await asyncio.to_thread(lambda: subprocess.run(command, capture_output=True, text=True))
    assert done.returncode == 1
    assert "another agent is running on" in done.stderr


async def test_closing_releases_the_folder(outbox: Outbox, tmp_path: Path) -> None:
    """The folder can be opened again after closing."""
    again = await reopened(outbox, tmp_path)
    assert again.writable
    await again.close()


async def test_a_failed_open_releases_the_folder(io_loop: IOLoop, tmp_path: Path) -> None:
    """The folder can be opened in the same process once the file is repaired."""
    (tmp_path / "outbox.db").write_bytes(b"not a database, but long enough to be one" * 100)
    outbox = Outbox(tmp_path)
    with pytest.raises(SetupError):
        await outbox.open()
    (tmp_path / "outbox.db").unlink()
    await outbox.open()
    await outbox.close()


async def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    """The file is kept, because it may contain the only copy of rows."""
    (tmp_path / "outbox.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(SetupError, match=rf"the outbox {tmp_path}/outbox\.db cannot be used: file is not a database"):
        await Outbox(tmp_path).open()
    assert (tmp_path / "outbox.db").read_bytes() == b"not a database" * 1000


async def test_a_truncated_file_is_refused(outbox: Outbox, tmp_path: Path) -> None:
    """A file that lost its end does not open."""
    await put(outbox, *range(50))
    await outbox.close()
    content = (tmp_path / "outbox.db").read_bytes()
    (tmp_path / "outbox.db").write_bytes(content[:5000])
    with pytest.raises(SetupError, match=r"outbox\.db cannot be used"):
        await outbox.open()


async def test_a_file_with_a_damaged_page_is_refused(outbox: Outbox, tmp_path: Path) -> None:
    """Damage is found when the file is opened, before any request is sent."""
    await put(outbox, *range(100))
    await outbox.close()
    with (tmp_path / "outbox.db").open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"\xff" * 4096)
    with pytest.raises(SetupError, match=r"outbox\.db cannot be used"):
        await outbox.open()


async def test_a_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    """The error says that the folder cannot be created."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot be created"):
        await Outbox(tmp_path / "file" / "data").open()


async def test_the_files_are_readable_by_their_owner_only(outbox: Outbox, tmp_path: Path) -> None:
    """The file and those that SQLite adds have mode 0600."""
    await put(outbox, 1)
    names = ("outbox.db", "outbox.db-wal", "outbox.db-shm")
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names}
    assert set(modes.values()) == {0o600}
