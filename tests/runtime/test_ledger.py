"""The ledger on a real disk and a real PostgreSQL: each row arrives exactly once, whatever fails on the way."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extensions import parse_dsn
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.core.errors import LedgerUnavailable
from chatgpt_agent.core.ledger import TERMINAL, Row, State
from chatgpt_agent.runtime.ledger import BATCH, Ledger, OpenRequest
from tests.support.database import Database, connected, end_connections, query
from tests.support.factories import BOOK, NOON, PRICE, make_intent, make_outcome, make_row, request_id
from tests.support.full_disk import full_disk
from tests.support.observers import IgnoreRows

SUMS = """
    SELECT coalesce(sum(requests), 0)::int, coalesce(sum(input_tokens), 0)::int, coalesce(sum(cached_tokens), 0)::int,
           coalesce(sum(output_tokens), 0)::int, coalesce(sum(reasoning_tokens), 0)::int, coalesce(sum(cost), 0)
    FROM usage_daily"""
ROLL_UP = """
    SELECT day, user_id, model, requests, not_done, input_tokens, cached_tokens, output_tokens, reasoning_tokens, cost
    FROM usage_daily ORDER BY day, user_id, model"""
# The same sums computed from the rows: what the roll-up must always contain.
EXPECTED = """
    SELECT (started_at AT TIME ZONE 'UTC')::date, user_id, model, count(*), count(*) FILTER (WHERE state <> 'done'),
           coalesce(sum(input_tokens), 0), coalesce(sum(cached_tokens), 0), coalesce(sum(output_tokens), 0),
           coalesce(sum(reasoning_tokens), 0), sum(cost)
    FROM usage GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""

Open = Callable[[Path], Awaitable[Ledger]]


@pytest.fixture
def database(postgres: str, dsn: str) -> Database:
    """The test's own database, which it can close and reopen."""
    return Database(postgres, parse_dsn(dsn)["dbname"])


@pytest.fixture
def open_ledger(io_loop: IOLoop, dsn: str) -> Iterator[Open]:
    """Opens the ledger of an agent with a data folder, without its shipper; it is closed at the end of the test."""
    opened: list[Ledger] = []

    async def open_ledger(folder: Path) -> Ledger:
        ledger = Ledger(Outbox(folder), Store(dsn), observer=IgnoreRows(), now=lambda: NOON)
        await ledger.open_outbox()
        opened.append(ledger)
        return ledger

    yield open_ledger
    for ledger in opened:
        io_loop.run_sync(ledger.close)


@pytest.fixture
def ledger(io_loop: IOLoop, open_ledger: Open, tmp_path: Path) -> Ledger:
    """A ledger whose shipper runs."""

    async def start() -> Ledger:
        ledger = await open_ledger(tmp_path)
        await ledger.start_shipping()
        return ledger

    started: Ledger = io_loop.run_sync(start)
    return started


@pytest.fixture
def store(io_loop: IOLoop, dsn: str) -> Iterator[Store]:
    """A connection to the test's own database, which has the month's partition."""
    store = Store(dsn)
    io_loop.run_sync(lambda: ensure_partition(store, NOON))
    yield store
    io_loop.run_sync(store.close)


async def begin(ledger: Ledger, number: int = 1, **fields: Any) -> OpenRequest:
    """Opens the request with this number."""
    return await ledger.open(make_intent(number, **fields), PRICE, BOOK)


async def record(ledger: Ledger, *numbers: int, **fields: Any) -> None:
    """Opens and settles the requests with these numbers."""
    for number in numbers:
        await ledger.settle(await begin(ledger, number, **fields), make_outcome(number))


async def shipped(dsn: str, count: int) -> None:
    """Waits until PostgreSQL has this number of rows."""
    async with asyncio.timeout(10):
        while query(dsn, "SELECT count(*) FROM usage") != [(count,)]:
            await asyncio.sleep(0.01)


def states(dsn: str) -> dict[str, str]:
    """The state of each row in PostgreSQL, by request id."""
    return dict(query(dsn, "SELECT request_id::text, state FROM usage"))


# From intent to row.


async def test_a_request_becomes_one_row(ledger: Ledger, dsn: str) -> None:
    """The row has the request's id, its token counts and its cost."""
    await record(ledger, 1)
    await shipped(dsn, 1)
    row = make_row(1)
    assert query(dsn, "SELECT request_id::text, state, input_tokens, output_tokens, cost FROM usage") == [
        (str(request_id(1)), "done", 1001, 21, row.cost)
    ]


async def test_a_row_is_charged_by_the_prices_of_its_admission(ledger: Ledger) -> None:
    """(1001 - 1) tokens at 0.15, 1 at 0.075 and 21 at 0.60 USD a million cost exactly this."""
    row = await ledger.settle(await begin(ledger), make_outcome())
    assert row.cost == Decimal("0.000162675")


async def test_a_shipped_row_leaves_the_outbox(ledger: Ledger, dsn: str) -> None:
    """The outbox forgets a row once PostgreSQL has confirmed it."""
    await record(ledger, 1)
    await shipped(dsn, 1)
    async with asyncio.timeout(5):
        while await ledger.depth():
            await asyncio.sleep(0.01)


async def test_an_intent_is_not_shipped(ledger: Ledger, dsn: str) -> None:
    """A request without an outcome has no row in PostgreSQL."""
    await begin(ledger, 1)
    await record(ledger, 2)
    await shipped(dsn, 1)
    assert list(states(dsn)) == [str(request_id(2))]


async def test_the_roll_up_is_the_sum_of_the_rows(ledger: Ledger, dsn: str) -> None:
    """The daily sums of each user and model are those of the rows."""
    await record(ledger, *range(40))
    await record(ledger, *range(40, 60), started_at=NOON + timedelta(days=1))
    await shipped(dsn, 60)
    assert query(dsn, ROLL_UP) == query(dsn, EXPECTED)
    assert len(query(dsn, ROLL_UP)) == 12


async def test_days_of_the_roll_up_are_those_of_utc(ledger: Ledger, dsn: str) -> None:
    """A request of the last microsecond of a day counts for that day."""
    midnight = NOON.replace(hour=0)
    await record(ledger, 1, started_at=midnight - timedelta(microseconds=1))
    await record(ledger, 2, started_at=midnight)
    await shipped(dsn, 2)
    assert query(dsn, "SELECT day::text FROM usage_daily ORDER BY day") == [("2024-05-16",), ("2024-05-17",)]


async def test_a_backlog_of_several_batches_is_shipped(open_ledger: Open, tmp_path: Path, dsn: str) -> None:
    """The shipper does not stop after its first batch."""
    ledger = await open_ledger(tmp_path)
    await asyncio.gather(*(record(ledger, number) for number in range(BATCH * 2)))
    await ledger.start_shipping()
    await shipped(dsn, BATCH * 2)
    assert query(dsn, ROLL_UP) == query(dsn, EXPECTED)


@pytest.mark.parametrize("state", TERMINAL)
async def test_every_outcome_is_a_row(ledger: Ledger, dsn: str, state: State) -> None:
    """Each state is shipped, and all but `done` are counted as not done."""
    await ledger.settle(await begin(ledger), make_outcome(1, state))
    await shipped(dsn, 1)
    assert states(dsn) == {str(request_id(1)): state}
    assert query(dsn, "SELECT requests, not_done FROM usage_daily") == [(1, int(state != "done"))]


# Shipped more than once.


async def test_shipping_rows_again_changes_nothing(store: Store, dsn: str) -> None:
    """A repeated row is neither inserted nor added to the roll-up again."""
    rows = [make_row(number) for number in range(20)]
    assert await ship(store, rows) == 20
    before = query(dsn, ROLL_UP)
    assert await ship(store, rows) == 0
    assert query(dsn, ROLL_UP) == before == query(dsn, EXPECTED)


@pytest.mark.parametrize("seed", range(5))
async def test_overlapping_batches_in_any_order_leave_each_row_once(store: Store, dsn: str, seed: int) -> None:
    """After random batches with repeated rows, the roll-up is the sum of the rows."""
    draw = random.Random(seed)
    rows = [make_row(number, state=draw.choice(TERMINAL)) for number in range(40)]
    for _ in range(12):
        await ship(store, draw.sample(rows, draw.randint(1, 30)) + draw.sample(rows, 2))
        assert query(dsn, ROLL_UP) == query(dsn, EXPECTED)
    await ship(store, draw.sample(rows, 40))
    assert states(dsn) == {str(row.intent.request_id): row.state for row in rows}
    assert query(dsn, SUMS) == [sums_of(rows)]


async def test_the_first_outcome_of_a_request_stays(store: Store, dsn: str) -> None:
    """A row that is shipped with another state does not replace the first one."""
    await ship(store, [make_row(1)])
    await ship(store, [make_row(1, state=State.UNKNOWN), make_row(2)])
    assert states(dsn)[str(request_id(1))] == "done"
    assert query(dsn, ROLL_UP) == query(dsn, EXPECTED)


async def test_agents_that_ship_at_the_same_time_add_up(open_ledger: Open, tmp_path: Path, dsn: str) -> None:
    """Three agents ship rows of the same day, users and models, and none is lost or doubled."""
    ledgers = [await open_ledger(tmp_path / str(number)) for number in range(3)]
    for ledger in ledgers:
        await ledger.start_shipping()
    await asyncio.gather(*(record(ledgers[number % 3], number) for number in range(300)))
    await shipped(dsn, 300)
    assert query(dsn, ROLL_UP) == query(dsn, EXPECTED)
    assert query(dsn, SUMS) == [sums_of([make_row(number) for number in range(300)])]


async def test_agents_that_ship_the_same_keys_do_not_deadlock(dsn: str, store: Store) -> None:
    """Rows of the roll-up are locked in one order, whatever the order of a batch."""
    stores = [Store(dsn) for _ in range(4)]
    rows = [make_row(number, user_id=number // 4, model="m") for number in range(4 * BATCH)]
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'usage_daily'::regclass"
    with connected(dsn) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE usage_daily IN SHARE MODE")
        shipping = [asyncio.create_task(ship(stores[agent], rows[agent::4])) for agent in range(4)]
        while query(dsn, waiting) != [(4,)]:
            await asyncio.sleep(0.01)
        other.execute("COMMIT")  # now all of them continue at once
    assert await asyncio.gather(*shipping) == [BATCH] * 4
    assert query(dsn, SUMS) == [sums_of(rows)]
    await asyncio.gather(*(other.close() for other in stores))


# PostgreSQL away.


async def test_rows_wait_while_postgresql_is_away(ledger: Ledger, dsn: str, database: Database) -> None:
    """Requests are served meanwhile, and their rows are shipped once PostgreSQL is back."""
    await record(ledger, 1)
    await shipped(dsn, 1)
    database.close()
    await record(ledger, *range(2, 30))
    assert ledger.writable
    database.open()
    await shipped(dsn, 29)
    assert query(dsn, ROLL_UP) == query(dsn, EXPECTED)


async def test_a_lost_connection_loses_and_doubles_nothing(ledger: Ledger, dsn: str) -> None:
    """Connections that end at any time neither lose nor repeat a row."""
    for number in range(60):
        await record(ledger, number)
        if number % 7 == 0:
            await asyncio.to_thread(end_connections, dsn)
    await shipped(dsn, 60)
    assert query(dsn, ROLL_UP) == query(dsn, EXPECTED)


async def test_rows_that_postgresql_refuses_for_now_are_kept(ledger: Ledger, dsn: str) -> None:
    """An error that does not come from the row's content, such as a full tablespace, does not lose the row."""
    query(dsn, "ALTER TABLE usage_daily ADD CONSTRAINT no_more CHECK (requests < 0) NOT VALID")
    await record(ledger, 1, 2)
    assert await ledger.depth() == 2
    query(dsn, "ALTER TABLE usage_daily DROP CONSTRAINT no_more")
    await shipped(dsn, 2)


async def test_closing_ships_the_backlog(open_ledger: Open, tmp_path: Path, dsn: str) -> None:
    """A deployment leaves no row in the outbox while PostgreSQL can be reached."""
    ledger = await open_ledger(tmp_path)
    await ledger.start_shipping()
    await record(ledger, *range(5))
    await ledger.close()
    assert query(dsn, "SELECT count(*) FROM usage") == [(5,)]


async def test_closing_without_postgresql_keeps_the_backlog(
    open_ledger: Open, tmp_path: Path, dsn: str, database: Database
) -> None:
    """The next start ships the rows that this run could not ship."""
    ledger = await open_ledger(tmp_path)
    await ledger.start_shipping()
    database.close()
    await record(ledger, 1)
    await ledger.close()
    database.open()
    await (await open_ledger(tmp_path)).start_shipping()
    await shipped(dsn, 1)


# A process that died.


async def test_a_request_that_a_crash_cut_off_becomes_unknown(open_ledger: Open, tmp_path: Path, dsn: str) -> None:
    """OpenAI may have billed it, so it gets a row whose state is `unknown`."""
    async with died(tmp_path) as outbox:
        await outbox.add_intent(make_intent(1))
        await outbox.add_intent(make_intent(2))
        await outbox.settle(make_row(2))
    await (await open_ledger(tmp_path)).start_shipping()
    await shipped(dsn, 2)
    assert states(dsn) == {str(request_id(1)): "unknown", str(request_id(2)): "done"}
    assert query(dsn, "SELECT error, cost, price_id FROM usage WHERE state = 'unknown'") == [("agent_died", 0, 7)]


async def test_a_request_that_a_crash_cut_off_gets_its_row_at_once(open_ledger: Open, tmp_path: Path) -> None:
    """Opening the outbox writes the row, whether or not PostgreSQL can be reached."""
    async with died(tmp_path) as outbox:
        await outbox.add_intent(make_intent(1))
    ledger = await open_ledger(tmp_path)
    [row] = await ledger.backlog_rows()
    assert (row.state, row.intent, await ledger.open_intents()) == (State.UNKNOWN, make_intent(1), [])


async def test_a_start_after_a_clean_stop_adds_no_rows(open_ledger: Open, tmp_path: Path) -> None:
    """A request that was settled keeps its one row."""
    async with died(tmp_path) as outbox:
        await outbox.add_intent(make_intent(1))
        await outbox.settle(make_row(1))
    ledger = await open_ledger(tmp_path)
    assert await ledger.depth() == 1


async def test_a_crash_between_shipping_and_forgetting_repeats_no_row(
    open_ledger: Open, tmp_path: Path, store: Store, dsn: str
) -> None:
    """PostgreSQL had confirmed the row, and the outbox still holds it: it is shipped again and counted once."""
    async with died(tmp_path) as outbox:
        await outbox.add_intent(make_intent(1))
        await outbox.settle(make_row(1))
    await ship(store, [make_row(1)])
    ledger = await open_ledger(tmp_path)
    await ledger.start_shipping()
    await record(ledger, 2)
    await shipped(dsn, 2)
    assert query(dsn, ROLL_UP) == query(dsn, EXPECTED)


# A disk that refuses.


async def test_without_a_record_there_is_no_service(ledger: Ledger, dsn: str) -> None:
    """A request whose intent cannot be written is refused, and leaves no row."""
    with full_disk(), pytest.raises(LedgerUnavailable):
        await begin(ledger, 1)
    assert not ledger.writable
    await record(ledger, 2)
    await shipped(dsn, 1)
    assert list(states(dsn)) == [str(request_id(2))]


async def test_a_row_that_the_disk_refused_is_written_later(ledger: Ledger, dsn: str) -> None:
    """The ledger writes it once the disk accepts writes again."""
    request = await begin(ledger)
    with full_disk(), pytest.raises(LedgerUnavailable):
        await ledger.settle(request, make_outcome())
    await shipped(dsn, 1)
    assert states(dsn) == {str(request_id(1)): "done"}
    assert ledger.writable


async def test_while_a_row_waits_for_the_disk_no_request_is_opened(ledger: Ledger) -> None:
    """Requests are refused until that row is written, even if the disk accepts writes again."""
    request = await begin(ledger)
    with full_disk(), pytest.raises(LedgerUnavailable):
        await ledger.settle(request, make_outcome())
    with pytest.raises(LedgerUnavailable):
        await begin(ledger, 2)
    assert not ledger.writable
    async with asyncio.timeout(5):
        while not ledger.writable:
            await asyncio.sleep(0.01)
    await begin(ledger, 2)


async def test_the_disk_is_probed_without_requests(ledger: Ledger) -> None:
    """A load balancer sends no requests to an agent that is not ready, so the ledger must find out by itself."""
    with full_disk(), pytest.raises(LedgerUnavailable):
        await begin(ledger)
    async with asyncio.timeout(5):
        while not ledger.writable:
            await asyncio.sleep(0.01)


async def test_a_refused_row_is_written_before_postgresql_is_reached(open_ledger: Open, tmp_path: Path) -> None:
    """The agent serves requests by then, and writing to the outbox does not need the database."""
    ledger = await open_ledger(tmp_path)
    request = await begin(ledger)
    with full_disk(), pytest.raises(LedgerUnavailable):
        await ledger.settle(request, make_outcome())
    async with asyncio.timeout(5):
        while not ledger.writable:
            await asyncio.sleep(0.01)
    assert await ledger.depth() == 1


async def test_a_row_that_cannot_be_written_is_in_the_log(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """The log line has the row's figures: if the disk never recovers, it is the record."""
    request = await begin(ledger)
    with full_disk(), pytest.raises(LedgerUnavailable):
        await ledger.settle(request, make_outcome())
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "CRITICAL"]
    assert line.startswith(f"a row could not be written: request {request_id(1)} user 2 token 11 model gpt-4o at ")
    assert line.endswith("done, 1001 in, 1 cached, 21 out, 0.000162675 USD")


async def test_closing_writes_a_row_that_the_disk_refused(open_ledger: Open, tmp_path: Path, dsn: str) -> None:
    """The last try to write it is made when the ledger closes, and then it is shipped."""
    ledger = await open_ledger(tmp_path)
    await ledger.start_shipping()
    request = await begin(ledger)
    with full_disk(), pytest.raises(LedgerUnavailable):
        await ledger.settle(request, make_outcome())
    await ledger.close()
    assert states(dsn) == {str(request_id(1)): "done"}


# Months.


@pytest.mark.parametrize("years", [-2, 1])
async def test_a_month_without_a_partition_gets_one(ledger: Ledger, dsn: str, years: int) -> None:
    """The partition is made for a row that waited for two years, and for one from a clock that was ahead."""
    await record(ledger, 1, started_at=NOON.replace(year=2024 + years))
    await shipped(dsn, 1)
    assert query(dsn, "SELECT tableoid::regclass::text FROM usage") == [(f"usage_{2024 + years}_05",)]


async def test_the_next_months_have_partitions_before_they_begin(ledger: Ledger, dsn: str) -> None:
    """The current month and the next two have partitions, so no row of a new month waits for one."""
    async with asyncio.timeout(5):
        while partitions(dsn) != ["usage_2024_05", "usage_2024_06", "usage_2024_07"]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("day", ["2024-01-01", "2024-01-31", "2024-02-29", "2024-07-01", "2024-10-31", "2024-12-31"])
async def test_no_month_is_skipped(dsn: str, tmp_path: Path, day: str) -> None:
    """The partitions of three months in a row are made, however long the months are."""
    now = datetime.fromisoformat(f"{day}T23:59:59+00:00")
    months = [(now.year + (now.month + ahead - 1) // 12, (now.month + ahead - 1) % 12 + 1) for ahead in range(3)]
    ledger = Ledger(Outbox(tmp_path), Store(dsn), observer=IgnoreRows(), now=lambda: now)
    await ledger.open_outbox()
    await ledger.start_shipping()
    async with asyncio.timeout(5):
        while partitions(dsn) != [f"usage_{year}_{month:02}" for year, month in months]:
            await asyncio.sleep(0.01)
    await ledger.close()


async def test_a_partition_that_was_dropped_is_made_again(ledger: Ledger, dsn: str) -> None:
    """An operator or a restored backup may have removed the partition."""
    await record(ledger, 1)
    await shipped(dsn, 1)
    query(dsn, "DROP TABLE usage_2024_05")
    await record(ledger, 2)
    await shipped(dsn, 1)
    assert states(dsn) == {str(request_id(2)): "done"}


# Helpers.


def partitions(dsn: str) -> list[str]:
    """The partitions of the table, by name."""
    sql = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage'::regclass ORDER BY 1"
    return [name for (name,) in query(dsn, sql)]


def sums_of(rows: list[Row]) -> tuple[Any, ...]:
    """The sums that the whole roll-up of these rows must have."""
    usages = [row.usage for row in rows if row.usage]
    counts = [sum(getattr(usage, name) for usage in usages) for name in ("input", "cached", "output", "reasoning")]
    return (len(rows), *counts, sum((row.cost for row in rows), Decimal(0)))


@asynccontextmanager
async def died(folder: Path) -> AsyncIterator[Outbox]:
    """The outbox of an agent that dies when the context ends."""
    outbox = Outbox(folder)
    await outbox.open()
    yield outbox
    await outbox.close()
