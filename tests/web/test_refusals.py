"""Requests that the agent refuses because of its own state: the answer, and that nothing is sent."""

import asyncio
import json
import sqlite3

import pytest

from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.client import fetch
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent


async def test_unwritable_ledger_refuses_requests(agent: Agent, upstream: Upstream) -> None:
    """While the ledger cannot be written, a request is a 503 that may be retried, and is not sent."""
    blocker = sqlite3.connect(agent.config.data_dir / "outbox.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    answer = await agent.chat()
    ready = await fetch(agent.url + "/readyz")
    blocker.close()
    assert (answer.status, answer.error["code"], answer.header("x-should-retry")) == (503, "ledger_unavailable", "true")
    assert (ready.status, upstream.requests) == (503, [])
    assert (await agent.chat()).status == 200


async def test_request_over_the_limit_of_concurrency_is_refused(make_agent: MakeAgent, upstream: Upstream) -> None:
    """The third request of two allowed is a 503, and a request afterwards is served."""
    agent = await make_agent(max_concurrent_requests=2)
    may_answer = upstream.hold()
    running = [asyncio.create_task(agent.chat()) for _ in range(2)]
    await agent.until(lambda: len(upstream.requests) == 2)
    answer = await agent.chat()
    assert (answer.status, answer.error["code"], answer.header("retry-after")) == (503, "overloaded", "1")
    may_answer.set()
    assert [(await task).status for task in running] == [200, 200]
    assert (await agent.chat()).status == 200


async def test_stale_directory_refuses_requests(make_agent: MakeAgent, upstream: Upstream) -> None:
    """When the database has been down for longer than `stale_after`, a request is a 503."""
    agent = await make_agent(stale_after=0.1)
    await agent.server.directory.background.close()
    await agent.until(lambda: not agent.server.directory.loaded)
    answer = await agent.chat()
    assert (answer.status, answer.error["code"], upstream.requests) == (503, "directory_stale", [])
    assert (await fetch(agent.url + "/readyz")).status == 503


@pytest.mark.own_agent
async def test_agent_without_loaded_budgets_is_not_ready(agent: Agent) -> None:
    """An agent that has not read what was spent is not ready, because it refuses all users with a budget."""
    agent.server.budgets.loaded = False
    assert (await fetch(agent.url + "/readyz")).status == 503


@pytest.mark.own_agent
async def test_draining_agent_refuses_requests(agent: Agent, upstream: Upstream) -> None:
    """While the agent shuts down, a new request on a kept connection is a 503."""
    agent.server.lifecycle.draining = True
    answer = await agent.chat()
    assert (answer.status, answer.error["code"], upstream.requests) == (503, "draining", [])
    assert json.loads((await fetch(agent.url + "/readyz")).body)["draining"] is True


async def test_key_copied_to_another_user_is_refused(agent: Agent, upstream: Upstream) -> None:
    """A key that was copied to another user in the database cannot be used by that user."""
    token = await agent.add_user("mallory", "sk-made-up-of-mallory")
    sql = "UPDATE users SET upstream_key = (SELECT upstream_key FROM users WHERE name = 'alice') WHERE name = 'mallory'"
    await agent.store.fetch(sql)
    await agent.follow()
    answer = await agent.post(agent.body(), Authorization=f"Bearer {token}")
    assert (answer.status, answer.error["code"], upstream.requests) == (502, "upstream_key_rejected", [])
