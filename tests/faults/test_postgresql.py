"""PostgreSQL away, slow, full and confused, for real: no request notices, and the books are right in the end."""

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

from chatgpt_agent.adapters.postgres import usage as statements
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.errors import StoreUnavailable
from chatgpt_agent.server import Server
from tests.cli.commands import Cli
from tests.cli.serving import Serve, until
from tests.conftest import MakeAgent
from tests.faults.conftest import Load, Postgres, private_server
from tests.support.agent import MODEL, Agent
from tests.support.client import Answer, fetch
from tests.support.database import connected, end_connections, query
from tests.support.oracle import check, settled, verify
from tests.support.tcp_relay import Link
from tests.support.upstream import Upstream

LAG = 1.0  # seconds; the loop is the clients' and the upstream's too, on a machine that may be busy
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'usage_daily'::regclass"
ROWS = "SELECT count(*) FROM usage"

Through = Callable[[], str]


def statuses(answers: list[Answer]) -> set[int]:
    """Which there were."""
    return {answer.status for answer in answers}


async def depth(agent: Agent) -> int:
    """How many rows wait in the outbox."""
    return await agent.server.ledger.depth()


async def readiness(agent: Agent) -> tuple[int, Any]:
    """What a balancer hears."""
    answer = await fetch(agent.url + "/readyz")
    return answer.status, json.loads(answer.body)


async def until_asked(dsn: str, sql: str, expected: Any, seconds: float = 15) -> None:
    """Waits until a question to PostgreSQL has this answer."""
    async with asyncio.timeout(seconds):
        while await asyncio.to_thread(query, dsn, sql) != [(expected,)]:
            await asyncio.sleep(0.02)


@pytest.fixture
def postgres(server: Postgres) -> str:
    """For the `dsn` of each test: a database in a server that may be harmed."""
    return server.dsn


@asynccontextmanager
async def held(dsn: str) -> AsyncIterator[None]:
    """Somebody holds the roll-up, so that whoever ships waits in the middle of the statement."""
    with connected(dsn) as gate:
        gate.execute("BEGIN")
        gate.execute("LOCK TABLE usage_daily IN SHARE MODE")
        yield
        gate.execute("COMMIT")


# P1: away at the start.


@pytest.fixture
def restarted(io_loop: IOLoop, make_agent: MakeAgent) -> Agent:
    """An agent that has ended, with its user and price in the database: the next start is the test's."""

    async def start_and_stop() -> Agent:
        agent = await make_agent()
        await agent.server.stop()
        agent.server = Server(agent.config, agent.config.database_url or "")
        return agent

    made: Agent = io_loop.run_sync(start_and_stop)
    return made


async def test_without_postgresql_it_starts_and_is_not_ready(restarted: Agent, server: Postgres) -> None:
    """It is alive, and a balancer sends it nothing."""
    with server.down():
        await restarted.server.start()
        assert (await fetch(restarted.url + "/healthz")).status == 200
        assert (await readiness(restarted))[0] == 503


async def test_without_postgresql_it_knows_nobody(restarted: Agent, server: Postgres, upstream: Upstream) -> None:
    """503 to try again, and not 401: a client must not throw its token away."""
    with server.down():
        await restarted.server.start()
        answer = await restarted.chat()
    assert (answer.status, answer.error["code"], upstream.requests) == (503, "directory_stale", [])


async def test_it_is_ready_soon_after_postgresql_is(restarted: Agent, server: Postgres, upstream: Upstream) -> None:
    """By itself, and requests are answered and booked."""
    with server.down():
        await restarted.server.start()
    await restarted.until(lambda: restarted.server.directory.loaded, seconds=5)
    answer = await restarted.chat()
    assert answer.status == 200
    await verify(restarted, upstream, [answer])


def test_a_command_without_postgresql_is_one_line(server: Postgres, dsn: str, tmp_path: Path) -> None:
    """And exit code 1."""
    cli = Cli({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path)})
    with server.down():
        [line] = cli.refused("user", "list")
    assert "database" in line


async def test_a_refused_port_does_not_end_the_agent(
    server: Postgres, link: Link, through: Through, dsn: str, tmp_path: Path
) -> None:
    """On the event loop that it serves with, too: it tries until it is let in."""
    cli = Cli({"DATABASE_URL": through(), "DATA_DIR": str(tmp_path / "data")})
    async with Serve(cli.settings) as serving:
        url = await serving.ready()
        assert link._server is not None
        link._server.close()
        link.cut()
        await until(lambda: fetch(f"{url}/readyz"), lambda answer: b'"away"' in answer.body)
        await asyncio.sleep(2)  # for some tries more: what must not happen cannot be waited for
        assert serving.process.returncode is None, serving.lines
        link._server = await asyncio.start_server(link._accept, "127.0.0.1", link.port)
        await until(lambda: fetch(f"{url}/readyz"), lambda answer: b'"connected"' in answer.body)
        assert await serving.stopped() == 0


# The connection itself, on the loop that the agent serves with.


def refused_port() -> int:
    """A port of 127.0.0.1 where nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_refused_port_can_be_tried_again_and_again(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """libpq closes its socket behind the loop's back: uvloop would refuse its number to whoever gets it next."""

    async def tries() -> None:
        async with Store(f"host=127.0.0.1 port={refused_port()} user=a dbname=a") as store:
            for _ in range(4):
                with pytest.raises(StoreUnavailable, match="refused"):
                    await store.fetch("SELECT 1")

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(tries())


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_statement_that_is_cut_while_it_is_sent_can_be_tried_again(
    server: Postgres, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """With the loop waiting for room to write."""
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
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_the_descriptors_of_lost_connections_are_given_back(link: Link, through: Through) -> None:
    """However often one is lost."""
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
    """A schema of one's own, for example."""
    async with Store(f"{dsn} options='-c search_path=pg_catalog'") as store:
        assert await store.fetch("SHOW search_path") == [("pg_catalog",)]


# P2: it dies under load.


async def test_when_it_dies_no_request_notices(agent: Agent, server: Postgres, upstream: Upstream) -> None:
    """Known tokens go on working, rows wait in the outbox, and drain from it when it is back, one each."""
    async with Load(agent) as load:
        await load.more(20)
        with server.down():
            await load.more(40)
            assert await depth(agent) >= 30
        await load.more(20)
    assert statuses(load.answers) == {200}
    rows = await verify(agent, upstream, load.answers)
    assert len(rows) == len(load.answers)


async def test_while_it_is_away_a_balancer_is_told(agent: Agent, server: Postgres) -> None:
    """Ready, as long as known tokens work, and with the reason to worry."""
    with server.down():
        await agent.until(lambda: not agent.server.directory.connected)
        status, state = await readiness(agent)
    assert (status, state["database"], state["directory"]) == (200, "away", "loaded")


async def test_when_it_is_away_too_long_nobody_is_known(
    make_agent: MakeAgent, server: Postgres, upstream: Upstream
) -> None:
    """Somebody may have been refused since: 503 until it is back."""
    agent = await make_agent(stale_after=1.0)
    with server.down():
        await agent.until(lambda: not agent.server.directory.loaded)
        refused = await agent.chat()
    await agent.until(lambda: agent.server.directory.loaded)
    taken = await agent.chat()
    assert (refused.status, refused.error["code"], taken.status) == (503, "directory_stale", 200)
    assert len(await verify(agent, upstream, [refused, taken])) == 1


async def test_a_row_that_left_the_outbox_survives_a_crash(agent: Agent, server: Postgres, upstream: Upstream) -> None:
    """Though the server's own way is to say that it has a row before it is written."""
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


# P3: it is frozen.


async def test_while_it_is_frozen_requests_are_answered(agent: Agent, server: Postgres, upstream: Upstream) -> None:
    """As fast as ever: nothing on their way waits for it."""
    async with Load(agent) as load:
        await load.more(20)
        with server.frozen():
            await load.more(80)
        await load.more(20)
    assert statuses(load.answers) == {200}
    assert load.lag < LAG
    await verify(agent, upstream, load.answers)


@pytest.mark.gen_test(timeout=90)
async def test_what_was_frozen_and_given_up_is_booked_once(agent: Agent, server: Postgres, upstream: Upstream) -> None:
    """The statement that the agent had no more patience with runs to its end all the same, and then comes again."""
    dsn = agent.config.database_url or ""
    async with held(dsn):
        answers = [await agent.chat()]
        await until_asked(dsn, WAITING, 1)
        with server.frozen():
            await agent.until(lambda: not agent.server.directory.connected, seconds=40)
            answers.append(await agent.chat())
    assert len(await verify(agent, upstream, answers)) == 2


# P4: an answer is lost.


async def test_when_the_answer_to_the_insert_is_lost_the_row_is_there_once(
    make_agent: MakeAgent, link: Link, through: Through, dsn: str, upstream: Upstream
) -> None:
    """The rows are in PostgreSQL, and the agent does not know: it ships them again, and nothing is counted twice."""
    agent = await make_agent(database_url=through())
    await agent.server.directory.background.close()  # so that the next answer on the wire is the shipper's
    async with held(dsn):
        answers = [await agent.chat() for _ in range(3)]
        await until_asked(dsn, WAITING, 1)
        link.lose_next_answer()
    await until_asked(dsn, ROWS, 3)
    assert len(await verify(agent, upstream, answers)) == 3
    assert not link._swallow


@pytest.mark.gen_test(timeout=60)
async def test_answers_that_are_lost_again_and_again(
    make_agent: MakeAgent, link: Link, through: Through, upstream: Upstream
) -> None:
    """Whosever they are, and whatever they were the answer to."""
    agent = await make_agent(database_url=through())
    async with Load(agent, clients=2) as load:
        for _ in range(15):
            link.lose_next_answer()
            await load.more(4)
    assert statuses(load.answers) == {200}
    assert len(await verify(agent, upstream, load.answers)) == len(load.answers)


# P5: it moves.


@pytest.fixture
def second(io_loop: IOLoop, server: Postgres) -> Iterator[Link]:
    """The address that the server moves to, where nobody listens before."""
    link = Link(server.socket)
    link.port = refused_port()
    yield link
    if link._server is not None:
        io_loop.run_sync(link.stop)


@pytest.mark.gen_test(timeout=90)
@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_after_a_failover_the_other_address_is_used(
    make_agent: MakeAgent, server: Postgres, link: Link, second: Link, dsn: str, upstream: Upstream, how: str
) -> None:
    """Both stand in the connection string. Old connections are cut or hang, and so does whoever asks there again."""
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
            assert link._server is not None
            link._server.close()
            link.cut()
        with server.down():
            await load.more(10)
        second._server = await asyncio.start_server(second._accept, "127.0.0.1", second.port)
        await load.more(10)
    async with asyncio.timeout(10):  # a statement's limit and a connection's: 5 s, and a machine that may be busy
        await settled(agent)
    assert statuses(load.answers) == {200}
    assert len(check(dsn, upstream, load.answers)) == len(load.answers)
    assert second.accepted > 0


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_server_that_may_only_be_read_is_passed_over(
    server: Postgres, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Though it comes first, where the connection string says target_session_attrs=read-write."""

    async def asks(hosts: str) -> list[tuple[Any, ...]]:
        dsn = f"host={hosts} port=5432 user=postgres dbname=postgres target_session_attrs=read-write"
        async with Store(dsn) as store:
            return await store.fetch("SHOW data_directory")

    with private_server() as standby, asyncio.Runner(loop_factory=loop) as runner:
        query(standby.dsn, "ALTER SYSTEM SET default_transaction_read_only = on")
        query(standby.dsn, "SELECT pg_reload_conf()")
        found = runner.run(asks(f"{standby.socket_folder},{server.socket_folder}"))
    assert found == [(str(server.data),)]


# P6: it takes nothing.


def says_that_rows_wait(caplog: pytest.LogCaptureFixture) -> int:
    """How many log lines there are of it."""
    found = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return len([record for record in found if record.name == "chatgpt_agent.runtime.ledger"])


@asynccontextmanager
async def read_only(dsn: str) -> AsyncIterator[None]:
    """A database that may only be read, as on the wrong side of a failover."""
    name = dsn.split("dbname=")[1]
    query(dsn, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    end_connections(dsn)
    yield
    with connected(dsn) as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    end_connections(dsn)


async def test_a_database_that_may_only_be_read_gets_its_rows_later(
    agent: Agent, dsn: str, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """They are kept, and one line says so."""
    async with read_only(dsn):
        answers = [await agent.chat() for _ in range(5)]
        await agent.until(lambda: says_that_rows_wait(caplog) > 0)
        await asyncio.sleep(2)  # some tries more
        assert (await depth(agent), says_that_rows_wait(caplog)) == (5, 1)
    assert len(await verify(agent, upstream, answers)) == 5


@pytest.mark.gen_test(timeout=90)
async def test_a_statement_that_takes_too_long_is_tried_again(
    make_agent: MakeAgent, dsn: str, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """As where somebody holds a lock: PostgreSQL ends it, and the rows are kept."""
    agent = await make_agent()
    agent.server.ledger._store._seconds = 0.5
    end_connections(dsn)
    async with held(dsn):
        answers = [await agent.chat() for _ in range(5)]
        await agent.until(lambda: says_that_rows_wait(caplog) > 0, seconds=20)
        assert await depth(agent) == 5
    assert len(await verify(agent, upstream, answers)) == 5
    assert says_that_rows_wait(caplog) == 1


@pytest.mark.gen_test(timeout=90)
async def test_a_disk_that_is_full_gets_its_rows_later(
    agent: Agent, server: Postgres, dsn: str, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """They are kept while the table cannot grow, and one line says so."""
    fill_partition(dsn)
    with server.files_of_at_most(16 * 1024**2):  # so that its log can still be written
        answers = [await agent.chat() for _ in range(30)]
        log = server.data / "server.log"
        await agent.until(lambda: "could not extend file" in log.read_text(errors="replace"), seconds=20)
        assert await depth(agent) > 0
    assert len(await verify(agent, upstream, answers)) == 30
    assert says_that_rows_wait(caplog) == 1


def fill_partition(dsn: str) -> None:
    """Makes this month's partition larger than 16 MiB, with nothing in it that still counts."""
    with connected(dsn) as cursor:
        cursor.execute("ALTER TABLE usage ALTER COLUMN endpoint SET STORAGE plain")  # not compressed, nor elsewhere
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


async def test_what_may_not_be_read_is_said_once(
    agent: Agent, dsn: str, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal of the directory's question is no reason for two lines a second."""
    query(dsn, "ALTER TABLE directory_version RENAME TO elsewhere")
    await agent.until(lambda: not agent.server.directory.connected)
    await asyncio.sleep(2)  # some tries more
    query(dsn, "ALTER TABLE elsewhere RENAME TO directory_version")
    await agent.until(lambda: agent.server.directory.connected)
    lines = [record for record in caplog.records if "directory cannot be refreshed" in record.message]
    assert len(lines) == 1


# P7: others write, too.


async def two_models(agent: Agent) -> list[Answer]:
    """A row of each of two models, so that their lines in the roll-up are there."""
    await agent.set_price("a", "1", "1")
    await agent.set_price("b", "1", "1")
    answers = [await agent.chat(model=model) for model in ("a", "b")]
    await settled(agent)
    return answers


async def test_a_deadlock_loses_and_doubles_nothing(agent: Agent, dsn: str, upstream: Upstream) -> None:
    """PostgreSQL ends the shipper's statement, because another writer has locked the same lines in another order."""
    answers = await two_models(agent)
    with connected(dsn) as other:
        other.execute("SET deadlock_timeout = '1min'")  # so that it is the agent whose statement is ended
        other.execute("BEGIN")
        other.execute("UPDATE usage_daily SET cost = cost WHERE model = 'b'")
        async with held_back(agent):
            answers += [await agent.chat(model=model) for model in ("a", "b")]
        await until_asked(dsn, WAITING_FOR_A_LINE, 1)
        await asyncio.to_thread(other.execute, "UPDATE usage_daily SET cost = cost WHERE model = 'a'")
        other.execute("COMMIT")
    assert query(dsn, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(1,)]
    assert len(await verify(agent, upstream, answers)) == 4


async def test_a_serialization_failure_loses_and_doubles_nothing(
    make_agent: MakeAgent, dsn: str, upstream: Upstream
) -> None:
    """Where the database's own level says that a line which changed meanwhile is not written."""
    query(dsn, f"ALTER DATABASE {dsn.split('dbname=')[1]} SET default_transaction_isolation = 'repeatable read'")
    agent = await make_agent()
    answers = await two_models(agent)
    with connected(dsn) as other:
        other.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        other.execute("UPDATE usage_daily SET cost = cost WHERE model = 'a'")
        answers.append(await agent.chat(model="a"))
        await until_asked(dsn, WAITING_FOR_A_LINE, 1)
        other.execute("COMMIT")
    assert len(await verify(agent, upstream, answers)) == 3


WAITING_FOR_A_LINE = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'chatgpt-agent' AND wait_event_type = 'Lock'"""


@asynccontextmanager
async def held_back(agent: Agent) -> AsyncIterator[None]:
    """What is written meanwhile is shipped in one batch."""
    async with agent.server.ledger._shipping:
        yield


# P9: a connection is ended while a statement waits.


@pytest.mark.parametrize("times", [1, 3])
async def test_a_connection_that_is_ended_while_it_waits(
    agent: Agent, dsn: str, upstream: Upstream, times: int
) -> None:
    """By an administrator, in the middle of the statement that ships: it is made anew, and the statement runs again."""
    async with held(dsn):
        answers = [await agent.chat() for _ in range(3)]
        for _ in range(times):
            await until_asked(dsn, WAITING, 1)
            assert await asyncio.to_thread(end_connections, dsn) >= 1
            answers.append(await agent.chat())
    assert statuses(answers) == {200}
    assert len(await verify(agent, upstream, answers)) == len(answers)


# P10: a black hole.


@pytest.mark.gen_test(timeout=60)
async def test_a_black_hole_slows_no_request_down(
    make_agent: MakeAgent, link: Link, through: Through, upstream: Upstream
) -> None:
    """Who connects there gets no answer, not even a refusal; the event loop does not stand still for it."""
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


async def test_a_name_is_not_looked_up_on_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq would, while every request waits: a name server that is away takes seconds to be found out."""
    asked = []

    async def getaddrinfo(host: str, port: None, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(0, 0, 0, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with Store(f"host=postgresql.example port={refused_port()} user=a dbname=a") as store:
        with pytest.raises(StoreUnavailable, match="refused"):
            await store.fetch("SELECT 1")
    assert asked == ["postgresql.example"]


async def test_every_address_of_a_name_is_tried(server: Postgres, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` is ::1 before it is 127.0.0.1, and PostgreSQL may listen at only one of them."""

    async def getaddrinfo(host: str, port: None, **_: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", (address, 0)) for address in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with Store(f"host=both.example port={link.port} user=postgres dbname=postgres sslmode=disable") as store:
        assert await store.fetch("SELECT 1") == [(1,)]


# P12: its clock.

CLOCKS = ("now", "transaction_timestamp", "statement_timestamp", "clock_timestamp")


def without_clock(dsn: str) -> None:
    """Whoever asks this database for the time fails."""
    for name in CLOCKS:
        query(
            dsn,
            f"""CREATE FUNCTION public.{name}() RETURNS timestamptz LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'somebody looks at the clock'; END $$""",
        )
    query(dsn, f"ALTER DATABASE {dsn.split('dbname=')[1]} SET search_path = public, pg_catalog")


async def test_nobody_asks_postgresql_for_the_time(make_agent: MakeAgent, dsn: str, upstream: Upstream) -> None:
    """Users, tokens, prices and rows have the time that the agent says."""
    without_clock(dsn)
    with pytest.raises(psycopg2.errors.RaiseException, match="looks at the clock"):
        query(dsn, "SELECT now()")
    agent = await make_agent()
    assert len(await verify(agent, upstream, [await agent.chat()])) == 1


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
async def test_a_day_is_the_agents_wherever_postgresql_is(
    make_agent: MakeAgent, dsn: str, upstream: Upstream, zone: str
) -> None:
    """14 hours before UTC, or 12 behind."""
    query(dsn, f"ALTER DATABASE {dsn.split('dbname=')[1]} SET timezone = '{zone}'")
    agent = await make_agent()
    before = datetime.now(UTC)
    await agent.chat()
    [row] = await verify(agent, upstream)
    assert before <= row["started_at"] <= datetime.now(UTC)
    assert query(dsn, "SELECT day FROM usage_daily") == [(row["started_at"].astimezone(UTC).date(),)]


@pytest.mark.parametrize("hours", [-40 * 24, -1, 1, 40 * 24])
async def test_a_row_lies_on_the_day_that_its_intent_says(agent: Agent, dsn: str, hours: int) -> None:
    """Though PostgreSQL's clock says another."""
    then = datetime.now(UTC) + timedelta(hours=hours)
    agent.server.admissions.now = lambda: then
    query(dsn, "UPDATE prices SET effective_at = %s", [then - timedelta(days=1)])
    await agent.until(lambda: agent.server.directory.book.at(MODEL, then) is not None)
    assert (await agent.chat()).status == 200
    await settled(agent)
    assert query(dsn, "SELECT started_at FROM usage") == [(then,)]
    assert query(dsn, "SELECT day FROM usage_daily") == [(then.date(),)]


def test_no_column_of_the_books_has_a_default_from_postgresqls_clock(dsn: str) -> None:
    """What is not said is not known."""
    sql = """
        SELECT table_name, column_name, column_default FROM information_schema.columns
        WHERE table_schema = 'public' AND column_default ~* 'now|current|timestamp|date|time'"""
    assert query(dsn, sql) == []


def test_the_statement_that_ships_knows_no_clock() -> None:
    """Nor any of its words."""
    words = statements._SHIP.lower()
    assert not [word for word in ("now(", "current_", "clock_", "localtime", "'today'") if word in words]
