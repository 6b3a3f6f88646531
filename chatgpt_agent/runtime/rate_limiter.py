"""Requests a minute, tokens a minute, and requests at once, of users and of tokens.

Kept in the memory of one agent: several agents each admit their own share of the requests up to these limits.
"""

from collections.abc import Callable
from typing import Any

from chatgpt_agent.core.access.identity import Identity, RateLimits
from chatgpt_agent.core.budget.token_bucket import Bucket, rate_headers
from chatgpt_agent.core.errors import RateLimited

CONCURRENCY_RETRY = 1.0  # seconds: when one of the running requests will end cannot be known

_OWNERS = {"user": "Your user account", "token": "Your token"}
_UNLIMITED = RateLimits()


class _Meter:
    """What one user, or one token, has used of its limits."""

    __slots__ = ("limits", "requests", "running", "tokens")

    def __init__(self) -> None:
        self.limits = _UNLIMITED
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.running = 0

    def update_limits(self, limits: RateLimits, now: float) -> None:
        """Adopts limits that have changed."""
        self.limits = limits
        self.requests = _resized(self.requests, limits.rpm, now)
        self.tokens = _resized(self.tokens, limits.tpm, now)

    def check(self, owner: str, tokens: int | None, now: float) -> None:
        """Raises RateLimited where one more request of so many tokens is over a limit; None: of a request without
        tokens. `owner`: "user" or "token"."""
        concurrency = self.limits.concurrency
        if concurrency is not None and self.running >= concurrency:
            message = f"{_OWNERS[owner]} may make {concurrency} requests at once."
            raise RateLimited(message, retry_after=CONCURRENCY_RETRY, reason=f"{owner}: {concurrency} requests at once")
        for bucket, amount, unit in ((self.requests, 1, "requests"), (self.tokens, tokens, "tokens")):
            if bucket is None or amount is None:
                continue
            wait = bucket.wait(amount, now)
            if wait > 0:
                message = f"{_OWNERS[owner]} may use {bucket.limit} {unit} a minute."
                reason = f"{amount} {unit}, {owner}: {bucket.limit} {unit} a minute, {bucket.left(now)} left"
                raise RateLimited(message, retry_after=wait, type=unit, reason=reason)


class Slot:
    """The share of its limits that a request in progress has, until `release`."""

    __slots__ = ("_clock", "_shares")

    def __init__(self, shares: list[tuple[_Meter, int]], clock: Callable[[], float]) -> None:
        self._shares = shares  # of each meter, with the token count that was estimated
        self._clock = clock

    def settle(self, tokens: int) -> None:
        """Replaces the estimate by the token count. Without a call of this, the estimate stands."""
        now = self._clock()
        for meter, estimate in self._shares:
            if meter.tokens is not None:
                meter.tokens.take(tokens - estimate, now)
        self._shares = [(meter, tokens) for meter, _ in self._shares]

    def release(self) -> None:
        """Ends the request's part in the number of requests at once."""
        for meter, _ in self._shares:
            meter.running -= 1


_FREE = Slot([], lambda: 0.0)


class RateLimiter:
    """The limits of all users and tokens. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._meters: dict[tuple[str, int], _Meter] = {}

    @property
    def running(self) -> dict[tuple[str, int], int]:
        """Requests at once of each limited owner: ("user" or "token", id)."""
        return {owner: meter.running for owner, meter in self._meters.items()}

    def acquire(self, identity: Identity, tokens: int | None) -> Slot:
        """A slot for a request of about so many tokens; None: it has none, so that a limit of tokens does not apply.
        Raises RateLimited, and then nothing is counted."""
        now = self._clock()
        limited = self._limited(identity, now)
        if not limited:
            return _FREE
        for owner, meter in limited:
            meter.check(owner, tokens, now)
        shares = []
        for _, meter in limited:
            meter.running += 1
            if meter.requests is not None:
                meter.requests.take(1, now)
            estimate = 0 if meter.tokens is None or tokens is None else min(tokens, meter.tokens.limit)
            if meter.tokens is not None:
                meter.tokens.take(estimate, now)
            shares.append((meter, estimate))
        return Slot(shares, self._clock)

    def headers(self, identity: Identity) -> list[tuple[str, str]]:
        """The `x-ratelimit-*` header fields for an identity: of each limit the one that is nearest."""
        now = self._clock()
        requests = tokens = None
        for _, meter in self._limited(identity, now):
            requests = _nearer(requests, meter.requests, now)
            tokens = _nearer(tokens, meter.tokens, now)
        return rate_headers(
            None if requests is None else requests.state(now),
            None if tokens is None else tokens.state(now),
        )

    def status(self, identity: Identity) -> dict[str, dict[str, Any]]:
        """The limits of the user and of the token and what is left of each, as `GET /me` shows them. None: no limit."""
        now = self._clock()
        status = {}
        meters = dict(self._limited(identity, now))
        for owner, limits in (("user", identity.user.limits), ("token", identity.token.limits)):
            meter = meters.get(owner, _Meter())
            status[owner] = {
                "requests_per_minute": limits.rpm,
                "requests_left": None if meter.requests is None else meter.requests.left(now),
                "tokens_per_minute": limits.tpm,
                "tokens_left": None if meter.tokens is None else meter.tokens.left(now),
                "concurrent_requests": limits.concurrency,
                "requests_in_progress": meter.running if owner in meters else None,
            }
        return status

    def _limited(self, identity: Identity, now: float) -> list[tuple[str, _Meter]]:
        """Whose limits apply to a request, "token" or "user", and what of them is used."""
        limited = []
        for kind, owner in (("token", identity.token), ("user", identity.user)):
            if owner.limits != _UNLIMITED:
                meter = self._meters.get((kind, owner.id))
                if meter is None:
                    meter = self._meters[kind, owner.id] = _Meter()
                if meter.limits is not owner.limits:
                    meter.update_limits(owner.limits, now)
                limited.append((kind, meter))
        return limited


def _resized(bucket: Bucket | None, limit: int | None, now: float) -> Bucket | None:
    if limit is None:
        return None
    if bucket is None:
        return Bucket(limit, now)
    bucket.change(limit, now)
    return bucket


def _nearer(first: Bucket | None, second: Bucket | None, now: float) -> Bucket | None:
    if first is None or second is None:
        return first or second
    return second if second.left(now) < first.left(now) else first
