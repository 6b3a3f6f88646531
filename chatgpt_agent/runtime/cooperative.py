"""Runs long work of `core` on the event loop and lets other tasks run in between.

A thread would not help: the work is calls into C that hold the interpreter's lock.
"""

import asyncio
import time
from collections.abc import Callable

from chatgpt_agent.core.cooperative import Cooperative, Result

MAX_HOLD = 0.0005  # seconds; another request needs several iterations of the loop, and may wait this long in each


async def run_cooperatively(work: Cooperative[Result], *, clock: Callable[[], float] = time.perf_counter) -> Result:
    """Runs a generator to its end and returns its result. Lets other tasks run at its first yield, and then whenever
    it has held the loop for MAX_HOLD seconds; a generator that does not yield costs nothing more than a call."""
    resumed = float("-inf")
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
        if clock() - resumed >= MAX_HOLD:
            await asyncio.sleep(0)
            resumed = clock()
