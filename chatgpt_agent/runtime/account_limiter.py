"""How often a token may ask for its own account and usage, which PostgreSQL answers."""

from collections.abc import Callable

from chatgpt_agent.core.budget.token_bucket import Bucket
from chatgpt_agent.core.errors import RateLimited

REQUESTS = 60  # a minute, and at once


class AccountLimiter:
    """Counts such requests of each token. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[int, Bucket] = {}

    def count(self, token_id: int) -> None:
        """Counts a request. Raises RateLimited where it is one too many, and then does not count it."""
        now = self._clock()
        bucket = self._buckets.get(token_id)
        if bucket is None:
            bucket = self._buckets[token_id] = Bucket(REQUESTS, now)
        wait = bucket.wait(1, now)
        if wait > 0:
            message = f"Your token may ask for its account and usage {REQUESTS} times a minute."
            raise RateLimited(message, retry_after=wait)
        bucket.take(1, now)
