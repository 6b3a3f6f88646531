"""Budgets of several agents over one store in memory, with random events and the sums that must result."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.postgres.spending import ReservedAmount, Spending
from chatgpt_agent.core.access.identity import Identity, Token, User
from chatgpt_agent.core.budget.budget_state import BudgetState
from chatgpt_agent.core.budget.period import Budget, Period, Window
from chatgpt_agent.core.errors import InsufficientQuota
from chatgpt_agent.core.ledger import Row, State
from chatgpt_agent.runtime.budget_sync import BudgetSync
from chatgpt_agent.runtime.budgets import Budgets, Reservation
from tests.support.factories import make_intent

ALICE = User(id=1, name="alice", upstream_key=b"", disabled=False)
TOKENS = [Token(id=11, user_id=1, digest=b"a", revoked=False), Token(id=12, user_id=1, digest=b"b", revoked=False)]
START = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)


class SharedStore:
    """A BudgetStore that agents share: the rows that were shipped, and the published reservations."""

    def __init__(self, agents: int) -> None:
        self.agents = agents
        self.rows: list[Row] = []
        self.reservations: dict[tuple[UUID, int], list[ReservedAmount]] = {}

    async def read_spending(
        self,
        users: Sequence[int],
        spans: Sequence[tuple[date, date]],
        *,
        total: bool,
        rows: Sequence[tuple[UUID, datetime]],
    ) -> tuple[list[Spending], set[UUID]]:
        """The sums of each token, computed from the rows."""
        spending = []
        for token in TOKENS:
            own = [row for row in self.rows if row.intent.token_id == token.id]
            sums = [
                sum((row.budget_cost for row in own if first <= row.intent.started_at.date() <= last), Decimal(0))
                for first, last in spans
            ]
            day, week, month = sums
            ever = sum((row.budget_cost for row in own), Decimal(0))
            spending.append(Spending(user_id=1, token_id=token.id, day=day, week=week, month=month, total=ever))
        return spending, {row.intent.request_id for row in self.rows} & {id_ for id_, _ in rows}

    async def count_agents(self) -> int:
        """All agents are alive."""
        return self.agents

    async def read_reservations(self, users: Sequence[int], *, except_agent: UUID) -> list[ReservedAmount]:
        """The reservations of the other agents."""
        return [one for (agent, _), amounts in self.reservations.items() if agent != except_agent for one in amounts]

    async def publish_reservations(
        self, agent: UUID, users: Sequence[int], amounts: Sequence[ReservedAmount], *, notify: bool
    ) -> None:
        """Replaces the reservations of an agent for these users."""
        for user in users:
            self.reservations[agent, user] = list(amounts)

    async def clear_reservations(self, agent: UUID) -> None:
        """Does nothing: no agent has reserved anything before it starts."""

    async def wait_for_changes(self, seconds: float) -> set[int] | None:
        """Never returns: the tests read at times of their own."""
        forever: asyncio.Future[set[int] | None] = asyncio.get_running_loop().create_future()
        return await forever

    async def close(self) -> None:
        """Does nothing: there are no connections."""


class Agent:
    """The budgets of one agent, and its requests under way."""

    def __init__(self, number: int, store: SharedStore, world: "World") -> None:
        self.id = UUID(int=number)
        self.crossed: list[tuple[int, Window]] = []  # thresholds in percent
        self.budgets = Budgets(
            on_threshold=lambda event: self.crossed.append((event.percent, event.window)),
            now=lambda: world.now,
        )
        self.sync = BudgetSync(self.budgets, store)
        self.running: list[tuple[Reservation, Row]] = []
        self.outbox: list[Row] = []

    @property
    def states(self) -> list[BudgetState]:
        """The states of all budgets."""
        return [state for own in self.budgets.by_user.values() for state in own.states]


class World:
    """Some agents, one clock, and what was actually spent."""

    def __init__(self, agents: int, budgets: list[Budget], draw: random.Random) -> None:
        self.now = START
        self.store = SharedStore(agents)
        self.draw = draw
        self.agents = [Agent(number + 1, self.store, self) for number in range(agents)]
        self.admitted: list[Row] = []  # of each admitted request, with its maximum cost
        self.ended: dict[UUID, Decimal] = {}  # the cost of each request that has ended
        self.largest = Decimal(0)
        self.budget_list = budgets
        # How often each event happens: in some runs requests end late, in others spending is seldom read.
        self.weights = [draw.choice(each) for each in ([6, 20], [1, 4], [1, 3], [0, 1, 3], [0, 1, 3], [0, 1])]

    async def start(self) -> None:
        """Gives all agents their budgets, and lets them read what was spent."""
        for agent in self.agents:
            agent.budgets.set_budgets(self.budget_list, lambda token: 1, "UTC")
            await agent.sync.load(agent.id)

    async def step(self) -> None:
        """Lets one random event happen to a random agent."""
        agent = self.draw.choice(self.agents)
        [action] = self.draw.choices(
            [self.request, self.end, self.ship, self.read, self.publish, self.wait], self.weights
        )
        await action(agent)

    async def request(self, agent: Agent) -> None:
        """Starts a request, if the budgets allow it."""
        amount = Decimal(self.draw.randint(0, 300)) / 100
        token = self.draw.choice(TOKENS)
        intent = make_intent(len(self.admitted), user_id=1, token_id=token.id, started_at=self.now, max_cost=amount)
        intent = msgspec.structs.replace(intent, request_id=UUID(int=len(self.admitted)))
        try:
            reservation = agent.budgets.reserve(Identity(ALICE, token), intent.request_id, amount, self.now)
        except InsufficientQuota:
            return
        assert reservation is not None
        row = Row(intent=intent, state=State.DONE, price_id=1, cost=amount)
        self.admitted.append(row)
        self.largest = max(self.largest, amount)
        agent.running.append((reservation, row))

    async def end(self, agent: Agent) -> None:
        """Ends a request: with a cost, without one, or with a row that the disk refuses."""
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
        """Ships rows; sometimes the answer is lost, and they are shipped again later."""
        rows = agent.outbox
        agent.budgets.shipping(rows)
        self.store.rows += [row for row in rows if row not in self.store.rows]
        if sure or self.draw.random() < 0.7:
            agent.outbox = []
            agent.budgets.shipped(rows)

    async def read(self, agent: Agent) -> None:
        """Reads what was spent."""
        await agent.sync.refresh({1})

    async def publish(self, agent: Agent) -> None:
        """Publishes the reservations."""
        await agent.sync.publish({1})

    async def wait(self, agent: Agent) -> None:
        """Lets time pass, also past midnight."""
        self.now += timedelta(minutes=self.draw.randint(0, 60))

    def spent(self, budget: Budget, since: datetime) -> Decimal:
        """What the requests of a budget have cost or may still cost, since a moment."""
        return sum(
            (
                self.ended.get(row.intent.request_id, row.cost)
                for row in self.admitted
                if row.intent.started_at >= since and budget.token_id in (None, row.intent.token_id)
            ),
            Decimal(0),
        )


def budget(id: int, period: Period, amount: str, token_id: int | None = None) -> Budget:
    """A budget of alice, or of one of her tokens."""
    user_id = 1 if token_id is None else None
    return Budget(id=id, user_id=user_id, token_id=token_id, period=period, amount=Decimal(amount))
