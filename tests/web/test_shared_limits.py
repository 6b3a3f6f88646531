"""Rate limits over two running agents on one database."""

import asyncio
from pathlib import Path

import pytest

from chatgpt_agent.runtime.limit_sync import LimitTimes
from chatgpt_agent.runtime.tuning import Tuning
from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.upstream import Upstream
from tests.support.waiting import until

Pair = tuple[Agent, Agent]


@pytest.fixture
def tuning() -> Tuning:
    """Two agents publish as usual, and notice a lost notice soon."""
    return Tuning(limits=LimitTimes(read=0.5))


async def two_agents(make_agent: MakeAgent, folder: Path) -> Pair:
    """Two agents that share; both have the token of the first."""
    one = await make_agent()
    other = await make_agent(data_dir=folder / "other", master_key_file=one.config.data_dir / "master.key")
    other.token = one.token
    await until(lambda: one.server.rate_limiter.meters.sharing and other.server.rate_limiter.meters.sharing)
    return one, other


async def limit(agents: Pair, **limits: int) -> None:
    """Sets limits of alice; both agents have them when this returns."""
    one, _ = agents
    columns = ", ".join(f"{name} = %s" for name in limits)
    await one.store.fetch(f"UPDATE users SET {columns} WHERE name = 'alice'", [*limits.values()])
    for agent in agents:
        await agent.follow()


async def status(agent: Agent, name: str) -> int:
    """What `GET /me` shows of alice's limits."""
    limits = agent.server.rate_limiter.status(agent.server.directory.identify(agent.token))["user"]
    value = limits[name]
    assert isinstance(value, int)
    return value


async def test_two_agents_keep_to_one_limit(make_agent: MakeAgent, upstream: Upstream, tmp_path: Path) -> None:
    """Requests, tokens and requests in progress at one agent count at the other."""
    one, other = agents = await two_agents(make_agent, tmp_path)
    await limit(agents, rpm=10, tpm=100_000, concurrency=2)
    may_answer = upstream.hold()
    running = [await one.begin(max_completion_tokens=40_000) for _ in range(2)]
    await until(lambda: status(other, "requests_in_progress"), lambda value: value == 2)
    assert await status(other, "tokens_left") < 60_000
    refusal = await other.chat()
    assert (refusal.status, "2 requests at once" in refusal.error["message"]) == (429, True)
    may_answer.set()
    for connection in running:
        await connection.answer()
        await connection.close()
    await until(lambda: status(other, "requests_in_progress"), lambda value: value == 0)
    assert [(await one.chat()).status for _ in range(4)] == [200] * 4
    await until(lambda: status(other, "requests_left"), lambda value: value < 10 - 4)
    statuses = [(await other.chat()).status for _ in range(8)]
    assert (statuses[:4], statuses[-1]) == ([200] * 4, 429)
    await asyncio.gather(one.rows(), other.rows())


async def test_a_restarted_agent_knows_what_is_used(make_agent: MakeAgent, tmp_path: Path) -> None:
    """All requests went to the agent that is restarted: its figures are in PostgreSQL."""
    one, other = agents = await two_agents(make_agent, tmp_path)
    await limit(agents, rpm=1)  # which lasts for a minute: starting an agent may take long
    assert [(await other.chat()).status for _ in range(2)] == [200, 429]
    await other.rows()
    await other.server.stop()
    again = await make_agent(data_dir=other.config.data_dir, master_key_file=other.config.master_key_file)
    again.token = one.token
    assert (await again.chat()).status == 429
    await until(lambda: status(one, "requests_left"), lambda value: value == 0)


async def test_the_only_agent_publishes_nothing(make_agent: MakeAgent) -> None:
    """Its requests leave no row for others."""
    agent = await make_agent()
    await limit((agent, agent), rpm=10)
    assert (await agent.chat()).status == 200
    assert not agent.server.rate_limiter.meters.sharing
    assert await agent.store.fetch("SELECT FROM limit_use") == []
