"""Budgets over time: budgets that are removed and set again, clocks that go back, notices and answers that are lost."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.agents import count_agents
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.core.access.identity import Identity
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.errors import InsufficientQuota, StoreUnavailable
from chatgpt_agent.core.ledger import Row, State
from chatgpt_agent.runtime.budget_store import PostgresBudgetStore
from chatgpt_agent.runtime.budget_sync import BudgetSync, SyncTimes
from chatgpt_agent.runtime.budgets import Budgets
from chatgpt_agent.runtime.ledger import Ledger
from chatgpt_agent.runtime.tuning import Tuning
from tests.conftest import MakeAgent
from tests.support.budget_world import ALICE, START, TOKENS, Agent, World, budget
from tests.support.database import query
from tests.support.factories import make_intent
from tests.support.observers import IgnoreRows, ignore
from tests.support.waiting import SECONDS

IDENTITY = Identity(ALICE, TOKENS[0])
OTHER_AGENT = "11111111-1111-4111-8111-111111111111"


async def one_agent(period: Period) -> tuple[World, Agent]:
    """One agent with a budget of 1 USD."""
    world = World(1, [budget(1, period, "1")], random.Random(1))
    await world.start()
    return world, world.agents[0]


@pytest.mark.parametrize("backlog", [False, True])
async def test_a_budget_that_was_removed_and_set_again_counts_running_requests(backlog: bool) -> None:
    """A request that runs meanwhile has its reservation in the new budget, and in the end its cost."""
    world, agent = await one_agent(Period.TOTAL)
    budgets = agent.budgets
    if backlog:  # a row of the last run
        budgets.set_budgets([], lambda token: 1, "UTC")
        old = Row(
            intent=make_intent(9, user_id=1, token_id=11, started_at=world.now),
            state=State.DONE,
            price_id=1,
            cost=Decimal("0.1"),
        )
        agent.outbox.append(old)
        budgets.add_unshipped([old])
        budgets.set_budgets(world.budget_list, lambda token: 1, "UTC")
    intent = make_intent(user_id=1, token_id=11, started_at=world.now)
    reservation = budgets.reserve(IDENTITY, intent.request_id, Decimal("0.7"), world.now)
    assert reservation is not None
    budgets.set_budgets([], lambda token: 1, "UTC")
    budgets.set_budgets(world.budget_list, lambda token: 1, "UTC")
    with pytest.raises(InsufficientQuota):
        budgets.reserve(IDENTITY, UUID(int=7), Decimal("0.7"), world.now)
    row = Row(intent=intent, state=State.DONE, price_id=1, cost=Decimal("0.2"))
    reservation.settle(row)
    agent.outbox.append(row)
    await world.ship(agent, sure=True)
    await world.read(agent)
    [status] = budgets.status(IDENTITY)
    assert (status.spent, status.reserved) == (Decimal("0.3" if backlog else "0.2"), Decimal(0))


async def test_an_account_without_budgets_and_requests_is_removed() -> None:
    """Accounts of users whose budgets were removed take no memory."""
    _, agent = await one_agent(Period.TOTAL)
    agent.budgets.set_budgets([], lambda token: 1, "UTC")
    assert agent.budgets.by_user == {}


async def test_a_clock_that_goes_back_past_midnight_opens_no_budget() -> None:
    """Requests count for a day even if the clock was an hour fast when they began."""
    world, agent = await one_agent(Period.DAY)
    world.now += timedelta(hours=3)
    assert agent.budgets.reserve(IDENTITY, UUID(int=1), Decimal("0.1"), world.now) is not None
    world.now -= timedelta(hours=1)
    for number in range(4):
        agent.budgets.reserve(IDENTITY, UUID(int=10 + number), Decimal("0.2"), world.now)
    with pytest.raises(InsufficientQuota):
        agent.budgets.reserve(IDENTITY, UUID(int=20), Decimal("0.2"), world.now)


async def test_other_agents_are_noticed_under_load(make_agent: MakeAgent) -> None:
    """All budgets are read again in time even if single users are read all the time."""
    agent = await make_agent(tuning=Tuning(budgets=SyncTimes(refresh=0.3)))
    budgets = agent.server.budgets
    await agent.until(lambda: budgets.loaded and not budgets.reload_all)
    sql = "INSERT INTO agents (id, seen_at, backlog) VALUES (%s, now(), 0)"
    await agent.store.fetch(sql + " RETURNING id", [OTHER_AGENT])

    async def load() -> None:
        while True:
            budgets.read_due.set()
            await asyncio.sleep(0.01)

    busy = asyncio.create_task(load(), name="load")
    try:
        await agent.until(lambda: budgets.agents == 2)
    finally:
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)


async def test_an_agent_that_has_stopped_does_not_count(make_agent: MakeAgent, tmp_path: Path, dsn: str) -> None:
    """Its share of budgets is free at once, not when it has not reported for 150 seconds."""
    agent = await make_agent()
    other = Ledger(Outbox(tmp_path / "other"), Store(dsn), observer=IgnoreRows())
    await other.open_outbox()
    await other.start_shipping()
    await other.report()
    await agent.server.budget_sync.refresh_all()
    assert agent.server.budgets.agents == 2
    await other.close()
    await agent.until(lambda: agent.server.budgets.agents == 1)


@pytest.mark.parametrize("minutes", [-200, 200])
async def test_an_agent_whose_clock_differs_counts(tmp_path: Path, dsn: str, minutes: int) -> None:
    """Whether an agent is alive depends on PostgreSQL's clock alone."""
    ledger = Ledger(
        Outbox(tmp_path), Store(dsn), observer=IgnoreRows(), now=lambda: datetime.now(UTC) + timedelta(minutes=minutes)
    )
    await ledger.open_outbox()
    await ledger.report()
    async with Store(dsn) as store:
        assert await count_agents(store) == 1
    await ledger.close()


async def test_a_row_counts_once_while_the_answer_to_its_shipper_is_late(dsn: str) -> None:
    """PostgreSQL has the row, and the shipper does not know it yet: 48 percent are not 96."""
    crossed: list[int] = []
    budgets = Budgets(on_threshold=lambda event: crossed.append(event.percent), now=lambda: START)
    sync = BudgetSync(budgets, PostgresBudgetStore(Store(dsn), Store(dsn)))
    budgets.set_budgets([budget(1, Period.TOTAL, "1")], lambda token: 1, "UTC")
    await sync.load(UUID(OTHER_AGENT))
    intent = make_intent(user_id=1, token_id=11, started_at=START)
    reservation = budgets.reserve(IDENTITY, intent.request_id, Decimal("0.48"), START)
    assert reservation is not None
    row = Row(intent=intent, state=State.DONE, price_id=1, cost=Decimal("0.48"))
    reservation.settle(row)
    budgets.shipping([row])
    async with Store(dsn) as store:
        await ensure_partition(store, START)
        await ship(store, [row])
    for _ in range(2):
        await sync.refresh({1})
        [status] = budgets.status(IDENTITY)
        assert (status.spent, status.reserved) == (Decimal("0.48"), Decimal(0))
        assert crossed == []
        budgets.shipped([row])
    await sync.close()


class Failing(PostgresBudgetStore):
    """A store whose first deletion fails."""

    failures = 1

    async def clear_reservations(self, agent: UUID) -> None:
        """Deletes the reservations, except at the first call."""
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("gone")
        await super().clear_reservations(agent)


async def test_reservations_of_the_last_run_are_deleted_once_postgresql_is_back(dsn: str) -> None:
    """If PostgreSQL was away at the start, they are deleted later: other agents would count them for ever."""
    query(dsn, f"INSERT INTO reservations VALUES ('{OTHER_AGENT}', 1, 1, 5)")
    sync = BudgetSync(Budgets(on_threshold=ignore), Failing(Store(dsn), Store(dsn)))
    await sync.start(UUID(OTHER_AGENT))
    try:
        async with asyncio.timeout(SECONDS):
            while query(dsn, "SELECT 1 FROM reservations"):
                await asyncio.sleep(0.02)
    finally:
        await sync.close()
