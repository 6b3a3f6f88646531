"""Several agents that share rate limits through a store in memory, on one clock, with exchanges when a test says so."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from chatgpt_agent.adapters.postgres.limit_use import AliveAgents
from chatgpt_agent.core.access.identity import Identity, RateLimits, Token, User
from chatgpt_agent.core.budget.shared_use import Owner, Publication, PublishedUse, Use
from chatgpt_agent.core.errors import RateLimited, StoreUnavailable
from chatgpt_agent.runtime.limit_sync import LimitSync
from chatgpt_agent.runtime.rate_limiter import RateLimiter, Slot
from tests.support.clock import Clock

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
USER = ("user", 1)


def identity_with(**limits: int) -> Identity:
    """A user with limits, and a token without."""
    user = User(id=1, name="alice", upstream_key=b"", disabled=False, limits=RateLimits(**limits))
    return Identity(user, Token(id=11, user_id=1, digest=b"", revoked=False))


class SharedStore:
    """A LimitStore that agents share."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.alive: set[UUID] = set()
        self.rows: dict[tuple[UUID, Owner], tuple[UUID, int, Use, float]] = {}
        self.notices: list[Publication] = []
        self.away = False

    async def read_alive_agents(self) -> AliveAgents:
        """The agents that the test says are alive."""
        self._check()
        runs = {(agent, run) for (agent, _), (run, *_) in self.rows.items() if agent in self.alive}
        return AliveAgents(self._time(self._clock()), set(self.alive), runs)

    async def read_uses(self, since: datetime | None) -> list[PublishedUse]:
        """The rows that have changed since."""
        self._check()
        return [
            PublishedUse(agent, run, number, use, self._clock() - at)
            for (agent, _), (run, number, use, at) in self.rows.items()
            if since is None or self._time(at) >= since
        ]

    async def publish(self, publication: Publication) -> None:
        """Stores the figures, and keeps the notice until the test delivers or loses it."""
        self._check()
        self.notices.append(publication)
        for use in publication.uses:
            figures = (publication.run, publication.number, use, self._clock())
            self.rows[publication.agent, use.owner] = figures

    async def delete_uses(self, agent: UUID) -> None:
        """Deletes the rows of an agent."""
        self._check()
        self.rows = {key: row for key, row in self.rows.items() if key[0] != agent}

    async def wait_for_publications(self, seconds: float) -> list[Publication] | None:
        """Is never called: tests deliver the notices."""
        raise NotImplementedError

    async def close(self) -> None:
        """Does nothing: there are no connections."""

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("gone")

    def _time(self, seconds: float) -> datetime:
        return START + timedelta(seconds=seconds)


class Agent:
    """The rate limits of one agent."""

    def __init__(self, number: int, world: "LimitWorld") -> None:
        self.id = UUID(int=number)
        self.limiter = RateLimiter(world.clock, limits_of=world.limits.get)
        self._limits = world.limits
        self.sync = LimitSync(self.limiter.meters, world.store, clock=world.clock)

    def admit(self, identity: Identity, count: int = 1, tokens: int | None = None) -> list[Slot]:
        """The slots of those of `count` requests that are admitted."""
        self._limits[USER] = identity.user.limits
        slots = []
        for _ in range(count):
            try:
                slots.append(self.limiter.acquire(identity, tokens))
            except RateLimited:
                break
        return slots

    def left(self, identity: Identity, unit: str = "requests_left") -> int:
        """What is left of the user's limit, or its requests in progress."""
        value = self.limiter.status(identity)["user"][unit]
        assert isinstance(value, int)
        return value


class LimitWorld:
    """Some agents that share one store."""

    def __init__(self, agents: int) -> None:
        self.clock = Clock()
        self.store = SharedStore(self.clock)
        self.limits: dict[Owner, RateLimits] = {}  # as all agents know them
        self.agents = [Agent(number + 1, self) for number in range(agents)]

    async def start(self, agents: Iterable[Agent] | None = None) -> None:
        """Starts agents, by default all."""
        for agent in self.agents if agents is None else agents:
            self.store.alive.add(agent.id)
            await agent.sync.load(agent.id)
            await self.read()  # its notice
        self.store.notices.clear()

    async def restart(self, agent: Agent) -> Agent:
        """Starts another process in the place of an agent."""
        new = Agent(agent.id.int, self)
        self.agents[self.agents.index(agent)] = new
        await self.start([new])
        return new

    async def read(self) -> None:
        """Lets the agents that are alive read."""
        for agent in self.agents:
            if agent.id in self.store.alive:
                await agent.sync.read()

    async def exchange(self, *, lost: bool = False) -> None:
        """Lets each publish what has changed, and delivers the notices, unless they are lost."""
        for agent in self.agents:
            await agent.sync.publish()
        notices, self.store.notices = self.store.notices, []
        for agent in self.agents:
            agent.sync.receive([] if lost else notices)
