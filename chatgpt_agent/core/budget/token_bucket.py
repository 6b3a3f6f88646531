"""Rate limits as OpenAI has them: a bucket that holds the amount of a minute and refills continuously.

https://platform.openai.com/docs/guides/rate-limits: a limit of 60 requests a minute lets one through each second, not
60 at once every minute; the headers state what is left and when the bucket is full again.
"""

import msgspec

MINUTE = 60.0

_REQUESTS = ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests")
_TOKENS = ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens")


class Bucket:
    """What may be used of one limit. `limit` is the amount of a minute and the capacity; times are in seconds."""

    __slots__ = ("_filled_at", "_level", "limit")

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self._level = float(limit)
        self._filled_at = now

    def change(self, limit: int, now: float) -> None:
        """Sets another limit; what was used stays used."""
        if limit != self.limit:
            self._level = self._refill(now) + limit - self.limit
            self.limit = limit

    def wait(self, amount: float, now: float) -> float:
        """Returns the seconds until the bucket holds an amount, at most until it is full."""
        level = self._level if now == self._filled_at else self._refill(now)
        missing = (amount if amount < self.limit else self.limit) - level
        return missing * MINUTE / self.limit if missing > 0 else 0.0

    def take(self, amount: float, now: float) -> None:
        """Takes an amount, even more than the bucket holds. A negative amount is given back."""
        level = (self._level if now == self._filled_at else self._refill(now)) - amount
        self._level = level if level < self.limit else float(self.limit)

    def used(self, now: float) -> float:
        """Returns how much is missing until the bucket is full."""
        return self.limit - self._refill(now)

    def left(self, now: float) -> int:
        """Returns how much may be taken now."""
        return max(0, int(self._refill(now)))

    def state(self, now: float) -> "LimitState":
        """Returns limit, how much may be taken now, and the seconds until the bucket is full."""
        level = self._level if now == self._filled_at else self._refill(now)
        return LimitState(self.limit, int(level) if level > 0 else 0, (self.limit - level) * MINUTE / self.limit)

    # A request looks some ten times in the same moment: these spare themselves the call of `_refill`.

    def _refill(self, now: float) -> float:
        if now != self._filled_at:
            level = self._level + (now - self._filled_at) * self.limit / MINUTE
            self._level = level if level < self.limit else float(self.limit)
            self._filled_at = now
        return self._level


class LimitState(msgspec.Struct, frozen=True):
    """The state of one limit for the headers of an answer; `reset` in seconds."""

    limit: int
    left: int
    reset: float


def rate_headers(requests: LimitState | None, tokens: LimitState | None) -> list[tuple[str, str]]:
    """Returns the `x-ratelimit-*` header fields, with OpenAI's names and format."""
    fields = []
    for (limit, left, reset), state in ((_REQUESTS, requests), (_TOKENS, tokens)):
        if state is not None:
            fields += [(limit, str(state.limit)), (left, str(state.left)), (reset, duration(state.reset))]
    return fields


def duration(seconds: float) -> str:
    """Returns a time as OpenAI writes it, rounded up to a millisecond: `20ms`, `1s`, `1m30.5s`, `2h0m0s`."""
    milliseconds = int(-(-seconds * 1000 // 1))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    whole, rest = divmod(milliseconds, 1000)
    minutes, whole = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{text}s"
