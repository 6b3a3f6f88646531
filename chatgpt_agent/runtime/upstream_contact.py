"""When OpenAI last answered this agent, and when a request last failed."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from chatgpt_agent.core.errors import ClientClosed
from chatgpt_agent.core.ledger import Outcome

SERVER_ERROR = 500  # from this status on, OpenAI could not answer


class UpstreamContact:
    """The last outcomes since the start of the agent. `answered_at`: OpenAI has answered a request, also with an error
    of the request; `failed_at`: it did not, or with an error of its own, and `error` is the code of the agent or the
    HTTP status. None: that has not happened."""

    def __init__(
        self, now: Callable[[], datetime] = lambda: datetime.now(UTC), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._clock = clock
        self._noted_at = float("-inf")  # by the clock, which is never set back
        self.answered_at: datetime | None = None
        self.failed_at: datetime | None = None
        self.error: str | None = None

    @property
    def seconds_since(self) -> float:
        """Seconds since the last outcome; infinite before the first."""
        return self._clock() - self._noted_at

    def note(self, outcome: Outcome) -> None:
        """Notes how a request ended. A client that disconnects says nothing about OpenAI."""
        failed_itself = outcome.status is not None and outcome.status >= SERVER_ERROR
        if failed_itself or outcome.error not in (None, ClientClosed.code):
            self.failed_at = self._now()
            self.error = outcome.error or f"HTTP {outcome.status}"
        elif outcome.status is not None:
            self.answered_at = self._now()
        else:
            return
        self._noted_at = self._clock()
