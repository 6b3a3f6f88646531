"""Budgets hold on every endpoint: a reservation is never less than the cost, and none is left over."""

import contextlib
from decimal import Decimal

import openai
import pytest

from chatgpt_agent.adapters.postgres.checks import run_checks
from chatgpt_agent.core.http.endpoints import CHAT, METERED
from chatgpt_agent.core.money.pricing import Tier
from tests.support.agent import Agent
from tests.support.budgets import set_budget, states_of, until_shipped
from tests.support.sdk import MODEL, RATES, TIERS, call, sdk
from tests.support.upstream import Received, Reply, Upstream

CASES = [
    (endpoint.path, stream)
    for endpoint in METERED
    if endpoint is not CHAT
    for stream in (False, *([True] if endpoint.can_stream else []))
]
PROMPTS = ["", "status=500", "chunks=5"]

pytestmark = pytest.mark.shared_agent


@pytest.mark.parametrize(("path", "stream"), CASES)
async def test_cost_is_at_most_what_was_reserved(agent: Agent, upstream: Upstream, path: str, stream: bool) -> None:
    """No request costs more than was reserved for it, all of it is settled, and the checks of the ledger pass."""
    tiers = [Tier(service_tier="flex", multiplier=Decimal("0.5")), Tier(above=900, input=Decimal(3), output=Decimal(5))]
    long_decisions = Tier(service_tier="decisions", above=900, multiplier=Decimal(1))
    await agent.set_price(MODEL, "0.37", "1.41", tiers=[*tiers, *TIERS, long_decisions], **RATES)
    await set_budget(agent, Decimal(50))
    reserved: list[Decimal] = []

    async def script(request: Received, reply: Reply) -> None:
        [status] = agent.server.budgets.status(agent.server.directory.identify(agent.token))
        reserved.append(status.reserved)
        await upstream.openai(request, reply)

    upstream.script = script
    async with sdk(agent) as client:
        for prompt in PROMPTS:
            with contextlib.suppress(openai.APIStatusError):
                answer = await call(client, path, prompt + " x" * 600, **({"stream": True} if stream else {}))
                if stream:
                    assert [event async for event in answer]
    rows = await agent.rows(len(PROMPTS))
    assert [row["state"] for row in rows] == ["done", "upstream_error", "done"]
    await until_shipped(agent)
    [state] = states_of(agent)
    assert (state.shipped, state.pending) == (sum(row["cost"] for row in rows), 0)
    assert max(row["cost"] for row in rows) <= min(reserved)
    assert await run_checks(agent.store, 10) == []
