"""Raised budgets at the agents: what is admitted before and after the end of a raise, without a write in between."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest

from chatgpt_agent.core.access.identity import Identity
from chatgpt_agent.core.budget.events import BudgetEvent
from chatgpt_agent.core.budget.period import Budget, Period
from chatgpt_agent.core.errors import InsufficientQuota
from chatgpt_agent.core.ledger import Row, State
from chatgpt_agent.runtime.budgets import Budgets, Reservation
from tests.support.budget_world import ALICE, START, TOKENS, World, budget
from tests.support.factories import make_intent

END = START + timedelta(hours=1)
IDENTITY = Identity(ALICE, TOKENS[0])


def raised(plain: str, amount: str, until: datetime = END) -> Budget:
    """A total budget of alice that is raised until a moment."""
    return msgspec.structs.replace(budget(1, Period.TOTAL, plain), raised_amount=Decimal(amount), raised_until=until)


class OneAgent:
    """The budgets of an agent with a clock that a test moves, and the events that they report."""

    def __init__(self, *budgets: Budget) -> None:
        self.now = START
        self.events: list[BudgetEvent] = []
        self.budgets = Budgets(on_threshold=self.events.append, on_refusal=self.events.append, now=lambda: self.now)
        self.set(*budgets)
        self.budgets.loaded = True
        self._count = 0

    def set(self, *budgets: Budget) -> None:
        """Replaces the budgets."""
        self.budgets.set_budgets(budgets, lambda token: 1, "UTC")

    def reserve(self, amount: str) -> tuple[Reservation, Row]:
        """Starts a request that may cost an amount; returns its reservation, and a row that costs it."""
        self._count += 1
        intent = make_intent(user_id=1, token_id=11, started_at=self.now, max_cost=Decimal(amount))
        intent = msgspec.structs.replace(intent, request_id=UUID(int=self._count))
        reservation = self.budgets.reserve(IDENTITY, intent.request_id, Decimal(amount), self.now)
        assert reservation is not None
        return reservation, Row(intent=intent, state=State.DONE, price_id=1, cost=Decimal(amount))

    def spend(self, amount: str) -> None:
        """Makes a request that costs an amount."""
        reservation, row = self.reserve(amount)
        reservation.settle(row)


def test_raised_amount_is_admitted_until_its_end() -> None:
    """A microsecond before the end 8 of 10 USD fit; at the end nothing fits into 5 of which 8 are spent."""
    agent = OneAgent(raised("5", "10"))
    agent.now = END - timedelta(microseconds=1)
    agent.spend("8")
    agent.now = END
    with pytest.raises(InsufficientQuota, match=r"0\.00 USD left of 5\.00 USD in total"):
        agent.reserve("0.01")
    agent.now = END - timedelta(microseconds=1)  # a clock that is set back
    agent.spend("2")


def test_refusal_of_a_raised_budget_names_its_end() -> None:
    """The error, and the event, have the amount that is in force."""
    agent = OneAgent(raised("5", "10"))
    with pytest.raises(InsufficientQuota, match=r"left of 10\.00 USD .* raised until 2026-11-23T22:00:00Z, and then 5"):
        agent.reserve("11")
    [event] = agent.events
    assert (event.amount, event.raised_until) == (10, END)


def test_open_reservations_outlive_a_raise() -> None:
    """A request in progress at the end goes on: spending exceeds the plain amount by its reservation, no other fits."""
    agent = OneAgent(raised("5", "10"))
    agent.spend("4")
    reservation, row = agent.reserve("6")
    agent.now = END
    with pytest.raises(InsufficientQuota):
        agent.reserve("0.01")
    reservation.settle(row)
    [status] = agent.budgets.status(IDENTITY)
    assert (status.amount, status.raised_until, status.spent, status.left) == (5, None, 10, 0)


def test_status_shows_what_is_in_force() -> None:
    """The amount is the raised one as long as `raised_until` is set; `resets_at` is not changed by a raise."""
    agent = OneAgent(msgspec.structs.replace(raised("5", "10"), period=Period.DAY))
    [before] = agent.budgets.status(IDENTITY)
    agent.now = END
    [after] = agent.budgets.status(IDENTITY)
    assert (before.amount, before.left, before.raised_until) == (10, 10, END)
    assert (after.amount, after.left, after.raised_until) == (5, 5, None)
    assert before.resets_at == after.resets_at == datetime(2026, 11, 24, tzinfo=UTC)


def test_thresholds_are_those_of_the_amount_in_force() -> None:
    """4.5 USD are 90 percent of 5 and 45 of 10; after the end they are 90 percent again."""
    agent = OneAgent(raised("5", "10"))
    agent.spend("4.5")
    assert agent.events == []
    agent.now = END
    agent.spend("0.5")
    assert [(event.percent, event.amount) for event in agent.events] == [(80, 5), (100, 5)]  # type: ignore[attr-defined]


async def test_threshold_of_the_plain_amount_is_noticed_without_a_request() -> None:
    """An agent reads its budgets once a minute, and then reports what the end of a raise has changed."""
    world = World(1, [raised("1", "10", START + timedelta(minutes=5))], random.Random(1))
    [agent] = world.agents
    await world.start()
    intent = make_intent(user_id=1, token_id=11, started_at=START, max_cost=Decimal("0.9"))
    reservation = agent.budgets.reserve(IDENTITY, intent.request_id, Decimal("0.9"), START)
    assert reservation is not None
    reservation.settle(Row(intent=intent, state=State.DONE, price_id=1, cost=Decimal("0.9")))
    await world.read(agent)
    assert agent.crossed == []
    world.now += timedelta(minutes=5)
    await world.read(agent)
    assert [percent for percent, _ in agent.crossed] == [80]


def test_ended_raise_changes_nothing_else() -> None:
    """A change of another budget after the end of a raise repeats none of its alerts."""
    agent = OneAgent(raised("5", "10"))
    agent.now = END
    agent.spend("4")
    agent.set(raised("5", "10"), budget(2, Period.DAY, "100"))
    agent.spend("0.1")
    assert len(agent.events) == 1


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("agents", [1, 3])
async def test_spending_never_grows_beyond_the_amount_in_force(agents: int, seed: int) -> None:
    """During a raise the raised amount holds; after it nothing is admitted while more than the plain one is spent or
    reserved. Several agents exceed both by their known bound."""
    each = raised("10", "30", START + timedelta(hours=6))
    world = World(agents, [each], random.Random(seed))
    await world.start()
    since = START - timedelta(days=9)
    highest = Decimal(0)  # when the raise was last in force
    for _ in range(400):
        await world.step()
        amount = each.amount_at(world.now)
        excess = (agents - 1) * max(amount / agents, world.largest)
        if each.raise_at(world.now) is not None:
            highest = world.spent(each, since)
            assert highest <= amount + excess
        else:
            assert world.spent(each, since) <= max(amount + excess, highest)
    assert len(world.admitted) > 5
