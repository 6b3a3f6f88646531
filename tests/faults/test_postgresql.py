"""Faults of a real PostgreSQL: down, slow, full, read-only. Requests do not notice, and the ledger stays right."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import uvloop
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.errors import StoreUnavailable
from chatgpt_agent.server import Server
from tests.conftest import MakeAgent
from tests.faults.conftest import Load, Postgres, private_server
from tests.support.agent import MODEL, Agent
from tests.support.client import Answer, fetch
from tests.support.commands import Cli
from tests.support.database import connected, end_connections, query
from tests.support.oracle import check, settled, verify
from tests.support.serving import Serve
from tests.support.tcp_relay import Link
from tests.support.upstream import Upstream
from tests.support.waiting import until

LAG = 1.0  # seconds; the loop is the clients' and the upstream's too, on a machine that may be busy
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'usage_daily'::regclass"
ROWS = "SELECT count(*) FROM usage"

Through = Callable[[], str]


def statuses(answers: list[Answer]) -> set[int]:
    """The distinct statuses of answers."""
    return {answer.status for answer in answers}


async def depth(agent: Agent) -> int:
    """The number of rows in the outbox."""
    return await agent.server.ledger.depth()


async def readiness(agent: Agent) -> tuple[int, Any]:
    """Status and body of /readyz."""
    answer = await fetch(agent.url + "/readyz")
    return answer.status, json.loads(answer.body)


async def until_result(dsn: str, sql: str, expected: Any, seconds: float = 15) -> None:
    """Waits until a query returns this value."""

    async def is_expected() -> bool:
        return await asyncio.to_thread(query, dsn, sql) == [(expected,)]

    await until(is_expected, seconds=seconds)


@pytest.fixture
def postgres(server: Postgres) -> str:
    """The module's own server, for the `dsn` of each test: it may be harmed."""
    return server.dsn


@asynccontextmanager
async def locked(dsn: str, table: str = "usage_daily") -> AsyncIterator[None]:
    """Locks a table, so that the shipper waits in the middle of its statement."""
    with connected(dsn) as other:
        other.execute("BEGIN")
        other.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield
        other.execute("COMMIT")


# P1: PostgreSQL is down at the start.


@pytest.fixture
def restarted(io_loop: IOLoop, make_agent: MakeAgent) -> Agent:
    """An agent that has stopped; its user and price are in the database, and the test starts it again."""

    async def start_and_stop() -> Agent:
        agent = await make_agent()
        await agent.server.stop()
        agent.server = Server(agent.config, agent.config.database_url or "")
        return agent

    agent: Agent = io_loop.run_sync(start_and_stop)
    return agent


async def test_without_postgresql_it_starts_and_is_not_ready(restarted: Agent, server: Postgres) -> None:
    """The agent is alive and not ready, so a load balancer sends it no request."""
    with server.down():
        await restarted.server.start()
        assert (await fetch(restarted.url + "/healthz")).status == 200
        assert (await readiness(restarted))[0] == 503


async def test_without_postgresql_no_token_is_invalid(restarted: Agent, server: Postgres, upstream: Upstream) -> None:
    """The answer is 503, to try again, and not 401: a client must not discard its token."""
    with server.down():
        await restarted.server.start()
        answer = await restarted.chat()
    assert (answer.status, answer.error["code"], upstream.requests) == (503, "directory_stale", [])


async def test_it_is_ready_soon_after_postgresql_is(restarted: Agent, server: Postgres, upstream: Upstream) -> None:
    """It becomes ready by itself; requests are answered and recorded."""
    with server.down():
        await restarted.server.start()
    await restarted.until(lambda: restarted.server.directory.loaded, seconds=5)
    answer = await restarted.chat()
    assert answer.status == 200
    await verify(restarted, upstream, [answer])


def test_a_command_without_postgresql_prints_one_line(server: Postgres, dsn: str, tmp_path: Path) -> None:
    """The command fails with one line that names the database."""
    cli = Cli({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path)})
    with server.down():
        [line] = cli.refused("user", "list")
    assert "database" in line


async def test_a_refused_port_does_not_end_the_agent(
    server: Postgres, link: Link, through: Through, dsn: str, tmp_path: Path
) -> None:
    """With uvloop, on which it serves, too, the agent tries until it can connect."""
    cli = Cli({"DATABASE_URL": through(), "DATA_DIR": str(tmp_path / "data")})
    async with Serve(cli.settings) as serving:
        url = await serving.ready()
        await link.refuse()
        await until_body(url, b'"away"')
        await asyncio.sleep(2)  # for further attempts: the end of the process cannot be waited for
        assert serving.process.returncode is None, serving.lines
        await link.listen(link.port)
        await until_body(url, b'"connected"')
        assert await serving.stopped() == 0


async def until_body(url: str, text: bytes) -> None:
    """Waits until the body of /readyz has this text."""

    async def has_text() -> bool:
        return text in (await fetch(f"{url}/readyz")).body

    await until(has_text, seconds=20)


# The connection itself, with each event loop.


def refused_port() -> int:
    """A port of 127.0.0.1 on which no program listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_refused_port_can_be_tried_again_and_again(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """libpq closes its socket without the event loop, and uvloop would refuse the next socket with that number."""

    async def tries() -> None:
        async with Store(f"host=127.0.0.1 port={refused_port()} user=a dbname=a") as store:
            for _ in range(4):
                with pytest.raises(StoreUnavailable, match="refused"):
                    await store.fetch("SELECT 1")

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(tries())


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_statement_that_is_cut_while_it_is_sent_can_be_repeated(
    server: Postgres, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The connection breaks while the loop waits for the socket to become writable; the next statement works."""
    long = "x" * 32_000_000

    async def tries() -> None:
        link = await Link(server.socket).start()
        dsn = f"host=127.0.0.1 port={link.port} user=postgres dbname=postgres sslmode=disable"
        async with Store(dsn, seconds=2) as store:
            for _ in range(3):
                assert await store.fetch("SELECT 1") == [(1,)]
                link.freeze()
                asking = asyncio.create_task(store.fetch("SELECT length(%s)", [long]))
                await asyncio.sleep(0.1)
                link.cut()
                with pytest.raises(StoreUnavailable):
                    await asking
                link.thaw()
        await link.stop()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(tries())


def descriptors() -> int:
    """The number of files that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_lost_connections_leave_no_descriptors_behind(link: Link, through: Through) -> None:
    """After ten lost connections this process has as many open files as before."""
    async with Store(through()) as store:
        await store.fetch("SELECT 1")
        before = descriptors()
        for _ in range(10):
            link.cut()
            with pytest.raises(StoreUnavailable):
                await store.fetch("SELECT 1")
            await store.fetch("SELECT 1")
        assert descriptors() <= before + 2


async def test_the_options_of_a_connection_string_hold(dsn: str) -> None:
    """The option `search_path` of a connection string has effect."""
    async with Store(f"{dsn} options='-c search_path=pg_catalog'") as store:
        assert await store.fetch("SHOW search_path") == [("pg_catalog",)]


# P2: PostgreSQL dies under load.


async def test_when_postgresql_dies_no_request_notices(agent: Agent, server: Postgres, upstream: Upstream) -> None:
    """Known tokens work on, rows wait in the outbox, and each is shipped once after the restart."""
    async with Load(agent) as load:
        await load.more(20)
        with server.down():
            await load.more(40)
            assert await depth(agent) >= 30
        await load.more(20)
    assert statuses(load.answers) == {200}
    rows = await verify(agent, upstream, load.answers)
    assert len(rows) == len(load.answers)


async def test_readyz_reports_that_postgresql_is_down(agent: Agent, server: Postgres) -> None:
    """The agent is ready as long as known tokens work, and names the database's state."""
    with server.down():
        await agent.until(lambda: not agent.server.directory.connected)
        status, state = await readiness(agent)
    assert (status, state["database"], state["directory"]) == (200, "away", "loaded")


async def test_when_postgresql_is_down_for_too_long_tokens_are_refused(
    make_agent: MakeAgent, server: Postgres, upstream: Upstream
) -> None:
    """A token may have been revoked meanwhile, so the answer is 503 until PostgreSQL is back."""
    agent = await make_agent(stale_after=1.0)
    with server.down():
        await agent.until(lambda: not agent.server.directory.loaded)
        refused = await agent.chat()
    await agent.until(lambda: agent.server.directory.loaded)
    accepted = await agent.chat()
    assert (refused.status, refused.error["code"], accepted.status) == (503, "directory_stale", 200)
    assert len(await verify(agent, upstream, [refused, accepted])) == 1


async def test_a_row_that_left_the_outbox_survives_a_crash(agent: Agent, server: Postgres, upstream: Upstream) -> None:
    """The agent's statements wait for the disk although the server is configured to confirm earlier."""
    query(server.dsn, "ALTER SYSTEM SET synchronous_commit = off")
    query(server.dsn, "ALTER SYSTEM SET wal_writer_delay = '10s'")
    query(server.dsn, "SELECT pg_reload_conf()")
    try:
        end_connections(agent.config.database_url or "")
        for _ in range(5):
            await agent.chat()
            await settled(agent)
            with server.down():
                pass
        assert len(await verify(agent, upstream)) == 5
    finally:
        query(server.dsn, "ALTER SYSTEM RESET ALL")
        query(server.dsn, "SELECT pg_reload_conf()")


# P3: PostgreSQL is frozen.


async def test_a_frozen_postgresql_delays_no_request(agent: Agent, server: Postgres, upstream: Upstream) -> None:
    """Requests are answered as fast as before: none waits for PostgreSQL."""
    async with Load(agent) as load:
        await load.more(20)
        with server.frozen():
            await load.more(80)
        await load.more(20)
    assert statuses(load.answers) == {200}
    assert load.lag < LAG
    await verify(agent, upstream, load.answers)


@pytest.mark.gen_test(timeout=90)
async def test_a_batch_that_was_given_up_is_recorded_once(agent: Agent, server: Postgres, upstream: Upstream) -> None:
    """A statement that timed out in the agent still runs to its end in PostgreSQL, and then is sent again."""
    dsn = agent.config.database_url or ""
    async with locked(dsn):
        answers = [await agent.chat()]
        await until_result(dsn, WAITING, 1)
        with server.frozen():
            await agent.until(lambda: not agent.server.directory.connected, seconds=40)
            answers.append(await agent.chat())
    assert len(await verify(agent, upstream, answers)) == 2


# P4: an answer is lost.


async def test_when_the_answer_to_the_insert_is_lost_the_row_exists_once(
    make_agent: MakeAgent, link: Link, through: Through, dsn: str, upstream: Upstream
) -> None:
    """The agent does not know that PostgreSQL has the rows and ships them again; none is counted twice."""
    agent = await make_agent(database_url=through())
    await agent.server.directory.background.close()  # so that the next answer is that to the shipper
    async with locked(dsn):
        answers = [await agent.chat() for _ in range(3)]
        await until_result(dsn, WAITING, 1)
        link.lose_next_answer()
    await until_result(dsn, ROWS, 3)
    assert len(await verify(agent, upstream, answers)) == 3
    assert not link.loses_answer


@pytest.mark.gen_test(timeout=60)
async def test_many_lost_answers_change_nothing(
    make_agent: MakeAgent, link: Link, through: Through, upstream: Upstream
) -> None:
    """Answers to any statement are lost fifteen times; each request has one row."""
    agent = await make_agent(database_url=through())
    async with Load(agent, clients=2) as load:
        for _ in range(15):
            link.lose_next_answer()
            await load.more(4)
    assert statuses(load.answers) == {200}
    assert len(await verify(agent, upstream, load.answers)) == len(load.answers)


# P5: PostgreSQL moves to another address.


@pytest.fixture
def second(io_loop: IOLoop, server: Postgres) -> Iterator[Link]:
    """The address that the server moves to; no program listens there before."""
    link = Link(server.socket)
    link.port = refused_port()
    yield link
    if link.is_listening:
        io_loop.run_sync(link.stop)


@pytest.mark.gen_test(timeout=90)
@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_after_a_failover_the_other_address_is_used(
    make_agent: MakeAgent, server: Postgres, link: Link, second: Link, dsn: str, upstream: Upstream, how: str
) -> None:
    """The connection string has both addresses; the old one refuses connections, or accepts them and never answers."""
    name = dsn.split("dbname=")[1]
    agent = await make_agent(
        database_url=f"host=127.0.0.1,127.0.0.1 port={link.port},{second.port} user=postgres dbname={name} "
        "sslmode=disable"
    )
    async with Load(agent, clients=2) as load:
        await load.more(10)
        if how == "hangs":
            link.freeze()
        else:
            await link.refuse()
        with server.down():
            await load.more(10)
        await second.listen(second.port)
        await load.more(10)
    async with asyncio.timeout(10):  # the timeouts of a statement and a connection are 5 s, and the machine may be busy
        await settled(agent)
    assert statuses(load.answers) == {200}
    assert len(check(dsn, upstream, load.answers)) == len(load.answers)
    assert second.accepted > 0


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_read_only_server_is_skipped(server: Postgres, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """With target_session_attrs=read-write, a read-only server is not used although it is the first one."""

    async def data_directory(hosts: str) -> list[tuple[Any, ...]]:
        dsn = f"host={hosts} port=5432 user=postgres dbname=postgres target_session_attrs=read-write"
        async with Store(dsn) as store:
            return await store.fetch("SHOW data_directory")

    with private_server() as standby, asyncio.Runner(loop_factory=loop) as runner:
        query(standby.dsn, "ALTER SYSTEM SET default_transaction_read_only = on")
        query(standby.dsn, "SELECT pg_reload_conf()")
        rows = runner.run(data_directory(f"{standby.socket_folder},{server.socket_folder}"))
    assert rows == [(str(server.data),)]


# P6: PostgreSQL accepts no rows.


def ledger_warnings(caplog: pytest.LogCaptureFixture) -> int:
    """The number of warnings of the ledger in the log."""
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return len([record for record in records if record.name == "chatgpt_agent.runtime.ledger"])


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


@pytest.mark.gen_test(timeout=90)
async def test_a_statement_that_takes_too_long_is_repeated(
    make_agent: MakeAgent, dsn: str, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """A lock delays the statement until PostgreSQL ends it; the rows stay in the outbox."""
    agent = await make_agent()
    async with locked(dsn):
        answers = [await agent.chat() for _ in range(5)]
        await agent.until(lambda: ledger_warnings(caplog) > 0, seconds=20)
        assert await depth(agent) == 5
    assert len(await verify(agent, upstream, answers)) == 5
    assert ledger_warnings(caplog) == 1


@pytest.mark.gen_test(timeout=90)
async def test_a_full_disk_gets_its_rows_later(
    agent: Agent, server: Postgres, dsn: str, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """The rows stay in the outbox while the table cannot grow, and one line of the log says so."""
    fill_partition(dsn)
    with server.files_of_at_most(16 * 1024**2):  # so that PostgreSQL can still write its log
        answers = [await agent.chat() for _ in range(30)]
        log = server.data / "server.log"
        await agent.until(lambda: "could not extend file" in log.read_text(errors="replace"), seconds=20)
        assert await depth(agent) > 0
    assert len(await verify(agent, upstream, answers)) == 30
    assert ledger_warnings(caplog) == 1


def fill_partition(dsn: str) -> None:
    """Makes the file of this month's partition larger than 16 MiB, with no rows that count."""
    with connected(dsn) as cursor:
        cursor.execute("ALTER TABLE usage ALTER COLUMN endpoint SET STORAGE plain")  # in the table itself
        cursor.execute("SELECT ensure_usage_partition(%s)", [datetime.now(UTC)])
        cursor.execute(
            "SELECT format('ALTER TABLE %s ALTER endpoint SET STORAGE plain', inhrelid::regclass) "
            "FROM pg_inherits WHERE inhparent = 'usage'::regclass"
        )
        for (sql,) in cursor.fetchall():
            cursor.execute(sql)
        cursor.execute(
            """INSERT INTO usage (request_id, user_id, token_id, endpoint, model, price_id, cost, state, client_closed,
                                  streamed, started_at)
            SELECT gen_random_uuid(), 1, 1, repeat('x', 7900), 'm', 1, 0, 'done', false, false, %s
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
    assert query(dsn, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(1,)]
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


# P9: a connection is ended while a statement waits.


@pytest.mark.parametrize("times", [1, 3])
async def test_a_connection_that_is_ended_while_it_waits(
    agent: Agent, dsn: str, upstream: Upstream, times: int
) -> None:
    """An administrator ends the connection during the shipper's statement, which is then sent on a new one."""
    async with locked(dsn):
        answers = [await agent.chat() for _ in range(3)]
        for _ in range(times):
            await until_result(dsn, WAITING, 1)
            assert await asyncio.to_thread(end_connections, dsn) >= 1
            answers.append(await agent.chat())
    assert statuses(answers) == {200}
    assert len(await verify(agent, upstream, answers)) == len(answers)


# P10: packets are lost.


@pytest.mark.gen_test(timeout=60)
async def test_lost_packets_delay_no_request(
    make_agent: MakeAgent, link: Link, through: Through, upstream: Upstream
) -> None:
    """A connection attempt gets no answer, not even a refusal, and does not block the event loop."""
    agent = await make_agent(database_url=through())
    async with Load(agent) as load:
        await load.more(20)
        link.freeze()
        link.cut()
        await agent.until(lambda: not agent.server.directory.connected)
        before = link.accepted
        await agent.until(lambda: link.accepted > before, seconds=10)
        load.lag = 0.0
        await load.more(100)
        lag = load.lag
        link.thaw()
    assert statuses(load.answers) == {200}
    assert lag < LAG
    await verify(agent, upstream, load.answers)


async def test_a_host_name_is_not_resolved_on_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq would block every request: a name server that does not answer takes seconds to time out."""
    hosts = []

    async def getaddrinfo(host: str, port: None, **_: object) -> list[tuple[object, ...]]:
        hosts.append(host)
        return [(0, 0, 0, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with Store(f"host=postgresql.example port={refused_port()} user=a dbname=a") as store:
        with pytest.raises(StoreUnavailable, match="refused"):
            await store.fetch("SELECT 1")
    assert hosts == ["postgresql.example"]


async def test_every_address_of_a_name_is_tried(server: Postgres, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name like `localhost` has two addresses, and PostgreSQL may listen on only one of them."""

    async def getaddrinfo(host: str, port: None, **_: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", (address, 0)) for address in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with Store(f"host=both.example port={link.port} user=postgres dbname=postgres sslmode=disable") as store:
        assert await store.fetch("SELECT 1") == [(1,)]


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
    """Users, tokens, prices and rows have the agent's time."""
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
