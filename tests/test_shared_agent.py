"""Tests that share an agent do not see one another."""

from decimal import Decimal

import pytest

from chatgpt_agent.core.budget.period import Period
from tests.conftest import MakeAgent
from tests.support.agent import MODEL, Agent
from tests.support.client import fetch
from tests.support.database import query
from tests.support.upstream import Received, Reply, Upstream

pytestmark = pytest.mark.shared_agent

_agents: set[Agent] = set()


@pytest.mark.parametrize("_", range(2))
async def test_each_test_finds_the_first_content(agent: Agent, upstream: Upstream, dsn: str, _: int) -> None:
    """The second run finds neither users, prices, budgets nor usage of the first one, and gets equal ids."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.whole(b"{}", 500)

    _agents.add(agent)
    assert query(dsn, "SELECT id, name, disabled_at FROM users") == [(1, "alice", None)]
    assert await agent.rows(0) == []
    assert (await agent.chat()).status == 200
    assert (agent.server.budgets.loaded, len(upstream.requests)) == (True, 1)
    token = await agent.add_user("bob")
    await agent.set_price(MODEL, "1000", "1000")
    await agent.administration.budgets.set(user="alice", period=Period.DAY, amount=Decimal("0.5"))
    await agent.admin_token("eve")
    query(dsn, "UPDATE users SET disabled_at = now() WHERE name = 'alice'")
    agent.token = token
    upstream.script = script
    assert (await agent.chat()).status == 500
    assert query(dsn, "SELECT id FROM users UNION ALL SELECT id + 10 FROM admins ORDER BY 1") == [(1,), (2,), (11,)]


async def test_the_tests_above_had_one_agent(agent: Agent) -> None:
    """The agent is the same for all tests with the same settings, or a parallel worker runs only some of them."""
    assert _agents in ({agent}, set())


@pytest.mark.shared_agent(max_body_size=1000)
async def test_other_settings_are_another_agent(agent: Agent, upstream: Upstream) -> None:
    """A marker with settings gives an agent that has them."""
    assert (agent in _agents, agent.config.max_body_size) == (False, 1000)
    assert (await agent.chat("x" * 1000)).status == 413


@pytest.mark.own_agent
async def test_a_test_can_have_an_agent_of_its_own(agent: Agent) -> None:
    """A test with the marker `own_agent` may leave its agent in any state."""
    assert agent not in _agents
    agent.server.lifecycle.draining = True
    assert (await agent.chat()).status == 503


async def test_make_agent_gives_an_agent_of_its_own(make_agent: MakeAgent, agent: Agent) -> None:
    """A test that takes `make_agent` shares nothing."""
    assert agent not in _agents


@pytest.mark.parametrize("_", range(3))
async def test_wrong_tokens_do_not_add_up(agent: Agent, source_address: str, _: int) -> None:
    """Each test may send ten wrong tokens from an address of its own."""
    for _ in range(5):
        wrong = {"Authorization": "Bearer cga_wrong"}
        assert (await fetch(agent.url + "/v1/models", headers=wrong, source=source_address)).status == 401
