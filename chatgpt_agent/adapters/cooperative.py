"""Long work on the event loop that lets other tasks run in between.

A thread would not help: the work is calls into C that hold the interpreter's lock.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from chatgpt_agent.core.cooperative import Cooperative

BATCH = 200  # rows: 1 to 2 ms
MAX_HOLD = 0.0005  # seconds; another request needs several iterations of the loop, and may wait this long in each

Row = TypeVar("Row")
Result = TypeVar("Result")


async def batches(rows: Sequence[Row]) -> AsyncIterator[Sequence[Row]]:
    """Yields the rows in batches, after one iteration of the loop for each."""
    for start in range(0, len(rows), BATCH):
        await asyncio.sleep(0)
        yield rows[start : start + BATCH]


async def map_cooperatively(convert: Callable[[Row], Result], rows: Sequence[Row]) -> list[Result]:
    """Returns `convert(row)` of each row."""
    results: list[Result] = []
    async for batch in batches(rows):
        results.extend(map(convert, batch))
    return results


async def run_cooperatively(work: Cooperative[Result]) -> Result:
    """Runs a generator to its end and returns its result. Lets other tasks run at its first yield, and then whenever
    it has held the loop for MAX_HOLD seconds; a generator that does not yield costs nothing more than a call."""
    resumed = float("-inf")
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
        if time.perf_counter() - resumed >= MAX_HOLD:
            await asyncio.sleep(0)
            resumed = time.perf_counter()
