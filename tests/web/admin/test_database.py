"""Administration and a database that is slow, or away."""

import asyncio

from psycopg2.extensions import parse_dsn

from tests.support.administrator import Administrator
from tests.support.client import Answer
from tests.support.database import Database, connected
from tests.support.waiting import until


async def until_blocked(admin: Administrator) -> None:
    """Waits until a statement in the agent's database waits for a lock."""
    waiting = """SELECT 1 FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'chatgpt-agent'"""
    await until(lambda: admin.agent.store.fetch(waiting))


async def test_long_report_delays_no_other_request(admin: Administrator) -> None:
    """While a report waits for a lock, a token is revoked and a request is forwarded."""
    with connected(str(admin.agent.config.database_url)) as blocker:
        blocker.execute("BEGIN; LOCK TABLE usage_daily IN ACCESS EXCLUSIVE MODE")
        report = asyncio.create_task(admin.ask("GET", "/usage"), name="report")
        await until_blocked(admin)
        assert (await admin.ask("POST", "/tokens/2/revoke")).status == 204
        assert (await admin.agent.chat()).status == 200
        assert not report.done()
    assert (await report).status == 200


async def test_ledger_check_delays_no_report(admin: Administrator) -> None:
    """The check has its own connection, because it may take minutes."""
    with connected(str(admin.agent.config.database_url)) as blocker:
        blocker.execute("BEGIN; LOCK TABLE usage IN ACCESS EXCLUSIVE MODE")
        proof = asyncio.create_task(admin.ask("GET", "/ledger/findings"), name="proof")
        await until_blocked(admin)
        assert (await admin.ask("GET", "/usage")).status == 200
        assert not proof.done()
    assert (await proof).json == {"findings": []}


async def test_unreachable_database_is_answered_503(admin: Administrator, postgres: str) -> None:
    """The error does not contain the name of the database; the agent recovers by itself."""
    name = parse_dsn(str(admin.agent.config.database_url))["dbname"]
    database = Database(postgres, name)
    database.close()
    answer: Answer = await admin.ask("GET", "/users")
    database.open()
    assert (answer.status, answer.error["code"]) == (503, "database_unavailable")
    assert name.encode() not in answer.body
    assert answer.header("Retry-After") == "1"
    assert (await admin.ask("GET", "/users")).status == 200


async def test_stopping_agent_answers_503(admin: Administrator) -> None:
    """A client would not know whether its change was made."""
    admin.agent.server.lifecycle.draining = True
    answer = await admin.ask("GET", "/users")
    assert (answer.status, answer.error["code"]) == (503, "draining")
