"""Budgets against a plain sum: whatever happens in whatever order, of one agent and of several."""

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from chatgpt_agent.adapters.postgres.spending import ReservedAmount, Spending
from chatgpt_agent.core.access.admission import Identity, Token, User
from chatgpt_agent.core.budget.period import Budget, Period, Window, midnight
from chatgpt_agent.core.errors import InsufficientQuota
from chatgpt_agent.core.ledger import Row, State
from chatgpt_agent.runtime import budgets as module
from chatgpt_agent.runtime.budgets import Budgets, Reservation
from tests.support.factories import make_intent
from tests.support.observers import ignore

ALICE = User(1, "alice", b"", False)
TOKENS = [Token(11, 1, b"a", False), Token(12, 1, b"b", False)]
START = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)


class PostgreSQL:
    """What agents share: the rows that were shipped, and what each has said that it has set aside."""

    def __init__(self, agents: int) -> None:
        self.agents = agents
        self.rows: list[Row] = []
        self.reservations: dict[tuple[UUID, int], list[ReservedAmount]] = {}

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Puts it in the place of the statements."""
        for name in (
            "read_spending",
            "count_agents",
            "read_reservations",
            "publish_reservations",
            "clear_reservations",
        ):
            monkeypatch.setattr(module, name, getattr(self, name))

    async def read_spending(
        self,
        store: Any,
        users: Sequence[int],
        firsts: tuple[date, date, date],
        *,
        total: bool,
        rows: Sequence[tuple[UUID, datetime]],
    ) -> tuple[list[Spending], set[UUID]]:
        """By token."""
        found = []
        for token in TOKENS:
            own = [row for row in self.rows if row.intent.token_id == token.id]
            sums = [
                sum((row.budget_cost for row in own if row.intent.started_at >= midnight(first, UTC)), Decimal(0))
                for first in firsts
            ]
            day, week, month = sums
            ever = sum((row.budget_cost for row in own), Decimal(0))
            found.append(Spending(user_id=1, token_id=token.id, day=day, week=week, month=month, total=ever))
        return found, {row.intent.request_id for row in self.rows} & {id_ for id_, _ in rows}

    async def count_agents(self, store: Any, since: datetime) -> int:
        """All are there."""
        return self.agents

    async def read_reservations(
        self, store: Any, users: Sequence[int], *, except_agent: UUID, since: datetime
    ) -> list[ReservedAmount]:
        """Of the others."""
        return [line for (agent, _), lines in self.reservations.items() if agent != except_agent for line in lines]

    async def publish_reservations(
        self, store: Any, agent: UUID, users: Sequence[int], found: Sequence[ReservedAmount]
    ) -> None:
        """One user is all there is."""
        for user in users:
            self.reservations[agent, user] = list(found)

    async def clear_reservations(self, store: Any, agent: UUID) -> None:
        """Nothing is set aside yet."""


class Agent:
    """One agent's budgets, and the calls that it has under way."""

    def __init__(self, number: int, server: PostgreSQL, world: "World") -> None:
        self.id = UUID(int=number)
        self.server = server
        self.budgets = Budgets(None, None, on_threshold=ignore, now=lambda: world.now)  # type: ignore[arg-type]
        self.budgets._id = self.id
        self.running: list[tuple[Reservation, Row]] = []
        self.outbox: list[Row] = []


class World:
    """Some agents, one clock, and what was really spent."""

    def __init__(self, agents: int, found: list[Budget], draw: random.Random) -> None:
        self.now = START
        self.server = PostgreSQL(agents)
        self.draw = draw
        self.agents = [Agent(number + 1, self.server, self) for number in range(agents)]
        self.begun: list[Row] = []  # every call that was let through, with the most that it may cost
        self.ended: dict[UUID, Decimal] = {}
        self.largest = Decimal(0)
        self.budget_list = found
        # How often what happens: sometimes calls end late, sometimes nobody looks.
        self.weights = [draw.choice(each) for each in ([6, 20], [1, 4], [1, 3], [0, 1, 3], [0, 1, 3], [0, 1])]

    async def start(self) -> None:
        """All know their budgets, and have looked."""
        for agent in self.agents:
            agent.budgets.set_budgets(self.budget_list, lambda token: 1, "UTC")
            await agent.budgets._read_all()

    async def step(self) -> None:
        """Anything that can happen to any agent."""
        agent = self.draw.choice(self.agents)
        [action] = self.draw.choices([self.ask, self.end, self.ship, self.look, self.say, self.wait], self.weights)
        await action(agent)

    async def ask(self, agent: Agent) -> None:
        """A call, which is let through or not."""
        amount = Decimal(self.draw.randint(0, 300)) / 100
        token = self.draw.choice(TOKENS)
        intent = make_intent(len(self.begun), user_id=1, token_id=token.id, started_at=self.now, max_cost=amount)
        intent = msgspec.structs.replace(intent, request_id=UUID(int=len(self.begun)))
        try:
            reservation = agent.budgets.reserve(Identity(ALICE, token), intent.request_id, amount, self.now)
        except InsufficientQuota:
            return
        assert reservation is not None
        row = Row(intent=intent, state=State.DONE, price_id=1, cost=amount)
        self.begun.append(row)
        self.largest = max(self.largest, amount)
        agent.running.append((reservation, row))

    async def end(self, agent: Agent) -> None:
        """A call ends: with a cost, without one, or with a row that cannot be written yet."""
        if not agent.running:
            return
        reservation, row = agent.running.pop(self.draw.randrange(len(agent.running)))
        id_ = row.intent.request_id
        kind = self.draw.random()
        if kind < 0.1:
            reservation.release()
            self.ended[id_] = Decimal(0)
            return
        cost = row.cost * self.draw.randint(0, 100) / 100
        written = msgspec.structs.replace(row, cost=cost)
        self.ended[id_] = cost
        agent.outbox.append(written)
        reservation.settle(None if kind < 0.2 else written)

    async def ship(self, agent: Agent, *, sure: bool = False) -> None:
        """Rows go to PostgreSQL; now and then its answer is lost, and they go again later."""
        rows = agent.outbox
        agent.budgets.shipping(rows)
        self.server.rows += [row for row in rows if row not in self.server.rows]
        if sure or self.draw.random() < 0.7:
            agent.outbox = []
            agent.budgets.shipped(rows)

    async def look(self, agent: Agent) -> None:
        """It reads what was spent."""
        await agent.budgets._read({1})

    async def say(self, agent: Agent) -> None:
        """It tells the others."""
        await agent.budgets._publish({1})

    async def wait(self, agent: Agent) -> None:
        """Time passes, also past midnight."""
        self.now += timedelta(minutes=self.draw.randint(0, 60))

    def spent(self, budget: Budget, since: datetime) -> Decimal:
        """What the calls of a budget have cost or may still cost, since a moment."""
        return sum(
            (
                self.ended.get(row.intent.request_id, row.cost)
                for row in self.begun
                if row.intent.started_at >= since and budget.token_id in (None, row.intent.token_id)
            ),
            Decimal(0),
        )


def budget(id: int, period: Period, amount: str, token_id: int | None = None) -> Budget:
    """One of alice, or of one of her tokens."""
    return Budget(
        id=id, user_id=1 if token_id is None else None, token_id=token_id, period=period, amount=Decimal(amount)
    )


ALL = [budget(1, Period.TOTAL, "30"), budget(2, Period.DAY, "10"), budget(3, Period.DAY, "6", 11)]


@pytest.mark.parametrize("seed", range(60))
async def test_one_agent_never_overdraws(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """By nothing, on no day, in whatever order it reads, ships and ends calls."""
    world = World(1, ALL, random.Random(seed))
    world.server.patch(monkeypatch)
    await world.start()
    for _ in range(400):
        await world.step()
        for found in ALL:
            since = START - timedelta(days=9) if found.period is Period.TOTAL else midnight(world.now.date(), UTC)
            assert found.amount is not None
            assert world.spent(found, since) <= found.amount
    assert len(world.begun) > 10


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("agents", [2, 3, 5])
async def test_several_overdraw_by_no_more_than_is_said(
    monkeypatch: pytest.MonkeyPatch, agents: int, seed: int
) -> None:
    """However seldom they look and tell: for each other agent its share, or one call."""
    found = budget(1, Period.TOTAL, "30")
    world = World(agents, [found], random.Random(seed))
    world.server.patch(monkeypatch)
    await world.start()
    for _ in range(400):
        await world.step()
        assert found.amount is not None
        more = (agents - 1) * max(found.amount / agents, world.largest)
        assert world.spent(found, START - timedelta(days=9)) <= found.amount + more
    assert len(world.begun) > 10


@pytest.mark.parametrize("seed", range(20))
async def test_when_all_is_over_nothing_is_set_aside(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """And what is known is the sum."""
    world = World(2, ALL, random.Random(seed))
    world.server.patch(monkeypatch)
    await world.start()
    for _ in range(200):
        await world.step()
    for agent in world.agents:
        while agent.running:
            await world.end(agent)
        await world.ship(agent, sure=True)
        await world.look(agent)
        await world.say(agent)
    for agent in world.agents:
        await world.look(agent)
        assert agent.budgets._accounts[1].pending == {}
        for state in agent.budgets._accounts[1].states:
            since = state.window.begins_at or START - timedelta(days=9)
            assert (state.pending, state.reserved_elsewhere, state.pending_ended) == (0, 0, 0)
            assert state.shipped == world.spent(state.budget, since)


async def test_what_others_have_set_aside_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """When they have told: of 10 USD, with 4 set aside elsewhere, one of two agents may set aside half of 6."""
    world = World(2, [budget(1, Period.TOTAL, "10")], random.Random(1))
    world.server.patch(monkeypatch)
    one, other = world.agents
    await world.start()
    identity = Identity(ALICE, TOKENS[0])
    assert one.budgets.reserve(identity, UUID(int=1), Decimal(4), world.now) is not None
    await world.say(one)
    await world.look(other)
    for number in range(3):
        assert other.budgets.reserve(identity, UUID(int=10 + number), Decimal(1), world.now) is not None
    with pytest.raises(InsufficientQuota):
        other.budgets.reserve(identity, UUID(int=20), Decimal(1), world.now)
    [status] = other.budgets.status(identity)
    assert (status.reserved, status.left) == (7, 3)


async def test_a_call_counts_on_the_day_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it ends on the next: today's budget is whole."""
    world = World(1, [budget(1, Period.DAY, "1")], random.Random(1))
    world.server.patch(monkeypatch)
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
    assert (status.spent, status.reserved) == (0, 1)


async def test_a_mark_is_passed_once_in_each_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """And anew after midnight, or when the budget is another."""
    marks: list[tuple[int, Window]] = []
    world = World(1, [budget(1, Period.DAY, "1")], random.Random(1))
    world.server.patch(monkeypatch)
    [agent] = world.agents
    agent.budgets._on_threshold = lambda _, window, percent, __: marks.append((percent, window))
    await world.start()

    async def spend(amount: str) -> None:
        intent = make_intent(user_id=1, token_id=11, started_at=world.now, max_cost=Decimal(amount))
        intent = msgspec.structs.replace(intent, request_id=UUID(int=len(world.server.rows)))
        reservation = agent.budgets.reserve(Identity(ALICE, TOKENS[0]), intent.request_id, Decimal(amount), world.now)
        row = Row(intent=intent, state=State.DONE, price_id=1, cost=Decimal(amount))
        assert reservation is not None
        reservation.settle(row)
        agent.outbox.append(row)
        await world.ship(agent, sure=True)
        await world.look(agent)

    for amount in ("0.5", "0.3", "0.1", "0.1"):
        await spend(amount)
    assert [percent for percent, _ in marks] == [80, 100]
    world.now += timedelta(days=1)
    await spend("0.9")
    assert [percent for percent, _ in marks] == [80, 100, 80]
    agent.budgets.set_budgets([budget(1, Period.DAY, "1.1")], lambda token: 1, "UTC")
    await world.look(agent)
    assert [percent for percent, _ in marks] == [80, 100, 80, 80]
    assert len({window for _, window in marks}) == 2
