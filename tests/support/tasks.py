"""Other tasks on the loop of a test."""

import asyncio
from collections.abc import Awaitable


async def runs_of_others(work: Awaitable[object]) -> int:
    """Returns how often another task runs while `work` is awaited."""
    runs = 0

    async def other() -> None:
        nonlocal runs
        while True:
            runs += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await work
    task.cancel()
    return runs
