"""How late the event loop is: while it is busy with one thing, all others wait."""

import asyncio
import time

from chatgpt_agent.core.metrics import LOOP_LAG
from chatgpt_agent.runtime.histogram import Histogram

INTERVAL = 0.1  # seconds between two looks, each of which costs 10 µs or so


class LoopLag:
    """Measures from `start` to `close`; `seconds` has the delays."""

    def __init__(self) -> None:
        self.seconds = Histogram(LOOP_LAG.buckets)
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Starts to measure the running loop."""
        self._set_timer(asyncio.get_running_loop())

    def close(self) -> None:
        """Stops measuring."""
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not by the loop's own clock: uvloop's has milliseconds, and stands still while a callback runs.
        self._due = time.monotonic() + INTERVAL
        self._timer = loop.call_later(INTERVAL, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds.add(max(0.0, time.monotonic() - self._due))
        self._set_timer(loop)
