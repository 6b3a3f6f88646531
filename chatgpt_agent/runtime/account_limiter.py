"""How often a token may ask for its own account and usage, and a user may rotate tokens: PostgreSQL does the work."""

from collections.abc import Callable

from chatgpt_agent.core.budget.token_bucket import Bucket
from chatgpt_agent.core.errors import RateLimited

REQUESTS = 60  # a minute, and at once
ROTATIONS = 3  # a minute, and at once: each one adds a token for good


class AccountLimiter:
    """Counts what each owner, a token or a user, does. `clock`: monotonic seconds. `limit`: a minute, and at once.
    `message`: of the error, with `%d` for the limit."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        limit: int = REQUESTS,
        message: str = "Your token may ask for its account and usage %(limit)s times a minute.",
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._message = message
        self._buckets: dict[int, Bucket] = {}

    def count(self, owner: int) -> None:
        """Counts a request. Raises RateLimited where it is one too many, and then does not count it."""
        now = self._clock()
        bucket = self._buckets.get(owner)
        if bucket is None:
            bucket = self._buckets[owner] = Bucket(self._limit, now)
        wait = bucket.wait(1, now)
        if wait > 0:
            raise RateLimited(self._message % {"limit": self._limit}, retry_after=wait)
        bucket.take(1, now)


def rotation_limiter(clock: Callable[[], float]) -> AccountLimiter:
    """Returns the limiter of users who rotate tokens."""
    message = "Your user account may rotate tokens %(limit)s times a minute."
    return AccountLimiter(clock, limit=ROTATIONS, message=message)
