"""Long work in parts: with a turn of the event loop between two of them, nobody waits for all of it.

Calls into C hold the interpreter's lock all the while, so that a thread would not help the others."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from chatgpt_agent.core.cooperative import Cooperative

PART = 200  # rows: 1 to 2 ms
HELD = 0.0005  # seconds that steps may go on: a request of others needs several turns, and waits so long in each

Given = TypeVar("Given")
Made = TypeVar("Made")


async def batches(rows: Sequence[Given]) -> AsyncIterator[Sequence[Given]]:
    """The rows in slices, with a turn of the loop before each."""
    for start in range(0, len(rows), PART):
        await asyncio.sleep(0)
        yield rows[start : start + PART]


async def map_cooperatively(make: Callable[[Given], Made], rows: Sequence[Given]) -> list[Made]:
    """What a function makes of each row."""
    found: list[Made] = []
    async for part in batches(rows):
        found.extend(map(make, part))
    return found


async def run_cooperatively(steps: Cooperative[Made]) -> Made:
    """What steps make, with a turn of the loop before them, and wherever they have stopped and held it for so long."""
    began = float("-inf")
    while True:
        if time.perf_counter() - began >= HELD:
            await asyncio.sleep(0)
            began = time.perf_counter()
        try:
            next(steps)
        except StopIteration as end:
            made: Made = end.value
            return made
