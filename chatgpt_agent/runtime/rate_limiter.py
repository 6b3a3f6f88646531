"""Requests a minute, tokens a minute, and requests at once, of users and of tokens.

A check and what it takes are one synchronous step in memory; `limit_meters` has what agents share.
"""

from collections.abc import Callable
from typing import Any

from chatgpt_agent.core.access.identity import Identity, RateLimits
from chatgpt_agent.core.budget.shared_use import Owner
from chatgpt_agent.core.budget.token_bucket import Bucket, LimitState, rate_headers
from chatgpt_agent.core.errors import RateLimited
from chatgpt_agent.runtime.limit_meters import UNLIMITED, Changes, Meter, Meters

CONCURRENCY_RETRY = 1.0  # seconds: when one of the running requests will end cannot be known

_OWNERS = {"user": "Your user account", "token": "Your token"}


class Slot:
    """The share of its limits that a request in progress has, until `release`."""

    __slots__ = ("_changes", "_clock", "_shares")

    def __init__(self, shares: list[tuple[Meter, int]], clock: Callable[[], float], changes: Changes) -> None:
        self._shares = shares  # of each meter, with the token count that was estimated
        self._clock = clock
        self._changes = changes

    def settle(self, tokens: int) -> None:
        """Replaces the estimate by the token count. Without a call of this, the estimate stands."""
        if not self._shares:
            return
        now = self._clock()
        for meter, estimate in self._shares:
            if meter.tokens is not None:
                meter.tokens.take(tokens - estimate, now)
                meter.tokens_taken += tokens - estimate
        self._shares = [(meter, tokens) for meter, _ in self._shares]
        if self._changes.noted:
            self._changes.note(self._shares, now)

    def release(self) -> None:
        """Ends the request's part in the number of requests at once."""
        for meter, _ in self._shares:
            meter.running -= 1
        if self._changes.noted:
            self._changes.note(self._shares, self._clock())


_FREE = Slot([], lambda: 0.0, Changes())


class RateLimiter:
    """The limits of all users and tokens. `clock`: monotonic seconds; `limits_of`: the limits of an owner about which
    another agent publishes something, if they are known."""

    def __init__(
        self, clock: Callable[[], float], *, limits_of: Callable[[Owner], RateLimits | None] = lambda _: None
    ) -> None:
        self._clock = clock
        self.meters = Meters(clock, limits_of)
        self._changes = self.meters.changes

    @property
    def running(self) -> dict[Owner, int]:
        """Requests in progress of each limited owner at this agent."""
        return {owner: meter.running for owner, meter in self.meters.by_owner.items()}

    def acquire(self, identity: Identity, tokens: int | None) -> Slot:
        """A slot for a request of about so many tokens; None: it has none, so that a limit of tokens does not apply.
        Raises RateLimited, and then nothing is counted."""
        now = self._clock()
        limited = self._limited(identity, now)
        if not limited:
            return _FREE
        for owner, meter in limited:
            _check(meter, owner, tokens, now)
        shares = [(meter, meter.begin(tokens, now)) for _, meter in limited]
        if self._changes.noted:
            self._changes.note(shares, now)
        return Slot(shares, self._clock, self._changes)

    def headers(self, identity: Identity) -> list[tuple[str, str]]:
        """The `x-ratelimit-*` header fields for an identity: of each limit the one that is nearest."""
        now = self._clock()
        requests = tokens = None
        for _, meter in self._limited(identity, now):
            requests = _nearer(requests, meter.requests, now)
            tokens = _nearer(tokens, meter.tokens, now)
        return rate_headers(requests, tokens)

    def status(self, identity: Identity) -> dict[str, dict[str, Any]]:
        """The limits of the user and of the token and what is left of each, as `GET /me` shows them. None: no limit."""
        now = self._clock()
        status = {}
        meters = dict(self._limited(identity, now))
        for owner, limits in (("user", identity.user.limits), ("token", identity.token.limits)):
            meter = meters.get(owner) or Meter((owner, 0))
            status[owner] = {
                "requests_per_minute": limits.rpm,
                "requests_left": None if meter.requests is None else meter.requests.left(now),
                "tokens_per_minute": limits.tpm,
                "tokens_left": None if meter.tokens is None else meter.tokens.left(now),
                "concurrent_requests": limits.concurrency,
                "requests_in_progress": meter.running + meter.running_elsewhere if owner in meters else None,
            }
        return status

    def _limited(self, identity: Identity, now: float) -> list[tuple[str, Meter]]:
        """Whose limits apply to a request, "token" or "user", and what of them is used."""
        limited = []
        for kind, owner in (("token", identity.token), ("user", identity.user)):
            if owner.limits != UNLIMITED:
                meter = self.meters.by_owner.get((kind, owner.id))
                if meter is None or meter.limits is not owner.limits:
                    meter = self.meters.set_limits((kind, owner.id), owner.limits, now)
                limited.append((kind, meter))
        return limited


def _check(meter: Meter, owner: str, tokens: int | None, now: float) -> None:
    """Raises RateLimited where one more request of so many tokens is over a limit; None: of a request without
    tokens. `owner`: "user" or "token"."""
    concurrency = meter.limits.concurrency
    if concurrency is not None and meter.running + meter.running_elsewhere >= concurrency:
        message = f"{_OWNERS[owner]} may make {concurrency} requests at once."
        raise RateLimited(message, retry_after=CONCURRENCY_RETRY, reason=f"{owner}: {concurrency} requests at once")
    for bucket, amount, unit in ((meter.requests, 1, "requests"), (meter.tokens, tokens, "tokens")):
        if bucket is None or amount is None:
            continue
        wait = bucket.wait(amount, now)
        if wait > 0:
            message = f"{_OWNERS[owner]} may use {bucket.limit} {unit} a minute."
            reason = f"{amount} {unit}, {owner}: {bucket.limit} {unit} a minute, {bucket.left(now)} left"
            raise RateLimited(message, retry_after=wait, type=unit, reason=reason)


def _nearer(state: LimitState | None, bucket: Bucket | None, now: float) -> LimitState | None:
    if bucket is None:
        return state
    other = bucket.state(now)
    return other if state is None or other.left < state.left else state
