"""The ledger while PostgreSQL is away, and after the crash of an agent."""

import asyncio
from pathlib import Path

import pytest

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import ship
from chatgpt_agent.core.ledger import State
from chatgpt_agent.runtime.ledger import Ledger
from tests.support.database import Database, end_connections, query
from tests.support.factories import NOON, make_intent, make_row, request_id
from tests.support.ledgers import OpenLedger, died, record, states, until_shipped
from tests.support.observers import IgnoreRows
from tests.support.oracle import DAILY_SUMS, SUMS_OF_ROWS
from tests.support.waiting import until

# PostgreSQL away.


async def test_rows_wait_while_postgresql_is_away(ledger: Ledger, dsn: str, database: Database) -> None:
    """Requests are served meanwhile, and their rows are shipped once PostgreSQL is back."""
    await record(ledger, 1)
    await until_shipped(dsn, 1)
    database.close()
    await record(ledger, *range(2, 30))
    assert ledger.writable
    database.open()
    await until_shipped(dsn, 29)
    assert query(dsn, DAILY_SUMS) == query(dsn, SUMS_OF_ROWS)


async def test_a_lost_connection_loses_and_doubles_nothing(ledger: Ledger, dsn: str) -> None:
    """Connections that end at any time neither lose nor repeat a row."""
    for number in range(60):
        await record(ledger, number)
        if number % 7 == 0:
            await asyncio.to_thread(end_connections, dsn)
    await until_shipped(dsn, 60)
    assert query(dsn, DAILY_SUMS) == query(dsn, SUMS_OF_ROWS)


async def test_rows_that_postgresql_refuses_for_now_are_kept(ledger: Ledger, dsn: str) -> None:
    """An error that does not come from the row's content, such as a full tablespace, does not lose the row."""
    query(dsn, "ALTER TABLE usage_daily ADD CONSTRAINT no_more CHECK (requests < 0) NOT VALID")
    await record(ledger, 1, 2)
    assert await ledger.depth() == 2
    query(dsn, "ALTER TABLE usage_daily DROP CONSTRAINT no_more")
    await until_shipped(dsn, 2)


async def test_closing_ships_the_backlog(open_ledger: OpenLedger, tmp_path: Path, dsn: str) -> None:
    """A deployment leaves no row in the outbox while PostgreSQL can be reached."""
    ledger = await open_ledger(tmp_path)
    await ledger.start_shipping()
    await record(ledger, *range(5))
    await ledger.close()
    assert query(dsn, "SELECT count(*) FROM usage") == [(5,)]


async def test_closing_without_postgresql_keeps_the_backlog(
    open_ledger: OpenLedger, tmp_path: Path, dsn: str, database: Database
) -> None:
    """The next start ships the rows that this run could not ship."""
    ledger = await open_ledger(tmp_path)
    await ledger.start_shipping()
    database.close()
    await record(ledger, 1)
    await ledger.close()
    database.open()
    await (await open_ledger(tmp_path)).start_shipping()
    await until_shipped(dsn, 1)


# A process that died.


async def test_a_request_cut_off_by_a_crash_becomes_unknown(open_ledger: OpenLedger, tmp_path: Path, dsn: str) -> None:
    """OpenAI may have billed it, so it gets a row whose state is `unknown`."""
    async with died(tmp_path) as outbox:
        await outbox.add_intent(make_intent(1))
        await outbox.add_intent(make_intent(2))
        await outbox.settle(make_row(2))
    await (await open_ledger(tmp_path)).start_shipping()
    await until_shipped(dsn, 2)
    assert states(dsn) == {str(request_id(1)): "unknown", str(request_id(2)): "done"}
    assert query(dsn, "SELECT error, cost, price_id FROM usage WHERE state = 'unknown'") == [("agent_died", 0, 7)]


async def test_a_request_cut_off_by_a_crash_gets_its_row_at_once(open_ledger: OpenLedger, tmp_path: Path) -> None:
    """Opening the outbox writes the row, whether or not PostgreSQL can be reached."""
    async with died(tmp_path) as outbox:
        await outbox.add_intent(make_intent(1))
    ledger = await open_ledger(tmp_path)
    [row] = await ledger.backlog_rows()
    assert (row.state, row.intent, await ledger.open_intents()) == (State.UNKNOWN, make_intent(1), [])


async def test_a_start_after_a_clean_stop_adds_no_rows(open_ledger: OpenLedger, tmp_path: Path) -> None:
    """A request that was settled keeps its one row."""
    async with died(tmp_path) as outbox:
        await outbox.add_intent(make_intent(1))
        await outbox.settle(make_row(1))
    ledger = await open_ledger(tmp_path)
    assert await ledger.depth() == 1


async def test_a_crash_between_shipping_and_forgetting_repeats_no_row(
    open_ledger: OpenLedger, tmp_path: Path, store: Store, dsn: str
) -> None:
    """PostgreSQL had confirmed the row, and the outbox still holds it: it is shipped again and counted once."""
    async with died(tmp_path) as outbox:
        await outbox.add_intent(make_intent(1))
        await outbox.settle(make_row(1))
    await ship(store, [make_row(1)])
    ledger = await open_ledger(tmp_path)
    await ledger.start_shipping()
    await record(ledger, 2)
    await until_shipped(dsn, 2)
    assert query(dsn, DAILY_SUMS) == query(dsn, SUMS_OF_ROWS)


async def test_a_connection_that_ended_in_its_first_round_is_followed_by_another(
    tmp_path: Path, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The observer learns of the second one, at which another server may answer."""
    reconnected = asyncio.Event()

    class Observer(IgnoreRows):
        def reconnected(self) -> None:
            reconnected.set()

    query(dsn, "ALTER FUNCTION ensure_usage_partition(timestamptz) RENAME TO made_up")
    ledger = Ledger(Outbox(tmp_path), Store(dsn), observer=Observer(), now=lambda: NOON)
    await ledger.open_outbox()
    await ledger.start_shipping()
    await until(lambda: "rows wait in the outbox" in caplog.text)
    end_connections(dsn)
    query(dsn, "ALTER FUNCTION made_up RENAME TO ensure_usage_partition")
    async with asyncio.timeout(10):
        await reconnected.wait()
    await ledger.close()
