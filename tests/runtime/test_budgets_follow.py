"""Budgets over time: budgets that come and go, clocks that go back, notices that do not come."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.spending import clear_reservations as real_clear_reservations
from chatgpt_agent.adapters.postgres.usage import ship
from chatgpt_agent.core.access.admission import Identity
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.errors import InsufficientQuota, StoreUnavailable
from chatgpt_agent.core.ledger import Row, State
from chatgpt_agent.runtime import budgets as module
from chatgpt_agent.runtime import ledger
from chatgpt_agent.runtime.budgets import Budgets
from tests.conftest import MakeAgent
from tests.runtime.test_budgets import ALICE, TOKENS, Agent, World, budget
from tests.support.agent import MODEL
from tests.support.factories import make_intent
from tests.support.observers import ignore
from tests.support.upstream import Received, Reply, Upstream, completion
from tests.web.test_budgets import ask, set_budget

IDENTITY = Identity(ALICE, TOKENS[0])
OTHER_AGENT = "11111111-1111-4111-8111-111111111111"


async def one_agent(monkeypatch: pytest.MonkeyPatch, period: Period) -> tuple[World, Agent]:
    """An agent with a budget of 1 USD."""
    world = World(1, [budget(1, period, "1")], random.Random(1))
    world.server.patch(monkeypatch)
    await world.start()
    return world, world.agents[0]


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_budget_that_was_away_knows_what_runs(monkeypatch: pytest.MonkeyPatch, waiting: bool) -> None:
    """Taken away and set again while a call is under way, it holds what is set aside for it; in the end, its cost."""
    world, agent = await one_agent(monkeypatch, Period.TOTAL)
    budgets = agent.budgets
    if waiting:  # a row of the last run
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
    await world.look(agent)
    [status] = budgets.status(IDENTITY)
    assert (status.spent, status.reserved) == (Decimal("0.3" if waiting else "0.2"), 0)


async def test_accounts_without_budgets_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose calls have ended is forgotten."""
    _, agent = await one_agent(monkeypatch, Period.TOTAL)
    agent.budgets.set_budgets([], lambda token: 1, "UTC")
    assert agent.budgets._accounts == {}


async def test_a_clock_that_goes_back_past_midnight_opens_no_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was an hour fast: what is called before the second midnight counts, too."""
    world, agent = await one_agent(monkeypatch, Period.DAY)
    world.now += timedelta(hours=3)
    assert agent.budgets.reserve(IDENTITY, UUID(int=1), Decimal("0.1"), world.now) is not None
    world.now -= timedelta(hours=1)
    for number in range(4):
        agent.budgets.reserve(IDENTITY, UUID(int=10 + number), Decimal("0.2"), world.now)
    with pytest.raises(InsufficientQuota):
        agent.budgets.reserve(IDENTITY, UUID(int=20), Decimal("0.2"), world.now)


async def test_everything_is_looked_at_also_under_load(make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is always a row of somebody's; that another agent is there is seen all the same."""
    monkeypatch.setattr(module, "WHOLE_SECONDS", 0.3)
    agent = await make_agent()
    budgets = agent.server.budgets
    await agent.until(lambda: not budgets._begin_anew)
    sql = "INSERT INTO agents (id, seen_at, backlog) VALUES (%s, now(), 0)"
    await agent.store.fetch(sql + " RETURNING id", [OTHER_AGENT])

    async def load() -> None:
        while True:
            budgets._look_again.set()
            await asyncio.sleep(0.01)

    busy = asyncio.create_task(load())
    try:
        await agent.until(lambda: budgets._agents == 2)
    finally:
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)


async def test_a_row_counts_once_while_nobody_knows_whether_it_has_come(
    make_agent: MakeAgent, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL has it and has told so to all, and the answer to its shipper is late: 48 percent are not 96."""
    marks: list[int] = []
    agent = await make_agent()
    budgets = agent.server.budgets
    monkeypatch.setattr(budgets, "_on_threshold", lambda _, __, percent, ___: marks.append(percent))
    held = asyncio.Event()

    async def late(store: Store, rows: Sequence[Row]) -> int:
        new = await ship(store, rows)
        await held.wait()
        return new

    async def answer(request: Received, reply: Reply) -> None:
        await reply.whole(completion(48_000, 0, 0, 0))

    monkeypatch.setattr(ledger, "ship", late)
    await agent.set_price(MODEL, "1", "1")
    await set_budget(agent, Decimal("0.1"))
    upstream.script = answer
    assert (await ask(agent)).status == 200
    await agent.until(lambda: [state.shipped for state in budgets._accounts[1].states] == [Decimal("0.048")])
    await budgets._read_all()
    [status] = budgets.status(agent.server.directory.identify(agent.token))
    assert (status.spent, marks) == (Decimal("0.048"), [])
    held.set()
    await agent.until(lambda: agent.server.ledger.backlog == 0)
    assert budgets.status(agent.server.directory.identify(agent.token)) == [status]


async def test_what_the_last_run_set_aside_is_forgotten_when_postgresql_is_back(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was away at the very moment: other agents would count it for as long as nobody calls."""
    agent = await make_agent()
    budgets = Budgets(
        Store(agent.config.database_url or ""), Store(agent.config.database_url or ""), on_threshold=ignore
    )
    await agent.store.fetch(f"INSERT INTO reservations VALUES ('{OTHER_AGENT}', 1, 1, 5) RETURNING 1")
    failures = iter([StoreUnavailable("gone")])

    async def clear_reservations(store: Store, agent: UUID) -> None:
        for failure in failures:
            raise failure
        await real_clear_reservations(store, agent)

    monkeypatch.setattr(module, "clear_reservations", clear_reservations)
    await budgets.start(UUID(OTHER_AGENT))
    try:
        async with asyncio.timeout(5):
            while await agent.store.fetch("SELECT 1 FROM reservations"):
                await asyncio.sleep(0.02)
    finally:
        await budgets.close()
