"""Requests a minute, tokens a minute, and requests at once, of users and of tokens.

In the memory of one agent: several agents each let their own share of the requests through these limits.
"""

from collections.abc import Callable
from typing import Any

from chatgpt_agent.core.access.admission import Identity
from chatgpt_agent.core.access.admission import Limits as Allowed
from chatgpt_agent.core.budget.token_bucket import Bucket, Rate, rate_headers
from chatgpt_agent.core.errors import RateLimited

CONCURRENCY_RETRY = 1.0  # seconds: nobody knows when one of the others ends


_YOURS = {"user": "Your user account", "token": "Your token"}


class _Meter:
    """What one user, or one token, has taken."""

    __slots__ = ("requests", "running", "tokens")

    def __init__(self) -> None:
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.running = 0

    def fit(self, allowed: Allowed, now: float) -> None:
        """Takes the limits over, which may have changed."""
        self.requests = _fitted(self.requests, allowed.rpm, now)
        self.tokens = _fitted(self.tokens, allowed.tpm, now)


class Slot:
    """A place within the limits, held until `done`."""

    __slots__ = ("_clock", "_taken")

    def __init__(self, taken: list[tuple[_Meter, int]], clock: Callable[[], float]) -> None:
        self._taken = taken  # of each meter, so many tokens
        self._clock = clock

    def used(self, tokens: int) -> None:
        """Says how many tokens it took in the place of the guess. Where nobody says so, the guess stands."""
        now = self._clock()
        for meter, guessed in self._taken:
            if meter.tokens is not None:
                meter.tokens.take(tokens - guessed, now)
        self._taken = [(meter, tokens) for meter, _ in self._taken]

    def done(self) -> None:
        """Gives the place back."""
        for meter, _ in self._taken:
            meter.running -= 1


_FREE = Slot([], lambda: 0.0)


class Limits:
    """What everybody has taken. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._meters: dict[tuple[str, int], _Meter] = {}

    def take(self, identity: Identity, tokens: int) -> Slot:
        """A place for a request of about so many tokens. Raises RateLimited, and then nothing is taken."""
        found = self._found(identity)
        if not found:
            return _FREE
        now = self._clock()
        for of, allowed, meter in found:
            meter.fit(allowed, now)
            if allowed.concurrency is not None and meter.running >= allowed.concurrency:
                raise RateLimited(
                    f"{_YOURS[of]} may make {allowed.concurrency} requests at once.", retry_after=CONCURRENCY_RETRY
                )
            for bucket, amount, what in ((meter.requests, 1, "requests"), (meter.tokens, tokens, "tokens")):
                wait = bucket.wait(amount, now) if bucket is not None else 0.0
                if wait > 0 and bucket is not None:
                    said = f"{_YOURS[of]} may use {bucket.limit} {what} a minute."
                    raise RateLimited(said, retry_after=wait, type=what)
        taken = []
        for _, _, meter in found:
            meter.running += 1
            if meter.requests is not None:
                meter.requests.take(1, now)
            guessed = 0 if meter.tokens is None else min(tokens, meter.tokens.limit)
            if meter.tokens is not None:
                meter.tokens.take(guessed, now)
            taken.append((meter, guessed))
        return Slot(taken, self._clock)

    def headers(self, identity: Identity) -> list[tuple[str, str]]:
        """The `x-ratelimit-*` header fields of who is asking: of each limit the one that is nearest."""
        found = self._found(identity)
        if not found:
            return []
        now = self._clock()
        for _, allowed, meter in found:
            meter.fit(allowed, now)
        return rate_headers(
            _nearest([meter.requests for _, _, meter in found], now),
            _nearest([meter.tokens for _, _, meter in found], now),
        )

    def status(self, identity: Identity) -> dict[str, dict[str, Any]]:
        """The limits of the user and of the token and what is left of each, for them to read. None: no limit."""
        now = self._clock()
        said = {}
        meters = {of: meter for of, _, meter in self._found(identity)}
        for of, allowed in (("user", identity.user.limits), ("token", identity.token.limits)):
            meter = meters.get(of, _Meter())
            meter.fit(allowed, now)
            said[of] = {
                "requests_per_minute": allowed.rpm,
                "requests_left": None if meter.requests is None else meter.requests.left(now),
                "tokens_per_minute": allowed.tpm,
                "tokens_left": None if meter.tokens is None else meter.tokens.left(now),
                "concurrent_requests": allowed.concurrency,
                "requests_under_way": meter.running if of in meters else None,
            }
        return said

    def _found(self, identity: Identity) -> list[tuple[str, Allowed, _Meter]]:
        found = []
        for of, owner in (("token", identity.token), ("user", identity.user)):
            if owner.limits != _UNLIMITED:
                meter = self._meters.get((of, owner.id))
                if meter is None:
                    meter = self._meters[of, owner.id] = _Meter()
                found.append((of, owner.limits, meter))
        return found


_UNLIMITED = Allowed()


def _fitted(bucket: Bucket | None, limit: int | None, now: float) -> Bucket | None:
    if limit is None:
        return None
    if bucket is None:
        return Bucket(limit, now)
    bucket.change(limit, now)
    return bucket


def _nearest(buckets: list[Bucket | None], now: float) -> Rate | None:
    rates = [Rate(bucket.limit, bucket.left(now), bucket.full_in(now)) for bucket in buckets if bucket is not None]
    return min(rates, key=lambda rate: rate.left, default=None)
