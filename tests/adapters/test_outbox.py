"""The outbox on a real disk: what was acknowledged is there, and what cannot be written is not sent."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints
from uuid import UUID

import msgspec
import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.outbox import FORMAT, GROUP, Outbox
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.core.errors import LedgerUnavailable, SetupError
from chatgpt_agent.core.ledger import Intent, Row, State
from chatgpt_agent.core.usage import Usage
from tests.support.database import query
from tests.support.factories import make_intent, make_row, request_id
from tests.support.full_disk import full_disk


@pytest.fixture
def outbox(io_loop: IOLoop, tmp_path: Path) -> Iterator[Outbox]:
    """An open outbox in the test's folder."""
    outbox = Outbox(tmp_path)
    io_loop.run_sync(outbox.open)
    yield outbox
    io_loop.run_sync(outbox.close)


async def reopened(outbox: Outbox, folder: Path) -> Outbox:
    """Another outbox on the same folder, after the first was closed."""
    await outbox.close()
    another = Outbox(folder)
    await another.open()
    return another


async def put(outbox: Outbox, *numbers: int) -> None:
    """Rows with these numbers, in this order."""
    for number in numbers:
        await outbox.add_intent(make_intent(number))
        await outbox.settle(make_row(number))


async def numbers(outbox: Outbox, limit: int = 1000) -> list[int]:
    """The numbers of the rows in a batch."""
    _, rows = await outbox.batch(limit)
    return [next(n for n in range(2000) if request_id(n) == row.intent.request_id) for row in rows]


# What is kept.


async def test_an_intent_is_there_after_reopening(outbox: Outbox, tmp_path: Path) -> None:
    """To the last field."""
    await outbox.add_intent(make_intent(1))
    again = await reopened(outbox, tmp_path)
    assert await again.intents() == [make_intent(1)]
    await again.close()


async def test_a_row_is_there_after_reopening(outbox: Outbox, tmp_path: Path) -> None:
    """To the last field, and its cost to the last digit."""
    await put(outbox, 1)
    again = await reopened(outbox, tmp_path)
    assert (await again.batch(10))[1] == [make_row(1)]
    await again.close()


async def test_what_is_acknowledged_is_on_the_disk_before_the_outbox_is_closed(outbox: Outbox, tmp_path: Path) -> None:
    """Whoever opens the file now, as after a crash, finds it."""
    await outbox.add_intent(make_intent(1))
    with sqlite3.connect(tmp_path / "outbox.db") as db:
        assert db.execute("SELECT request_id FROM intents").fetchall() == [(str(request_id(1)),)]
    db.close()


async def test_every_commit_waits_for_the_disk(outbox: Outbox) -> None:
    """WAL with synchronous = FULL (2); NORMAL would lose acknowledged rows in a power cut."""
    settings = await outbox._do(
        lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    )
    assert settings == ["wal", 2]


async def test_a_cost_keeps_every_digit(outbox: Outbox) -> None:
    """A float on the way would not."""
    cost = Decimal("1234567890.12345678901234567890")
    await outbox.add_intent(make_intent(1))
    await outbox.settle(msgspec.structs.replace(make_row(1), cost=cost))
    [row] = (await outbox.batch(1))[1]
    assert str(row.cost) == str(cost)


async def test_settling_puts_the_row_in_the_place_of_the_intent(outbox: Outbox) -> None:
    """A request has one or the other."""
    await put(outbox, 1)
    assert await outbox.intents() == []
    assert await numbers(outbox) == [1]


async def test_settling_again_changes_nothing(outbox: Outbox) -> None:
    """A try that was told it had failed may have worked."""
    await put(outbox, 1)
    await outbox.settle(make_row(1))
    assert await numbers(outbox) == [1]


async def test_settling_again_after_the_row_was_shipped_changes_nothing(outbox: Outbox) -> None:
    """It does not come back."""
    await put(outbox, 1)
    last, _ = await outbox.batch(10)
    await outbox.drop(last)
    await outbox.settle(make_row(1))
    assert await outbox.depth() == 0


async def test_settling_leaves_other_intents_alone(outbox: Outbox) -> None:
    """Only its own request has ended."""
    await outbox.add_intent(make_intent(1))
    await put(outbox, 2)
    assert await outbox.intents() == [make_intent(1)]


# Shipping.


async def test_rows_come_in_the_order_in_which_they_were_settled(outbox: Outbox) -> None:
    """The oldest first, whatever their ids."""
    await put(outbox, 3, 1, 2)
    assert await numbers(outbox) == [3, 1, 2]


async def test_a_batch_is_as_large_as_was_asked(outbox: Outbox) -> None:
    """And of the oldest rows."""
    await put(outbox, 1, 2, 3)
    assert await numbers(outbox, limit=2) == [1, 2]


async def test_rows_stay_until_they_are_dropped(outbox: Outbox) -> None:
    """Reading forgets nothing."""
    await put(outbox, 1)
    assert await numbers(outbox) == await numbers(outbox) == [1]


async def test_dropping_a_batch_leaves_what_came_later(outbox: Outbox) -> None:
    """A row that was settled while the batch was on its way is not in it."""
    await put(outbox, 1, 2)
    last, _ = await outbox.batch(2)
    await put(outbox, 3)
    await outbox.drop(last)
    assert await numbers(outbox) == [3]


async def test_numbers_are_not_used_again(outbox: Outbox, tmp_path: Path) -> None:
    """A late drop of a batch that was dropped already cannot hit a new row."""
    await put(outbox, 1)
    last, _ = await outbox.batch(10)
    await outbox.drop(last)
    again = await reopened(outbox, tmp_path)
    await put(again, 2)
    await again.drop(last)
    assert await again.depth() == 1
    await again.close()


async def test_an_empty_outbox_has_an_empty_batch(outbox: Outbox) -> None:
    """And dropping it is no fault."""
    last, rows = await outbox.batch(10)
    await outbox.drop(last)
    assert (last, rows, await outbox.depth()) == (0, [], 0)


# Many at once.


async def test_five_hundred_at_once_all_land(outbox: Outbox, tmp_path: Path) -> None:
    """In groups, and none is lost or doubled."""
    await asyncio.gather(*(outbox.add_intent(make_intent(n)) for n in range(500)))
    again = await reopened(outbox, tmp_path)
    assert {intent.request_id for intent in await again.intents()} == {request_id(n) for n in range(500)}
    await again.close()


async def test_more_than_a_group_at_once_all_land(outbox: Outbox) -> None:
    """A group has an end, and the work after it comes next."""
    await asyncio.gather(*(put(outbox, n) for n in range(GROUP * 2 + 1)))
    assert (await outbox.depth(), await outbox.intents()) == (GROUP * 2 + 1, [])


async def test_many_at_once_share_commits(outbox: Outbox, tmp_path: Path) -> None:
    """The disk is waited for far fewer times than there are requests: every commit of one intent alone adds a page to
    the log, and a group's intents share theirs."""
    await asyncio.gather(*(outbox.add_intent(make_intent(n)) for n in range(400)))
    frames = (tmp_path / "outbox.db-wal").stat().st_size // (4096 + 24)
    assert frames < 200


async def test_what_was_given_before_closing_is_done(outbox: Outbox, tmp_path: Path) -> None:
    """Closing waits for it."""
    adding = [asyncio.create_task(outbox.add_intent(make_intent(n))) for n in range(50)]
    await asyncio.sleep(0)
    again = await reopened(outbox, tmp_path)
    await asyncio.gather(*adding)
    assert len(await again.intents()) == 50
    await again.close()


async def test_who_stops_waiting_does_not_undo_the_write(outbox: Outbox) -> None:
    """A handler that is cancelled has asked for it all the same."""
    adding = asyncio.create_task(outbox.add_intent(make_intent(1)))
    await asyncio.sleep(0)
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
    assert await outbox.intents() == [make_intent(1)]


# A disk that refuses.


async def test_an_intent_that_the_disk_refuses_is_told(outbox: Outbox) -> None:
    """So that nothing is sent."""
    with full_disk(), pytest.raises(LedgerUnavailable):
        await outbox.add_intent(make_intent(1))
    assert not outbox.writable


async def test_a_refused_write_leaves_nothing_behind(outbox: Outbox) -> None:
    """A row that failed is still an intent, and an intent that failed is not there."""
    await outbox.add_intent(make_intent(1))
    with full_disk():
        results = await asyncio.gather(
            outbox.settle(make_row(1)), outbox.add_intent(make_intent(2)), return_exceptions=True
        )
    assert [type(result) for result in results] == [LedgerUnavailable, LedgerUnavailable]
    assert (await outbox.intents(), await outbox.depth()) == ([make_intent(1)], 0)


async def test_it_recovers_when_the_disk_does(outbox: Outbox) -> None:
    """By itself: the next write works, and says so."""
    with full_disk(), pytest.raises(LedgerUnavailable):
        await outbox.add_intent(make_intent(1))
    await outbox.add_intent(make_intent(1))
    assert outbox.writable
    assert await outbox.intents() == [make_intent(1)]


async def test_reading_does_not_make_it_writable(outbox: Outbox) -> None:
    """A full disk can still be read; a look at the batch must not say that all is well."""
    with full_disk():
        with pytest.raises(LedgerUnavailable):
            await outbox.add_intent(make_intent(1))
        await outbox.batch(10)
        assert not outbox.writable


async def test_a_probe_tells_that_the_disk_is_well_again(outbox: Outbox) -> None:
    """It writes, and leaves nothing."""
    with full_disk():
        for work in (outbox.add_intent(make_intent(1)), outbox.probe()):
            with pytest.raises(LedgerUnavailable):
                await work
    await outbox.probe()
    assert outbox.writable
    assert (await outbox.intents(), await outbox.depth()) == ([], 0)


async def test_a_disk_that_refuses_is_logged_once(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    """A line for each request would fill what is left of it."""
    with full_disk():
        for number in range(3):
            await outbox.depth()
            with pytest.raises(LedgerUnavailable):
                await outbox.add_intent(make_intent(number))
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_another_writer_of_the_file_is_a_refusal_too(outbox: Outbox, tmp_path: Path) -> None:
    """Somebody who repairs it by hand, say; it goes on when they are done."""
    other = sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable):
        await outbox.add_intent(make_intent(1))
    other.close()
    await outbox.add_intent(make_intent(1))
    assert outbox.writable


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), MemoryError()])
async def test_a_commit_that_fails_and_cannot_be_taken_back_is_told(tmp_path: Path, error: Exception) -> None:
    """Whatever failed: nobody waits for ever, and it goes on when the disk does."""
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
            async with asyncio.timeout(5):
                await outbox.add_intent(make_intent(1))
    broken.clear()
    with pytest.raises(LedgerUnavailable):  # the transaction that is still open goes first
        await outbox.add_intent(make_intent(1))
    await outbox.add_intent(make_intent(1))
    assert await outbox.intents() == [make_intent(1)]
    await outbox.close()


async def test_a_file_that_cannot_be_opened_for_whatever_reason_is_told(tmp_path: Path) -> None:
    """The start does not wait for ever."""

    def connect(path: Path) -> sqlite3.Connection:
        raise MemoryError

    with pytest.raises(SetupError, match="cannot be used"):
        async with asyncio.timeout(5):
            await Outbox(tmp_path, connect=connect).open()


# Opening and closing.


async def test_a_closed_outbox_takes_nothing(outbox: Outbox) -> None:
    """Whoever still asks is refused, and does not wait for ever."""
    await outbox.close()
    assert not outbox.writable
    with pytest.raises(LedgerUnavailable):
        await outbox.add_intent(make_intent(1))


async def test_an_outbox_that_is_closing_takes_nothing(outbox: Outbox) -> None:
    """The thread reads no more work after the word to stop."""
    closing = asyncio.create_task(outbox.close())
    await asyncio.sleep(0)
    with pytest.raises(LedgerUnavailable):
        async with asyncio.timeout(5):
            await outbox.add_intent(make_intent(1))
    await closing


async def test_an_outbox_that_was_never_opened_takes_nothing(tmp_path: Path) -> None:
    """Nor does closing it fail."""
    outbox = Outbox(tmp_path)
    with pytest.raises(LedgerUnavailable):
        await outbox.add_intent(make_intent(1))
    await outbox.close()


async def test_closing_twice_is_no_fault(outbox: Outbox) -> None:
    """The second finds nothing to do."""
    await outbox.close()
    await outbox.close()


async def test_a_second_outbox_on_the_folder_is_refused(outbox: Outbox, tmp_path: Path) -> None:
    """Two agents would ship each other's rows."""
    with pytest.raises(SetupError, match=f"another agent is running on {tmp_path}: give each its own data_dir"):
        await Outbox(tmp_path).open()


async def test_another_process_on_the_folder_is_refused(outbox: Outbox, tmp_path: Path) -> None:
    """The lock is the kernel's, not ours."""
    code = (
        "import asyncio, pathlib, sys; from chatgpt_agent.adapters.outbox import Outbox\n"
        "asyncio.run(Outbox(pathlib.Path(sys.argv[1])).open())"
    )
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code, tmp_path], capture_output=True)
    assert done.returncode == 1
    assert b"another agent is running on" in done.stderr


async def test_the_folder_is_free_when_the_outbox_is_closed(outbox: Outbox, tmp_path: Path) -> None:
    """The next start finds it."""
    again = await reopened(outbox, tmp_path)
    assert again.writable
    await again.close()


async def test_the_folder_is_free_when_opening_has_failed(io_loop: IOLoop, tmp_path: Path) -> None:
    """A file that was repaired can be opened without ending the process."""
    (tmp_path / "outbox.db").write_bytes(b"not a database, but long enough to be one" * 100)
    outbox = Outbox(tmp_path)
    with pytest.raises(SetupError):
        await outbox.open()
    (tmp_path / "outbox.db").unlink()
    await outbox.open()
    await outbox.close()


@pytest.mark.parametrize("number", [3, 99])
async def test_a_file_of_another_format_is_refused(outbox: Outbox, tmp_path: Path, number: int) -> None:
    """With both numbers, and untouched."""
    await outbox.close()
    _execute(tmp_path / "outbox.db", f"PRAGMA user_version = {number}")
    with pytest.raises(SetupError, match=rf"outbox\.db cannot be used: it has format {number}, .* knows format 2"):
        await outbox.open()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """And kept: what is in it may be all there is."""
    (tmp_path / "outbox.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(SetupError, match=rf"the outbox {tmp_path}/outbox\.db cannot be used: file is not a database"):
        await Outbox(tmp_path).open()
    assert (tmp_path / "outbox.db").read_bytes() == b"not a database" * 1000


async def test_a_file_that_is_cut_off_is_refused(outbox: Outbox, tmp_path: Path) -> None:
    """As a disk that lost its end leaves it."""
    await put(outbox, *range(50))
    await outbox.close()
    content = (tmp_path / "outbox.db").read_bytes()
    (tmp_path / "outbox.db").write_bytes(content[:5000])
    with pytest.raises(SetupError, match=r"outbox\.db cannot be used"):
        await outbox.open()


async def test_a_file_with_a_damaged_page_is_refused(outbox: Outbox, tmp_path: Path) -> None:
    """Before anything is sent, and not when the shipper comes to read it."""
    await put(outbox, *range(100))
    await outbox.close()
    with (tmp_path / "outbox.db").open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"\xff" * 4096)
    with pytest.raises(SetupError, match=r"outbox\.db cannot be used"):
        await outbox.open()


async def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """With its path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot be made"):
        await Outbox(tmp_path / "file" / "data").open()


async def test_the_files_are_for_their_owner_alone(outbox: Outbox, tmp_path: Path) -> None:
    """Those that SQLite makes beside it, too."""
    await put(outbox, 1)
    names = ("outbox.db", "outbox.db-wal", "outbox.db-shm")
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names}
    assert set(modes.values()) == {0o600}


# Files of an earlier version.

INTENT_1 = """{"request_id":"018f4df7-3e01-7000-8000-000000000001","user_id":2,"token_id":11,
"endpoint":"/v1/chat/completions","model":"gpt-4o","price_id":7,"streamed":false,"started_at":"2024-05-17T12:00:01Z",
"reserved":"1.25"}"""
ROW_1 = """{"intent":{"request_id":"018f4df7-3e02-7000-8000-000000000002","user_id":3,"token_id":11,
"endpoint":"/v1/chat/completions","model":"gpt-4o-mini","price_id":7,"streamed":true,
"started_at":"2024-05-17T12:00:02Z","reserved":"0.5"},"state":"done","price_id":7,"cost":"0.000163350",
"usage":{"input":1002,"output":22,"cached":2,"reasoning":2,"cache_write":0,"audio_input":0,"image_input":0,
"audio_output":0,"image_output":0},"served_model":"gpt-4o-mini-2024-07-18","upstream_id":"chatcmpl-2",
"upstream_request_id":"req_2","status":200,"client_closed":false,"error":null,"duration_ms":1202,"first_byte_ms":300,
"service_tier":null,"reserved":"0.25"}"""


@pytest.fixture
def format_1(tmp_path: Path) -> Path:
    """The folder of an outbox in format 1, with one intent and one row."""
    db = sqlite3.connect(tmp_path / "outbox.db")
    db.executescript("""
        CREATE TABLE intents (request_id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE rows (seq INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL);
        CREATE TABLE identity (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL);
        PRAGMA user_version = 1""")
    db.execute("INSERT INTO intents VALUES (?, ?)", (str(request_id(1)), INTENT_1.encode()))
    db.execute("INSERT INTO rows (record) VALUES (?)", (ROW_1.encode(),))
    db.commit()
    db.close()
    return tmp_path


async def test_records_of_format_1_are_read_in_full(format_1: Path) -> None:
    """An upgraded file returns the intents and rows that the earlier version wrote."""
    outbox = Outbox(format_1)
    await outbox.open()
    expected = msgspec.structs.replace(make_row(2, max_cost=Decimal("0.5")), uncertain_cost=Decimal("0.25"))
    assert await outbox.intents() == [make_intent(1, max_cost=Decimal("1.25"))]
    assert (await outbox.batch(10))[1] == [expected]
    await outbox.close()


async def test_rows_of_format_1_are_shipped(format_1: Path, dsn: str) -> None:
    """A row that waited for PostgreSQL during an upgrade reaches the ledger unchanged."""
    outbox = Outbox(format_1)
    await outbox.open()
    _, rows = await outbox.batch(10)
    async with Store(dsn) as store:
        await ensure_partition(store, rows[0].intent.started_at)
        assert await ship(store, rows) == 1
    sql = "SELECT request_id::text, input_tokens, cost, uncertain_cost FROM usage"
    assert query(dsn, sql) == [(str(request_id(2)), 1002, Decimal("0.000163350"), Decimal("0.25"))]
    await outbox.close()


async def test_an_upgraded_file_keeps_its_format(format_1: Path) -> None:
    """A file is upgraded once, and an earlier version refuses it afterwards."""
    for _ in range(2):
        outbox = Outbox(format_1)
        await outbox.open()
        assert await outbox.depth() == 1
        await outbox.close()
    db = sqlite3.connect(format_1 / "outbox.db")
    assert db.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    db.close()


# What a record holds.


@pytest.mark.parametrize("record", [Intent, Row, Usage])
def test_a_record_holds_no_free_text(record: type[msgspec.Struct]) -> None:
    """Numbers, times, enums and flags; and of text only names, ids and our own codes."""
    harmless = {int, bool, Decimal, datetime, UUID, State, Intent, Usage, type(None)}
    others = {name for name, kind in get_type_hints(record).items() if not harmless.issuperset(_kinds(kind))}
    names = {"endpoint", "model", "served_model", "service_tier", "upstream_id", "upstream_request_id", "error"}
    assert others <= names


def _kinds(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, UnionType) else (kind,)


def _execute(path: Path, sql: str) -> None:
    db = sqlite3.connect(path)
    db.execute(sql)
    db.close()
