"""Background tasks with a name and an owner, and warnings that are logged at most once in a while."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)

WARN_SECONDS = 60.0
MAX_REASONS = 10  # of a warning, that are logged in this time

OnDeath = Callable[[str, Exception], None]  # called with the name of the task and its exception


def report_to_loop(name: str, error: Exception) -> None:
    """Hands the exception of a dead task to the event loop's exception handler."""
    asyncio.get_running_loop().call_exception_handler({"message": f"the task {name} died", "exception": error})


class Background:
    """The tasks of one service. A task that ends by an exception is logged and reported to `on_death`: otherwise rows
    would pile up, or revoked tokens go on working, without a sign."""

    def __init__(self, on_death: OnDeath = report_to_loop) -> None:
        self._on_death = on_death
        self._tasks: list[asyncio.Task[None]] = []

    def __contains__(self, name: str) -> bool:
        """Whether a task of this name was started."""
        return any(task.get_name() == name for task in self._tasks)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Starts a task, which runs until it returns or `close` cancels it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        task.add_done_callback(self._on_end)

    async def close(self) -> None:
        """Cancels the tasks and waits until all have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception):
            log.critical("the task %s died", task.get_name(), exc_info=error)
            self._on_death(task.get_name(), error)


class Throttle:
    """Logs warnings, at most one in `seconds`; with `by_reason`, at most one of each reason. `clock` is monotonic
    seconds."""

    def __init__(
        self,
        log: logging.Logger,
        *,
        seconds: float = WARN_SECONDS,
        by_reason: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._seconds = seconds
        self._by_reason = by_reason
        self._clock = clock
        self._logged_at: dict[str, float] = {}  # by reason

    def warning(self, message: str, *values: object) -> None:
        """Logs a warning, unless one of the same reason was logged less than `seconds` ago. The reason is the last of
        the values, unless that is a number."""
        now = self._clock()
        self._logged_at = {reason: at for reason, at in self._logged_at.items() if now - at < self._seconds}
        has_reason = self._by_reason and values and not isinstance(values[-1], int | float)
        reason = str(values[-1]) if has_reason else ""
        if reason not in self._logged_at and len(self._logged_at) < MAX_REASONS:
            self._logged_at[reason] = now
            self._log.warning(message, *values, stacklevel=2)

    def reset(self) -> None:
        """Lets the next warning through: what the last one was about is over."""
        self._logged_at.clear()
