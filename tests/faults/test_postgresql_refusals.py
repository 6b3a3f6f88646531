"""PostgreSQL accepts no rows, ends a statement, or has a wrong clock: rows wait, and each is recorded once."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from tests.conftest import MakeAgent
from tests.faults.conftest import Postgres
from tests.faults.postgresql_faults import depth, locked, until_result
from tests.support.agent import MODEL, Agent
from tests.support.client import Answer
from tests.support.database import connected, end_connections, query
from tests.support.oracle import settled, verify
from tests.support.upstream import Upstream

pytestmark = pytest.mark.slow


@pytest.fixture
def postgres(server: Postgres) -> str:
    """The module's own server, for the `dsn` of each test: it may be harmed."""
    return server.dsn


# P6: PostgreSQL accepts no rows.


def ledger_warnings(caplog: pytest.LogCaptureFixture) -> int:
    """The number of warnings of the ledger in the log."""
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return len([record for record in records if record.name == "chatgpt_agent.runtime.shipper"])


@asynccontextmanager
async def read_only(dsn: str) -> AsyncIterator[None]:
    """Makes the database read-only, like a standby after a failover."""
    name = dsn.split("dbname=")[1]
    query(dsn, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    end_connections(dsn)
    yield
    with connected(dsn) as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    end_connections(dsn)


async def test_a_read_only_database_gets_its_rows_later(
    agent: Agent, dsn: str, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """The rows stay in the outbox, and one line of the log says so."""
    async with read_only(dsn):
        answers = [await agent.chat() for _ in range(5)]
        await agent.until(lambda: ledger_warnings(caplog) > 0)
        await asyncio.sleep(2)  # for further attempts
        assert (await depth(agent), ledger_warnings(caplog)) == (5, 1)
    assert len(await verify(agent, upstream, answers)) == 5


async def test_a_statement_that_takes_too_long_is_repeated(
    make_agent: MakeAgent, dsn: str, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """A lock delays the statement until PostgreSQL ends it; the rows stay in the outbox."""
    agent = await make_agent()
    async with locked(dsn):
        answers = [await agent.chat() for _ in range(5)]
        await agent.until(lambda: ledger_warnings(caplog) > 0)
        assert await depth(agent) == 5
    assert len(await verify(agent, upstream, answers)) == 5
    assert ledger_warnings(caplog) == 1


async def test_a_full_disk_gets_its_rows_later(
    agent: Agent, server: Postgres, dsn: str, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """The rows stay in the outbox while the table cannot grow, and one line of the log says so."""
    fill_partition(dsn)
    with server.files_of_at_most(16 * 1024**2):  # so that PostgreSQL can still write its log
        answers = [await agent.chat() for _ in range(30)]
        log = server.data / "server.log"
        await agent.until(lambda: "could not extend file" in log.read_text(errors="replace"))
        assert await depth(agent) > 0
    assert len(await verify(agent, upstream, answers)) == 30
    assert ledger_warnings(caplog) == 1


def fill_partition(dsn: str) -> None:
    """Makes the file of this month's partition larger than 16 MiB, with no rows that count."""
    with connected(dsn) as cursor:
        cursor.execute("ALTER TABLE usage ALTER COLUMN upstream_id SET STORAGE plain")  # in the table itself
        cursor.execute("SELECT ensure_usage_partition(%s)", [datetime.now(UTC)])
        cursor.execute(
            "SELECT format('ALTER TABLE %s ALTER upstream_id SET STORAGE plain', inhrelid::regclass) "
            "FROM pg_inherits WHERE inhparent = 'usage'::regclass"
        )
        for (sql,) in cursor.fetchall():
            cursor.execute(sql)
        cursor.execute(
            """INSERT INTO usage (request_id, user_id, token_id, endpoint, model, upstream_id, price_id, cost, state,
                                  client_closed, streamed, started_at)
            SELECT gen_random_uuid(), 1, 1, '/v1/responses', 'm', repeat('x', 7900), 1, 0, 'done', false, false, %s
            FROM generate_series(1, 2500)""",
            [datetime.now(UTC)],
        )
        cursor.execute("ALTER TABLE usage DISABLE TRIGGER usage_is_final")
        cursor.execute("DELETE FROM usage")
        cursor.execute("ALTER TABLE usage ENABLE TRIGGER usage_is_final")


async def test_a_directory_that_cannot_be_read_is_logged_once(
    agent: Agent, dsn: str, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """The directory tries twice a second, and warns once a minute."""
    query(dsn, "ALTER TABLE directory_version RENAME TO hidden")
    await agent.until(lambda: not agent.server.directory.connected)
    await asyncio.sleep(2)  # for further attempts
    query(dsn, "ALTER TABLE hidden RENAME TO directory_version")
    await agent.until(lambda: agent.server.directory.connected)
    lines = [record for record in caplog.records if "directory cannot be refreshed" in record.message]
    assert len(lines) == 1


# P7: other writers.


async def two_models(agent: Agent) -> list[Answer]:
    """Makes a row of each of two models, so that `usage_daily` has a row for each."""
    await agent.set_price("a", "1", "1")
    await agent.set_price("b", "1", "1")
    answers = [await agent.chat(model=model) for model in ("a", "b")]
    await settled(agent)
    return answers


async def test_a_deadlock_loses_and_duplicates_no_row(agent: Agent, dsn: str, upstream: Upstream) -> None:
    """PostgreSQL ends the shipper's statement, because another writer has locked the same rows in another order."""
    answers = await two_models(agent)
    with connected(dsn) as other:
        other.execute("SET deadlock_timeout = '1min'")  # so that it is the agent whose statement is ended
        other.execute("BEGIN")
        other.execute("UPDATE usage_daily SET cost = cost WHERE model = 'b'")
        async with locked(dsn, "usage"):  # while the shipper waits with the first row, the next two become one batch
            answers.append(await agent.chat())
            await until_result(dsn, WAITING_FOR_A_LOCK, 1)
            answers += [await agent.chat(model=model) for model in ("a", "b")]
        await until_result(dsn, WAITING_FOR_A_TRANSACTION, 1)
        await asyncio.to_thread(other.execute, "UPDATE usage_daily SET cost = cost WHERE model = 'a'")
        other.execute("COMMIT")
    # The process whose statement it ended releases its locks first, and then reports that.
    await until_result(dsn, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()", 1)
    assert len(await verify(agent, upstream, answers)) == 5


async def test_a_serialization_failure_loses_and_duplicates_no_row(
    make_agent: MakeAgent, dsn: str, upstream: Upstream
) -> None:
    """With isolation level REPEATABLE READ, a row that has changed meanwhile cannot be updated."""
    query(dsn, f"ALTER DATABASE {dsn.split('dbname=')[1]} SET default_transaction_isolation = 'repeatable read'")
    agent = await make_agent()
    answers = await two_models(agent)
    with connected(dsn) as other:
        other.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        other.execute("UPDATE usage_daily SET cost = cost WHERE model = 'a'")
        answers.append(await agent.chat(model="a"))
        await until_result(dsn, WAITING_FOR_A_TRANSACTION, 1)
        other.execute("COMMIT")
    assert len(await verify(agent, upstream, answers)) == 3


WAITING_FOR_A_LOCK = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'chatgpt-agent' AND wait_event_type = 'Lock'"""
WAITING_FOR_A_TRANSACTION = f"{WAITING_FOR_A_LOCK} AND wait_event = 'transactionid'"


# P12: the clock of PostgreSQL.

CLOCKS = ("now", "transaction_timestamp", "statement_timestamp", "clock_timestamp")


def break_clock(dsn: str) -> None:
    """Makes every function of this database that returns the time fail."""
    for name in CLOCKS:
        query(
            dsn,
            f"""CREATE FUNCTION public.{name}() RETURNS timestamptz LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'the clock was read'; END $$""",
        )
    query(dsn, f"ALTER DATABASE {dsn.split('dbname=')[1]} SET search_path = public, pg_catalog")


async def test_no_statement_reads_the_clock_of_postgresql(make_agent: MakeAgent, dsn: str, upstream: Upstream) -> None:
    """Users, tokens, prices and rows have the agent's time. Only the ages of agents are PostgreSQL's."""
    break_clock(dsn)
    with pytest.raises(psycopg2.errors.RaiseException, match="the clock was read"):
        query(dsn, "SELECT now()")
    agent = await make_agent()
    assert len(await verify(agent, upstream, [await agent.chat()])) == 1


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
async def test_a_day_does_not_depend_on_the_time_zone_of_postgresql(
    make_agent: MakeAgent, dsn: str, upstream: Upstream, zone: str
) -> None:
    """In time zones 14 hours ahead of UTC and 12 hours behind it, a row has the same day."""
    query(dsn, f"ALTER DATABASE {dsn.split('dbname=')[1]} SET timezone = '{zone}'")
    agent = await make_agent()
    before = datetime.now(UTC)
    await agent.chat()
    [row] = await verify(agent, upstream)
    assert before <= row["started_at"] <= datetime.now(UTC)
    assert query(dsn, "SELECT day FROM usage_daily") == [(row["started_at"].astimezone(UTC).date(),)]


@pytest.mark.parametrize("hours", [-40 * 24, -1, 1, 40 * 24])
async def test_a_row_has_the_day_of_its_intent(agent: Agent, dsn: str, hours: int) -> None:
    """The day is that of the agent's clock even if PostgreSQL's clock is days off."""
    then = datetime.now(UTC) + timedelta(hours=hours)
    agent.server.admissions.now = lambda: then
    query(dsn, "UPDATE prices SET effective_at = %s", [then - timedelta(days=1)])
    await agent.until(lambda: agent.server.directory.book.at(MODEL, then) is not None)
    assert (await agent.chat()).status == 200
    await settled(agent)
    assert query(dsn, "SELECT started_at FROM usage") == [(then,)]
    assert query(dsn, "SELECT day FROM usage_daily") == [(then.date(),)]


def test_no_column_has_a_default_from_the_clock_of_postgresql(dsn: str) -> None:
    """No column of any table has the current time as its default."""
    sql = """
        SELECT table_name, column_name, column_default FROM information_schema.columns
        WHERE table_schema = 'public' AND column_default ~* 'now|current|timestamp|date|time'"""
    assert query(dsn, sql) == []
