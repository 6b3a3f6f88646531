"""Limits by the minute, as OpenAI has them: a bucket that holds a minute's worth and fills by and by.

https://platform.openai.com/docs/guides/rate-limits: a limit of 60 requests a minute lets one through each second, not
60 at once every minute; the headers say what is left and when the bucket is full again.
"""

import msgspec

MINUTE = 60.0


class Bucket:
    """What may be taken of one thing. `limit`: a minute's worth, which is also the most it holds; times in seconds."""

    __slots__ = ("_filled_at", "_level", "limit")

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self._level = float(limit)
        self._filled_at = now

    def change(self, limit: int, now: float) -> None:
        """Another limit from now on; what was taken stays taken."""
        if limit != self.limit:
            self._level = self._filled(now) + limit - self.limit
            self._filled_at = now
            self.limit = limit

    def wait(self, amount: float, now: float) -> float:
        """Seconds until so much is there; 0: it is. More than it can ever hold is there when it is full."""
        missing = min(amount, self.limit) - self._filled(now)
        return max(0.0, missing * MINUTE / self.limit)

    def take(self, amount: float, now: float) -> None:
        """Takes it, whether it is there or not: what has been used has been used. A negative amount gives back."""
        self._level = min(self._filled(now) - amount, float(self.limit))
        self._filled_at = now

    def left(self, now: float) -> int:
        """How much may be taken at once."""
        return max(0, int(self._filled(now)))

    def full_in(self, now: float) -> float:
        """Seconds until it is full again."""
        return (self.limit - self._filled(now)) * MINUTE / self.limit

    def _filled(self, now: float) -> float:
        return min(float(self.limit), self._level + (now - self._filled_at) * self.limit / MINUTE)


class Rate(msgspec.Struct, frozen=True):
    """What the headers of an answer say of one limit: `reset` in seconds."""

    limit: int
    left: int
    reset: float


def rate_headers(requests: Rate | None, tokens: Rate | None) -> list[tuple[str, str]]:
    """The `x-ratelimit-*` header fields, with OpenAI's names and form."""
    fields = []
    for name, rate in (("requests", requests), ("tokens", tokens)):
        if rate is not None:
            fields += [
                (f"x-ratelimit-limit-{name}", str(rate.limit)),
                (f"x-ratelimit-remaining-{name}", str(rate.left)),
                (f"x-ratelimit-reset-{name}", duration(rate.reset)),
            ]
    return fields


def duration(seconds: float) -> str:
    """A time as OpenAI writes it: `20ms`, `1s`, `1m30.5s`, `2h0m0s`; never less than it is."""
    milliseconds = int(-(-seconds * 1000 // 1))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    whole, rest = divmod(milliseconds, 1000)
    minutes, whole = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{text}s"
