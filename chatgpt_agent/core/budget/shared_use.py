"""What the agents of one database have used of rate limits, as each publishes it to the others.

An agent counts what it takes from a bucket since it began to share, and publishes these sums. The others take the
difference to what they knew before from their own buckets. So a publication that is lost does no harm once the next one
arrives, and one that arrives twice takes nothing twice. An agent that is restarted, or begins to share again, starts a
new run, with sums of its own.
"""

from collections.abc import Iterable
from uuid import UUID

import msgspec

from chatgpt_agent.core.access.identity import RateLimits
from chatgpt_agent.core.budget.token_bucket import MINUTE

Owner = tuple[str, int]  # "user" or "token", and its id


class Use(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one agent publishes about one owner of limits. `requests`, `tokens`: taken by this agent in its run, less
    what was given back; `running`: requests in progress; `requests_used`, `tokens_used`: what its buckets lack, because
    of all agents' use."""

    kind: str
    id: int
    requests: int
    tokens: int
    running: int
    requests_used: float
    tokens_used: float

    @property
    def owner(self) -> Owner:
        """The owner of the limits."""
        return self.kind, self.id


class Publication(msgspec.Struct, frozen=True, array_like=True):
    """What an agent publishes at once. `number` grows with each of its run; the first one, 0, has no figures."""

    agent: UUID
    run: UUID
    number: int
    uses: list[Use]


class PublishedUse(msgspec.Struct, frozen=True, gc=False):
    """A use as it is stored. `age`: seconds since it was published."""

    agent: UUID
    run: UUID
    number: int
    use: Use
    age: float


class _LastUse(msgspec.Struct, gc=False):
    """The last use that an agent has published; `at`: monotonic seconds; `running`: 0 once the agent has ended."""

    run: UUID
    number: int
    use: Use
    at: float
    running: int


class OthersUse:
    """What is known of the other agents' use."""

    def __init__(self) -> None:
        self._by_owner: dict[Owner, dict[UUID, _LastUse]] = {}
        self._runs: dict[UUID, UUID] = {}  # the run of each agent; None of those that are gone

    def add(self, each: PublishedUse, now: float) -> None:
        """Notes a use that was read from PostgreSQL."""
        self.begin_run(each.agent, each.run)
        self.note(each.agent, each.run, each.number, each.use, at=now - each.age)

    def note(
        self, agent: UUID, run: UUID, number: int, use: Use, *, at: float, limits: RateLimits = RateLimits()
    ) -> tuple[float, float]:
        """Notes a use as of `at`. Returns by how many requests and tokens it has grown. Of the first use of a run that
        is noted, what the agent's buckets lack counts, and what may have refilled in the last minute, but no more:
        earlier figures may be lost, and their requests long ago. `limits`: those of the buckets."""
        uses = self._by_owner.setdefault(use.owner, {})
        before = uses.get(agent)
        if before is None or before.run != run:
            grown = (
                min(use.requests, use.requests_used + (limits.rpm or 0)),
                min(use.tokens, use.tokens_used + (limits.tpm or 0)),
            )
        elif number < before.number:  # read before a later notice, and handled after it
            return 0, 0
        else:
            grown = use.requests - before.use.requests, use.tokens - before.use.tokens
        uses[agent] = _LastUse(run, number, use, at, use.running)
        return grown

    def is_new(self, agent: UUID, run: UUID, number: int, owner: Owner) -> bool:
        """Returns whether a publication is later than the last use of this owner that was noted."""
        before = self._by_owner.get(owner, {}).get(agent)
        return before is None or before.run != run or before.number < number

    def begin_run(self, agent: UUID, run: UUID) -> None:
        """Notes that an agent has begun a run."""
        self._runs[agent] = run

    def forget_running(self, agents: Iterable[UUID]) -> list[Owner]:
        """Forgets the requests in progress of agents; what they have used stays. Returns the owners."""
        ended, owners = set(agents), []
        for agent in ended:
            self._runs.pop(agent, None)
        for owner, uses in self._by_owner.items() if ended else ():
            for agent in ended & uses.keys():
                if uses[agent].running:
                    uses[agent].running = 0
                    owners.append(owner)
        return owners

    @property
    def runs(self) -> set[tuple[UUID, UUID]]:
        """The agents that have published something and have not ended, with their runs."""
        return set(self._runs.items())

    def running(self, owner: Owner) -> int:
        """Returns the number of requests in progress."""
        return sum(use.running for use in self._by_owner.get(owner, {}).values())

    def used(self, owner: Owner, limits: RateLimits, now: float) -> tuple[float, float]:
        """Returns what buckets of these limits lack, of requests and of tokens. Those of each agent lack what all have
        used, as far as it knew when it published that: the last one is nearest to the truth."""
        uses = self._by_owner.get(owner)
        if not uses:
            return 0.0, 0.0
        last = max(uses.values(), key=lambda each: (each.at, each.use.tokens_used, each.use.requests_used))
        seconds = now - last.at
        return (
            refilled(last.use.requests_used, seconds, limits.rpm),
            refilled(last.use.tokens_used, seconds, limits.tpm),
        )


def refilled(used: float, seconds: float, limit: int | None) -> float:
    """Returns what a bucket lacks that lacked `used` so many seconds ago; `limit`: a minute, None: unlimited."""
    return 0.0 if limit is None else max(0.0, used - seconds * limit / MINUTE)
