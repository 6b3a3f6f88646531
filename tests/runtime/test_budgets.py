"""Budgets compared with plain sums, for random sequences of events at one agent and at several."""

import random
from datetime import UTC, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest

from chatgpt_agent.core.access.identity import Identity
from chatgpt_agent.core.budget.period import Period, midnight
from chatgpt_agent.core.errors import InsufficientQuota
from chatgpt_agent.core.ledger import Row, State
from tests.support.budget_world import ALICE, START, TOKENS, World, budget
from tests.support.factories import make_intent

ALL = [budget(1, Period.TOTAL, "30"), budget(2, Period.DAY, "10"), budget(3, Period.DAY, "6", 11)]


@pytest.mark.parametrize("seed", range(60))
async def test_one_agent_never_exceeds_a_budget(seed: int) -> None:
    """Spending stays within each budget on each day, in whatever order the agent reads, ships and ends requests."""
    world = World(1, ALL, random.Random(seed))
    await world.start()
    for _ in range(400):
        await world.step()
        for each in ALL:
            since = START - timedelta(days=9) if each.period is Period.TOTAL else midnight(world.now.date(), UTC)
            assert each.amount is not None
            assert world.spent(each, since) <= each.amount
    assert len(world.admitted) > 10


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("agents", [2, 3, 5])
async def test_several_agents_exceed_a_budget_by_a_bounded_amount(agents: int, seed: int) -> None:
    """However seldom they read and publish, each other agent adds at most its share, or one request."""
    shared = budget(1, Period.TOTAL, "30")
    world = World(agents, [shared], random.Random(seed))
    await world.start()
    for _ in range(400):
        await world.step()
        assert shared.amount is not None
        excess = (agents - 1) * max(shared.amount / agents, world.largest)
        assert world.spent(shared, START - timedelta(days=9)) <= shared.amount + excess
    assert len(world.admitted) > 10


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_stays_reserved_once_all_rows_are_read(seed: int) -> None:
    """When all requests have ended and all rows are shipped, each budget knows exactly their sum."""
    world = World(2, ALL, random.Random(seed))
    await world.start()
    for _ in range(200):
        await world.step()
    for agent in world.agents:
        while agent.running:
            await world.end(agent)
        await world.ship(agent, sure=True)
        await world.read(agent)
        await world.publish(agent)
    for agent in world.agents:
        await world.read(agent)
        assert agent.budgets.by_user[1].pending == {}
        for state in agent.states:
            since = state.window.begins_at or START - timedelta(days=9)
            assert [state.pending, state.reserved_elsewhere, state.pending_ended] == [0, 0, 0]
            assert state.shipped == world.spent(state.budget, since)


async def test_reservations_of_other_agents_count() -> None:
    """With 4 of 10 USD reserved by one of two agents, the other one may reserve half of 6."""
    world = World(2, [budget(1, Period.TOTAL, "10")], random.Random(1))
    one, other = world.agents
    await world.start()
    identity = Identity(ALICE, TOKENS[0])
    assert one.budgets.reserve(identity, UUID(int=1), Decimal(4), world.now) is not None
    await world.publish(one)
    await world.read(other)
    for number in range(3):
        assert other.budgets.reserve(identity, UUID(int=10 + number), Decimal(1), world.now) is not None
    with pytest.raises(InsufficientQuota):
        other.budgets.reserve(identity, UUID(int=20), Decimal(1), world.now)
    [status] = other.budgets.status(identity)
    assert [status.reserved, status.left] == [7, 3]


async def test_a_request_counts_for_the_day_on_which_it_began() -> None:
    """A request that ends after midnight takes nothing from the budget of the new day."""
    world = World(1, [budget(1, Period.DAY, "1")], random.Random(1))
    [agent] = world.agents
    await world.start()
    intent = make_intent(user_id=1, token_id=11, started_at=world.now, max_cost=Decimal(1))
    identity = Identity(ALICE, TOKENS[0])
    reservation = agent.budgets.reserve(identity, intent.request_id, Decimal(1), world.now)
    assert reservation is not None
    world.now += timedelta(days=1)
    other = agent.budgets.reserve(identity, UUID(int=7), Decimal(1), world.now)
    assert other is not None
    reservation.settle(Row(intent=intent, state=State.DONE, price_id=1, cost=Decimal(1)))
    [status] = agent.budgets.status(identity)
    assert [status.spent, status.reserved] == [0, 1]


async def test_a_threshold_is_crossed_once_in_each_window() -> None:
    """It is crossed again after midnight, and after the budget's amount has changed."""
    world = World(1, [budget(1, Period.DAY, "1")], random.Random(1))
    [agent] = world.agents
    await world.start()

    async def spend(amount: str) -> None:
        intent = make_intent(user_id=1, token_id=11, started_at=world.now, max_cost=Decimal(amount))
        intent = msgspec.structs.replace(intent, request_id=UUID(int=len(world.store.rows)))
        reservation = agent.budgets.reserve(Identity(ALICE, TOKENS[0]), intent.request_id, Decimal(amount), world.now)
        row = Row(intent=intent, state=State.DONE, price_id=1, cost=Decimal(amount))
        assert reservation is not None
        reservation.settle(row)
        agent.outbox.append(row)
        await world.ship(agent, sure=True)
        await world.read(agent)

    for amount in ("0.5", "0.3", "0.1", "0.1"):
        await spend(amount)
    assert [percent for percent, _ in agent.crossed] == [80, 100]
    world.now += timedelta(days=1)
    await spend("0.9")
    assert [percent for percent, _ in agent.crossed] == [80, 100, 80]
    agent.budgets.set_budgets([budget(1, Period.DAY, "1.1")], lambda token: 1, "UTC")
    await world.read(agent)
    assert [percent for percent, _ in agent.crossed] == [80, 100, 80, 80]
    assert len({window for _, window in agent.crossed}) == 2
