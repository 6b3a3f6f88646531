"""Who uses which models, compared with the requests that were sent."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from chatgpt_agent.adapters.postgres.agents import AgentReport, report_agent
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.core.ids import uuid7
from chatgpt_agent.core.ledger import Intent, Row, State
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.usage import Usage
from tests.support.agent import MODEL, Agent

pytestmark = pytest.mark.shared_agent

TUNED = "ft:gpt-6-luna:acme::7p4lURel"
INPUT_RATE = Decimal("0.15")  # of MODEL, USD per 1,000,000 tokens
Add = Callable[..., Awaitable[None]]


@pytest.fixture
def add(agent: Agent) -> Add:
    """Adds a request of a million input tokens: for which model, of which user and token, and how many days ago."""

    async def add_row(model: str = MODEL, user: int = 1, token: int = 1, ago: int = 0) -> None:
        await agent.store.fetch("UPDATE prices SET effective_at = '2026-01-01Z' WHERE effective_at > '2026-01-01Z'")
        when = datetime.now(UTC) - timedelta(days=ago)
        intent = Intent(
            request_id=uuid7(int(when.timestamp() * 1000), bytes(9) + bytes([len(rows)])),
            user_id=user,
            token_id=token,
            endpoint="/v1/chat/completions",
            model=model,
            price_id=1,
            streamed=False,
            started_at=when,
        )
        usage = Usage(input=1_000_000, output=0)
        row = Row(intent=intent, state=State.DONE, price_id=1, cost=INPUT_RATE, usage=usage, served_model=MODEL)
        rows.append(row)
        await ensure_partition(agent.store, when)
        await ship(agent.store, [row])

    rows: list[Row] = []
    return add_row


async def test_use_of_a_model_is_that_of_30_days(agent: Agent, add: Add) -> None:
    """Older days do not count."""
    await add(ago=28)
    await add(ago=5)
    await add(ago=31)
    use = (await agent.administration.model_use.used())[MODEL]
    assert (use.requests, use.cost) == (2, 2 * INPUT_RATE)


async def test_users_of_a_model_are_counted_once(agent: Agent, add: Add) -> None:
    """Those with the highest cost come first, and only so many by name."""
    await agent.add_user("bob")
    [(bob,)] = await agent.store.fetch("SELECT id FROM users WHERE name = 'bob'")
    await add(token=1)
    await add(token=2, ago=1)
    for _ in range(3):
        await add(user=bob, token=3)
    users = (await agent.administration.model_use.users([MODEL], limit=1))[MODEL]
    assert (users.users, users.tokens, users.requests, users.cost) == (2, 3, 5, 5 * INPUT_RATE)
    assert [(user.user, user.tokens) for user in users.top] == [("bob", 1)]


async def test_price_of_a_base_stops_its_fine_tuned_models(agent: Agent, add: Add) -> None:
    """A user of several of them is one user."""
    await agent.administration.prices.set("ft:gpt-6-luna", Rates(input=Decimal(1), output=Decimal(1)))
    await add(TUNED)
    await add("ft:gpt-6-luna:other::x", ago=2)
    await add(TUNED, ago=8)
    reader = agent.administration.model_use
    stopped = await reader.stopped_by("ft:gpt-6-luna")
    assert stopped is not None
    assert (stopped.users, stopped.tokens, stopped.requests) == (1, 1, 2)
    assert await reader.stopped_by(MODEL) is None


async def test_models_without_a_price_are_listed_by_demand(agent: Agent, add: Add) -> None:
    """Models with the price of their base, and the sum of other names, are left out."""
    await agent.administration.prices.set("ft:gpt-6-luna", Rates(input=Decimal(1), output=Decimal(1)))
    await add(TUNED)
    await add("gpt-old")
    report = AgentReport(backlog=0, oldest_age=None, lost_rows=0, unpriced_models={"gpt-9": 3, "other": 9})
    await report_agent(agent.store, uuid7(1, bytes(10)), report)
    reader = agent.administration.model_use
    models = [(each.model, each.refused) for each in await reader.unpriced(await reader.used())]
    await agent.store.fetch("DELETE FROM agents WHERE unpriced_models ? 'gpt-9'")
    assert models == [("gpt-9", 3), ("gpt-old", 0)]
