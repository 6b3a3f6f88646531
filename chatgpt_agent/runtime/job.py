"""Long work that an admin starts and does not wait for: one at a time, with its state and its last result."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Generic, TypeVar

import msgspec

from chatgpt_agent.core.errors import AgentError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Run(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One run. `ended_at` None: it goes on. It ends with a `result` or with an `error`."""

    by: str
    started_at: datetime
    ended_at: datetime | None = None
    result: T | None = None
    error: AgentError | None = None


class Job(Generic[T]):
    """The work of one kind. An error of it is part of its result: the agent goes on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self.last: Run[T] | None = None  # the one that goes on, or else the last one

    @property
    def running(self) -> bool:
        """Whether the work goes on."""
        return self._task is not None and not self._task.done()

    def start(self, work: Callable[[], Awaitable[T]], *, by: str) -> bool:
        """Starts the work, unless it goes on already. Returns whether it was started."""
        if self.running:
            return False
        self.last = Run(by=by, started_at=datetime.now(UTC))
        self._task = asyncio.create_task(self._run(self.last, work), name=self._name)
        return True

    async def wait(self) -> None:
        """Waits until the work has ended, if it goes on."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def close(self) -> None:
        """Cancels the work and waits until it has ended."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, run: Run[T], work: Callable[[], Awaitable[T]]) -> None:
        result: T | None = None
        error: AgentError | None = None
        try:
            result = await work()
        except AgentError as failure:
            error = failure
        except Exception:
            log.exception("the job %s failed", self._name)
            error = AgentError()
        self.last = msgspec.structs.replace(run, ended_at=datetime.now(UTC), result=result, error=error)
