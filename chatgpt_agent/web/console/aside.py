"""Rendering beside the event loop, in a thread that lets the loop go first.

Threads share one interpreter. A thread that computes hands it over after 5 ms, and a relayed request waits for it some
six times. So the thread that renders a page rests between two cells: the loop then waits half a millisecond at most.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

WORK_SECONDS = 0.0005
REST_SECONDS = 0.0001  # enough for a thread that waits for the interpreter

_thread = threading.local()


async def aside(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Returns the result of `work`, which calls `give_way` now and then, from a thread."""

    def run() -> T:
        _thread.rested = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            del _thread.rested

    return await asyncio.to_thread(run)


def give_way() -> None:
    """Rests if this thread has worked long enough. Does nothing outside of `aside`, such as in the loop's thread."""
    rested: float | None = getattr(_thread, "rested", None)
    if rested is not None and time.perf_counter() - rested > WORK_SECONDS:
        time.sleep(REST_SECONDS)
        _thread.rested = time.perf_counter()
