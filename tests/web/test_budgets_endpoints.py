"""A budget holds on every endpoint: what is set aside is no less than what a call costs, and nothing of it stays."""

import contextlib
from decimal import Decimal
from typing import Any

import openai
import pytest

from chatgpt_agent.adapters.postgres.checks import run_checks
from chatgpt_agent.core.http.endpoints import CHAT, ENDPOINTS
from chatgpt_agent.core.money.pricing import Tier
from tests.support.agent import Agent
from tests.support.sdk import MODEL, RATES, call, sdk
from tests.support.upstream import Upstream
from tests.web.test_budgets import budgets, set_budget

WAYS = [
    (endpoint.path, stream)
    for endpoint in ENDPOINTS
    if endpoint is not CHAT
    for stream in (False, *([True] if endpoint.can_stream else []))
]
ENDS = ["", "status=500", "chunks=5"]


@pytest.mark.parametrize(("path", "stream"), WAYS)
async def test_what_a_call_costs_was_set_aside(
    agent: Agent, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, path: str, stream: bool
) -> None:
    """Whole and streamed, well and badly ended; and the proof of the ledger finds no fault."""
    tiers = [Tier(service_tier="flex", multiplier=Decimal("0.5")), Tier(above=900, input=Decimal(3), output=Decimal(5))]
    await agent.set_price(MODEL, "0.37", "1.41", tiers=tiers, **RATES)
    await set_budget(agent, Decimal(50))
    asked: list[Decimal] = []
    reserve = budgets(agent).reserve

    def noted(*given: Any) -> Any:
        asked.append(given[2])
        return reserve(*given)

    monkeypatch.setattr(budgets(agent), "reserve", noted)
    async with sdk(agent) as client:
        for words in ENDS:
            with contextlib.suppress(openai.APIStatusError):
                answer = await call(client, path, words + " x" * 600, **({"stream": True} if stream else {}))
                if stream:
                    assert [event async for event in answer]
    rows = await agent.rows(len(ENDS))
    assert [row["state"] for row in rows] == ["done", "upstream_error", "done"]
    await agent.until(lambda: not any(account.pending for account in budgets(agent).by_user.values()))
    [state] = [state for account in budgets(agent).by_user.values() for state in account.states]
    assert (state.shipped, state.pending) == (sum(row["cost"] for row in rows), 0)
    assert max(row["cost"] for row in rows) <= min(asked)
    assert await run_checks(agent.store, 10) == []
