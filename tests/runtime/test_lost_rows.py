"""Rows that PostgreSQL had confirmed and does not have any more: after a fail-over, or a restored backup."""

import asyncio
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.runtime import shipper
from chatgpt_agent.runtime.alerts import AlertTimes
from chatgpt_agent.runtime.ledger import Ledger
from chatgpt_agent.runtime.tuning import Tuning
from tests.conftest import MakeAgent
from tests.support.agent import MODEL
from tests.support.budgets import chat, set_budget, states_of
from tests.support.database import Database, query
from tests.support.factories import NOON, make_row
from tests.support.ledgers import OpenLedger, record, until_shipped
from tests.support.observers import IgnoreRows
from tests.support.oracle import DAILY_SUMS, SUMS_OF_ROWS
from tests.support.upstream import Received, Reply, Upstream, completion
from tests.support.waiting import until

SHIPPED = "SELECT shipped_rows, lost_rows FROM agents"


@pytest.fixture(autouse=True)
def ask_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a row to ship, PostgreSQL is asked every 0.5 s whether it still has all rows, not every 5 s."""
    monkeypatch.setattr(shipper, "CHECK_SECONDS", 0.5)


async def until_settled(ledger: Ledger, dsn: str, rows: int) -> None:
    """Waits until PostgreSQL has this number of rows and the outbox knows it; the sums are those of the rows."""
    await until_shipped(dsn, rows)
    await until(ledger.depth, lambda depth: depth == 0)
    assert query(dsn, DAILY_SUMS) == query(dsn, SUMS_OF_ROWS)


async def test_a_restored_backup_gets_the_rows_after_it_again(ledger: Ledger, dsn: str, database: Database) -> None:
    """The backup has three rows of ten; the other seven are shipped again although no request comes."""
    await record(ledger, *range(3))
    await until_settled(ledger, dsn, 3)
    database.back_up()
    await record(ledger, *range(3, 10))
    await until_settled(ledger, dsn, 10)
    database.restore()
    await until_settled(ledger, dsn, 10)
    assert query(dsn, SHIPPED) == [(10, 0)]


async def test_rows_lost_while_the_agent_was_stopped_count_at_its_start(
    open_ledger: OpenLedger, tmp_path: Path, dsn: str, database: Database
) -> None:
    """Before the first request, budgets see them as rows that are not in PostgreSQL."""
    ledger = await open_ledger(tmp_path)
    await ledger.start_shipping()
    await record(ledger, 1)
    await until_settled(ledger, dsn, 1)
    database.back_up()
    await record(ledger, 2, 3)
    await ledger.close()
    database.restore()
    ledger = await open_ledger(tmp_path)
    await ledger.report()
    assert await ledger.backlog_rows() == [make_row(2), make_row(3)]


async def test_a_database_that_never_knew_the_agent_gets_all_rows(ledger: Ledger, dsn: str, database: Database) -> None:
    """The backup is older than the agent."""
    database.back_up()
    await record(ledger, 1, 2)
    await until_settled(ledger, dsn, 2)
    database.restore()
    await until_settled(ledger, dsn, 2)


async def test_rows_that_are_no_longer_kept_are_reported_as_lost(tmp_path: Path, dsn: str, database: Database) -> None:
    """With `keep_shipped: 0` the agent says how many rows are missing, in the log and in its report."""
    ledger = Ledger(Outbox(tmp_path, keep=0), Store(dsn), observer=IgnoreRows(), now=lambda: NOON)
    await ledger.open_outbox()
    await ledger.start_shipping()
    database.back_up()
    await record(ledger, 1, 2)
    await until_settled(ledger, dsn, 2)
    database.restore()
    await record(ledger, 3)
    await until_settled(ledger, dsn, 1)
    await ledger.close()
    assert query(dsn, SHIPPED) == [(3, 2)]


async def test_another_ledger_gets_no_rows_of_the_former_one(
    open_ledger: OpenLedger, tmp_path: Path, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Their users and tokens are not those of the new database."""
    ledger = await open_ledger(tmp_path)
    await ledger.start_shipping()
    await record(ledger, 1)
    await until_settled(ledger, dsn, 1)
    await ledger.close()
    query(dsn, "TRUNCATE usage, usage_daily, agents")
    query(dsn, "UPDATE ledger SET id = 'of a new database'")
    ledger = await open_ledger(tmp_path)
    await ledger.start_shipping()
    await record(ledger, 2)
    await until_settled(ledger, dsn, 1)
    assert "this is another ledger" in caplog.text


async def test_ids_of_lost_users_are_not_used_again(ledger: Ledger, dsn: str, database: Database) -> None:
    """A user who is added after the restore would get the rows of one who was lost with it."""
    database.back_up()
    await record(ledger, 1, user_id=50, token_id=70, price_id=7)
    await until_settled(ledger, dsn, 1)
    database.restore()
    await until_settled(ledger, dsn, 1)
    ids = [f"nextval(pg_get_serial_sequence('{table}', 'id'))" for table in ("users", "tokens", "prices")]
    assert query(dsn, f"SELECT {', '.join(ids)}") == [(51, 71, 8)]


async def test_two_agents_lose_and_ship_their_own_rows(
    open_ledger: OpenLedger, tmp_path: Path, dsn: str, database: Database
) -> None:
    """Each one knows how many of its rows the backup has."""
    one, other = [await open_ledger(tmp_path / name) for name in ("one", "other")]
    for ledger in (one, other):
        await ledger.start_shipping()
    await record(one, 1, 2)
    await until_settled(one, dsn, 2)
    database.back_up()
    await record(one, 3)
    await record(other, 4, 5)
    await until_settled(other, dsn, 5)
    await until_settled(one, dsn, 5)
    database.restore()
    await until_settled(one, dsn, 5)
    await until_settled(other, dsn, 5)


async def test_an_outbox_of_an_earlier_version_loses_nothing(
    open_ledger: OpenLedger, tmp_path: Path, dsn: str, database: Database
) -> None:
    """Rows that the earlier version shipped are not taken for lost, and later ones are kept."""
    ledger = await open_ledger(tmp_path)
    await ledger.start_shipping()
    await record(ledger, 1, 2)
    await until_settled(ledger, dsn, 2)
    await ledger.close()
    query(dsn, "UPDATE agents SET shipped_rows = 0")  # as the migration leaves it
    make_format_2(tmp_path)
    ledger = await open_ledger(tmp_path)
    await ledger.start_shipping()
    await until(lambda: query(dsn, SHIPPED) == [(2, 0)])
    database.back_up()
    await record(ledger, 3)
    await until_settled(ledger, dsn, 3)
    database.restore()
    await until_settled(ledger, dsn, 3)


@pytest.mark.gen_test(timeout=60)
async def test_budgets_and_alerts_are_right_after_a_restored_backup(
    make_agent: MakeAgent, upstream: Upstream, dsn: str, database: Database
) -> None:
    """What was spent counts once, and the alert that was lost with it is stored again."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(completion(90_000, 0, 0, 0))

    agent = await make_agent(tuning=Tuning(alerts=AlertTimes(poll=0.05)))
    await agent.set_price(MODEL, "1", "1")
    await set_budget(agent, Decimal("0.1"), period=Period.MONTH)
    database.back_up()
    upstream.script = script
    assert (await chat(agent)).status == 200

    async def until_alerted() -> None:  # in a thread: the agent works on the loop of this test
        sql = "SELECT percent FROM budget_alerts"
        await until(lambda: asyncio.to_thread(query, dsn, sql), lambda rows: rows == [(80,)])

    await until_alerted()
    database.restore()
    await until_shipped(dsn, 1)
    await until_alerted()
    await agent.until(lambda: [state.spent for state in states_of(agent)] == [Decimal("0.09")], seconds=20)
    await until(lambda: asyncio.to_thread(query, dsn, DAILY_SUMS), lambda sums: sums == query(dsn, SUMS_OF_ROWS) != [])


def make_format_2(folder: Path) -> None:
    """Makes the outbox what the version before left: shipped rows were deleted at once."""
    db = sqlite3.connect(folder / "outbox.db")
    db.executescript("""
        DELETE FROM rows WHERE seq <= (SELECT shipped FROM position);
        DROP TABLE position;
        DROP TABLE batches;
        PRAGMA user_version = 2""")
    db.close()
