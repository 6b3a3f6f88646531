"""What users and tokens have used of their limits, and what other agents are to learn of it.

Several agents tell each other what they have taken (`limit_sync`), and each takes it from its own buckets, too: these
may then lack more than they hold, and refill as usual. So over time all agents together keep to a limit, and pass it by
no more than what the others admit before they are heard of.
"""

import asyncio
from collections.abc import Callable, Iterable
from uuid import UUID

from chatgpt_agent.core.access.identity import RateLimits
from chatgpt_agent.core.budget.shared_use import OthersUse, Owner, Use, refilled
from chatgpt_agent.core.budget.token_bucket import MINUTE, Bucket

UNLIMITED = RateLimits()

_MAX_USED = 1e15  # that the table accepts


class Meter:
    """What one user, or one token, has used of its limits. `running`: requests in progress at this agent;
    `running_elsewhere`: at the others; `requests_taken`, `tokens_taken`: by this agent since it began to share."""

    __slots__ = (
        "limits",
        "owner",
        "requests",
        "requests_taken",
        "running",
        "running_elsewhere",
        "tokens",
        "tokens_taken",
    )

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.limits = UNLIMITED
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.running = 0
        self.running_elsewhere = 0
        self.requests_taken = 0
        self.tokens_taken = 0

    def begin(self, tokens: int | None, now: float) -> int:
        """Takes the share of a request of about so many tokens (None: it has none); returns the tokens taken."""
        self.running += 1
        if self.requests is not None:
            self.requests.take(1, now)
            self.requests_taken += 1
        if self.tokens is None or tokens is None:
            return 0
        estimate = min(tokens, self.tokens.limit)
        self.tokens.take(estimate, now)
        self.tokens_taken += estimate
        return estimate

    def take_elsewhere(self, requests: float, tokens: float, now: float) -> None:
        """Takes what other agents have taken."""
        if self.requests is not None and requests:
            self.requests.take(requests, now)
        if self.tokens is not None and tokens:
            self.tokens.take(tokens, now)

    def used(self, now: float) -> tuple[float, float]:
        """Returns what the buckets of requests and of tokens lack."""
        return (
            0.0 if self.requests is None else self.requests.used(now),
            0.0 if self.tokens is None else self.tokens.used(now),
        )


class Changes:
    """The owners of which other agents are to learn. `noted`: whether there are other agents; `since`: the moment of
    the first change, in monotonic seconds."""

    __slots__ = ("due", "noted", "owners", "since")

    def __init__(self) -> None:
        self.noted = False
        self.owners: set[Owner] = set()
        self.since = 0.0
        self.due = asyncio.Event()

    def note(self, shares: Iterable[tuple[Meter, int]], now: float) -> None:
        """Notes the owners of a request's shares."""
        self.add([meter.owner for meter, _ in shares], now)

    def add(self, owners: Iterable[Owner], now: float) -> None:
        """Notes owners."""
        self.since = min(self.since, now) if self.owners else now
        self.owners.update(owners)
        if self.owners:
            self.due.set()

    def clear(self) -> None:
        """Forgets them."""
        self.owners = set()
        self.due.clear()


class Meters:
    """The meters of one agent. `clock`: monotonic seconds; `limits_of`: the limits of an owner, if they are known."""

    def __init__(self, clock: Callable[[], float], limits_of: Callable[[Owner], RateLimits | None]) -> None:
        self._clock = clock
        self._limits_of = limits_of
        self.by_owner: dict[Owner, Meter] = {}
        self._others = OthersUse()
        self.changes = Changes()

    def set_limits(self, owner: Owner, limits: RateLimits, now: float) -> Meter:
        """Returns the meter of an owner, with new limits. A new bucket lacks what those of other agents do."""
        meter = self.by_owner.setdefault(owner, Meter(owner))
        no_requests, no_tokens = meter.requests is None, meter.tokens is None
        meter.limits = limits
        meter.requests = _resized(meter.requests, limits.rpm, now)
        meter.tokens = _resized(meter.tokens, limits.tpm, now)
        requests, tokens = self._others.used(owner, limits, now)
        meter.take_elsewhere(requests if no_requests else 0, tokens if no_tokens else 0, now)
        meter.running_elsewhere = self._others.running(owner)
        return meter

    # What agents know of each other.

    @property
    def sharing(self) -> bool:
        """Whether this agent notes what others are to learn."""
        return self.changes.noted

    @property
    def runs(self) -> set[tuple[UUID, UUID]]:
        """The other agents whose requests in progress count, with their runs."""
        return self._others.runs

    def begin_sharing(self, others: OthersUse) -> None:
        """Begins a run. Its sums begin with what the buckets lack now; then they lack what those of others do, too."""
        now = self._clock()
        self.changes.clear()
        self.changes.noted = True
        for meter in self.by_owner.values():
            meter.requests_taken, meter.tokens_taken = map(int, meter.used(now))
        self.republish()
        self.learn(others)
        for owner, meter in self.by_owner.items():
            meter.take_elsewhere(*self._others.used(owner, meter.limits, now), now)
            meter.running_elsewhere = self._others.running(owner)

    def end_sharing(self) -> None:
        """Goes on alone."""
        self.changes.clear()
        self.changes.noted = False
        self.forget(agent for agent, _ in self.runs)

    def learn(self, others: OthersUse) -> None:
        """Replaces what is known of other agents. Only buckets that are made later lack it."""
        self._others = others

    def receive(self, agent: UUID, run: UUID, number: int, uses: Iterable[Use], *, age: float = 0.0) -> None:
        """Takes over what another agent published `age` seconds ago."""
        now = self._clock()
        if (agent, run) not in self.runs:
            self.forget([agent])
            self._others.begin_run(agent, run)
        for use in uses:
            meter = self.by_owner.get(use.owner)
            limits = self._limits_of(use.owner) or UNLIMITED if meter is None else meter.limits
            if meter is None and limits != UNLIMITED:  # what two agents take in the same moment must add up
                meter = self.set_limits(use.owner, limits, now)
            is_new = self._others.is_new(agent, run, number, use.owner)
            requests, tokens = self._others.note(agent, run, number, use, at=now - age, limits=limits)
            if meter is not None:
                meter.take_elsewhere(requests, tokens, now)
                meter.running_elsewhere = self._others.running(use.owner)
                if is_new and _lacks_more(meter, use, now, age=age):
                    self.changes.add([use.owner], now)  # publications have crossed: an agent that starts reads the last

    def forget(self, agents: Iterable[UUID]) -> None:
        """Forgets the requests in progress of agents that have ended. What they have used stays used."""
        for owner in self._others.forget_running(agents):
            if owner in self.by_owner:
                self.by_owner[owner].running_elsewhere = self._others.running(owner)

    def republish(self) -> None:
        """Notes all owners that have used something: the others, or PostgreSQL, may not know it."""
        now = self._clock()
        self.changes.add(
            [owner for owner, meter in self.by_owner.items() if meter.running or any(meter.used(now))], now
        )

    def uses(self, owners: Iterable[Owner]) -> list[Use]:
        """Returns what this agent publishes about owners."""
        now = self._clock()
        return [_use(self.by_owner[owner], now) for owner in owners]


def _use(meter: Meter, now: float) -> Use:
    kind, id_ = meter.owner
    requests_used, tokens_used = meter.used(now)
    return Use(
        kind=kind,
        id=id_,
        requests=meter.requests_taken,
        tokens=meter.tokens_taken,
        running=meter.running,
        requests_used=min(round(requests_used, 3), _MAX_USED),
        tokens_used=min(round(tokens_used, 3), _MAX_USED),
    )


def _lacks_more(meter: Meter, use: Use, now: float, *, age: float) -> bool:
    """Whether the buckets lack more than is left of a use that was published `age` seconds ago, by more than one and
    what refills in a second."""
    requests, tokens = meter.used(now)
    pairs = (meter.requests, requests, use.requests_used), (meter.tokens, tokens, use.tokens_used)
    return any(
        bucket is not None and used - refilled(before, age, bucket.limit) > 1 + bucket.limit / MINUTE
        for bucket, used, before in pairs
    )


def _resized(bucket: Bucket | None, limit: int | None, now: float) -> Bucket | None:
    if limit is None:
        return None
    if bucket is None:
        return Bucket(limit, now)
    bucket.change(limit, now)
    return bucket
