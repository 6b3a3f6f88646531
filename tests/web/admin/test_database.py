"""Administration and a database that is slow, or away."""

import asyncio
import time

from chatgpt_agent.adapters.postgres.connection import Store
from tests.support.client import Answer
from tests.web.admin.conftest import Administrator


async def test_a_long_report_holds_nobody_up(admin: Administrator) -> None:
    """While one waits for a lock, a token is revoked, and clients are served."""
    blocker = Store(str(admin.agent.config.database_url))
    locked = asyncio.create_task(
        blocker.fetch("LOCK TABLE usage_daily IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(1.5)"), name="lock"
    )
    await asyncio.sleep(0.3)
    report = asyncio.create_task(admin.ask("GET", "/usage"), name="report")
    await asyncio.sleep(0.1)
    began = time.monotonic()
    assert (await admin.ask("POST", "/tokens/2/revoke")).status == 204
    assert (await admin.agent.chat()).status == 200
    assert time.monotonic() - began < 0.8
    assert not report.done()
    await locked
    assert (await report).status == 200
    await blocker.close()


async def test_a_proof_holds_no_report_up(admin: Administrator) -> None:
    """It may take minutes, on a connection of its own."""
    api = admin.agent.server._admin_api
    slow = asyncio.create_task(api.stores.proofs.fetch("SELECT pg_sleep(1)"), name="slow proof")
    proof = asyncio.create_task(admin.ask("GET", "/ledger/findings"), name="proof")
    await asyncio.sleep(0.1)
    assert (await admin.ask("GET", "/usage")).status == 200
    assert not proof.done()
    await slow
    assert (await proof).json == {"findings": []}


async def test_a_database_that_is_away_is_answered_503(admin: Administrator) -> None:
    """In the envelope, without its address; and 200 when it is back."""
    api = admin.agent.server._admin_api
    dsn, api.stores.changes._dsn = api.stores.changes._dsn, "host=/nowhere dbname=x user=secret-name"
    await api.stores.changes.close()
    answer: Answer = await admin.ask("GET", "/users")
    assert (answer.status, answer.error["code"]) == (503, "database_unavailable")
    assert b"nowhere" not in answer.body
    assert answer.header("Retry-After") == "1"
    api.stores.changes._dsn = dsn
    assert (await admin.ask("GET", "/users")).status == 200


async def test_a_draining_agent_is_answered_503(admin: Administrator) -> None:
    """Whoever changes something then would not know whether it was done."""
    admin.agent.server.lifecycle.draining = True
    answer = await admin.ask("GET", "/users")
    assert (answer.status, answer.error["code"]) == (503, "draining")
