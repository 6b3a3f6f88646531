"""Budgets of a running agent, and requests whose maximum cost is known."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.admin.budgets import BudgetRow
from chatgpt_agent.core.budget.budget_state import BudgetState
from chatgpt_agent.core.budget.max_cost import Assumptions, Size, max_cost
from chatgpt_agent.core.budget.period import Period
from tests.support.agent import MODEL, Agent
from tests.support.client import Answer

OUTPUT_LIMIT = 100  # tokens, of each request


async def chat(agent: Agent, content: str = "hello", **more: Any) -> Answer:
    """Sends a chat request with an output limit."""
    return await agent.chat(content, max_completion_tokens=OUTPUT_LIMIT, **more)


def max_cost_of(agent: Agent, body: bytes | None = None) -> Decimal:
    """Returns the maximum cost in USD of a body, or of that of `chat`."""
    price = agent.server.directory.book.at(MODEL, datetime.now(UTC))
    assert price is not None
    size = len(agent.body(max_completion_tokens=OUTPUT_LIMIT) if body is None else body)
    return max_cost(
        price, Size(input_bytes=size, output_limit=OUTPUT_LIMIT), Assumptions(attachment_tokens=0, output_tokens=0)
    )


async def set_budget(agent: Agent, amount: Decimal, **options: Any) -> BudgetRow:
    """Sets a budget, by default alice's total one; the agent has it, and what is spent of it, when this returns."""
    owner = {} if "token_id" in options else {"user": "alice"}
    budget = await agent.administration.budgets.set(amount=amount, **{"period": Period.TOTAL, **owner, **options})
    budgets = agent.server.directory.budgets
    await agent.until(lambda: budget.id in budgets and budgets[budget.id].amount == amount)
    await agent.until(lambda: not agent.server.budgets.stale)
    return budget


def stop_clock(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops the agent's clock of rows and budgets until the end of the test, so that no day or month ends in it."""
    now = datetime.now(UTC)
    monkeypatch.setattr(agent.server.admissions, "now", lambda: now)
    monkeypatch.setattr(agent.server.budgets, "_now", lambda: now)


def states_of(agent: Agent) -> list[BudgetState]:
    """Returns all budgets as the agent knows them."""
    return [state for each in agent.server.budgets.by_user.values() for state in each.states]


async def until_shipped(agent: Agent) -> None:
    """Waits until the agent has seen in PostgreSQL all that was spent."""
    await agent.until(lambda: not any(each.pending for each in agent.server.budgets.by_user.values()))


async def spent(agent: Agent) -> Decimal:
    """Returns what the rows in PostgreSQL count in a budget."""
    return sum((row["cost"] + row["uncertain_cost"] for row in await agent.rows()), Decimal(0))
