"""PostgreSQL is down, frozen, or its answers are lost: requests do not notice, and the ledger stays right."""

import asyncio
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.server import Server
from tests.conftest import MakeAgent
from tests.faults.conftest import Load, Postgres
from tests.faults.postgresql_faults import (
    LAG,
    ROWS,
    WAITING,
    Through,
    depth,
    locked,
    readiness,
    statuses,
    until_body,
    until_result,
)
from tests.support.agent import Agent
from tests.support.client import fetch
from tests.support.commands import Cli
from tests.support.database import end_connections, query
from tests.support.oracle import settled, verify
from tests.support.serving import Serve
from tests.support.tcp_relay import Link
from tests.support.upstream import Upstream

pytestmark = pytest.mark.slow


@pytest.fixture
def postgres(server: Postgres) -> str:
    """The module's own server, for the `dsn` of each test: it may be harmed."""
    return server.dsn


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
    await restarted.until(lambda: restarted.server.directory.loaded)
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
        await link.listen()
        await until_body(url, b'"connected"')
        assert await serving.stopped() == 0


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


async def test_a_batch_that_was_given_up_is_recorded_once(
    agent: Agent, server: Postgres, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """A statement that timed out in the agent still runs to its end in PostgreSQL, and then is sent again."""
    dsn = agent.config.database_url or ""
    async with locked(dsn):
        answers = [await agent.chat()]
        await until_result(dsn, WAITING, 1)
        with server.frozen():
            await agent.until(lambda: "1 rows wait in the outbox" in caplog.text)
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
