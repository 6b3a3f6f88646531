"""Work on many rows in batches, between which the event loop can run other tasks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

BATCH = 200  # rows: 1 to 2 ms

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
