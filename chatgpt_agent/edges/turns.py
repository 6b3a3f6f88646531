"""Long work on many rows, in parts: with a turn of the event loop between two of them, nobody waits for all of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

PART = 500  # rows: 2 to 5 ms

Given = TypeVar("Given")
Made = TypeVar("Made")


async def in_parts(rows: Sequence[Given]) -> AsyncIterator[Sequence[Given]]:
    """The rows in slices, with a turn of the loop before each."""
    for start in range(0, len(rows), PART):
        await asyncio.sleep(0)
        yield rows[start : start + PART]


async def made_of(make: Callable[[Given], Made], rows: Sequence[Given]) -> list[Made]:
    """What a function makes of each row."""
    found: list[Made] = []
    async for part in in_parts(rows):
        found.extend(map(make, part))
    return found
