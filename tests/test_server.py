"""The composition root: the order of its start, and its end when a background task dies."""

from pathlib import Path

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.admin.ledger import Finding
from chatgpt_agent.server import Server
from tests.support.agent import Agent
from tests.support.database import connected, query
from tests.support.factories import make_intent, make_row, request_id
from tests.support.waiting import until


async def broken() -> None:
    """A fault in our own code."""
    raise ZeroDivisionError


async def test_background_task_that_dies_ends_the_agent(agent: Agent) -> None:
    """Without this, revoked tokens would go on working without a sign."""
    agent.server.directory.background.start("directory", broken())
    await agent.until(agent.server.stopping.is_set)
    assert str(agent.server.failure) == "the task directory died: ZeroDivisionError"


async def test_rows_of_the_last_run_are_shipped_before_the_agent_is_ready(dsn: str, tmp_path: Path) -> None:
    """An agent that is stopped as soon as it is ready leaves no row of the last run in its outbox."""
    await leave_row(tmp_path)
    server = Server(Config(bind_address="127.0.0.1", port=0, admin_port=0, data_dir=tmp_path, database_url=dsn), dsn)
    try:
        with connected(dsn) as other:
            other.execute("BEGIN; LOCK TABLE users, reservations")  # the directory cannot be loaded
            await server.start()
            await until(lambda: query(dsn, "SELECT request_id::text FROM usage") == [(str(request_id(1)),)])
            assert not server.directory.loaded
    finally:
        await server.stop()


async def leave_row(data_dir: Path) -> None:
    """Leaves the outbox of an agent that ended before it had shipped its row."""
    outbox = Outbox(data_dir)
    await outbox.open()
    await outbox.add_intent(make_intent(1))
    await outbox.settle(make_row(1))
    await outbox.close()


async def test_stop_ends_a_check_of_the_ledger(dsn: str, tmp_path: Path) -> None:
    """It may wait for PostgreSQL for an hour; the agent does not wait for it."""
    server = Server(Config(bind_address="127.0.0.1", port=0, admin_port=0, data_dir=tmp_path, database_url=dsn), dsn)
    await server.start()
    await until(lambda: server.directory.loaded)
    statement = "SELECT pg_sleep(3600)"
    server.verification.start(lambda: fetch_nothing(server, statement), by="carol")
    await until(lambda: query(dsn, f"SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%{statement}'") == [(1,)])
    await server.stop()
    assert not server.verification.running


async def fetch_nothing(server: Server, statement: str) -> list[Finding]:
    """Runs a statement as a check does."""
    await server.admin_stores.checks.fetch(statement)
    return []
