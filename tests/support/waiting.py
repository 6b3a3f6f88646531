"""Waiting for a condition."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

SECONDS = 60.0  # a limit for what takes milliseconds, or a second: the machine may be slow, or busy


async def until(query: Callable[[], Any], accept: Callable[[Any], object] = bool, *, seconds: float = SECONDS) -> Any:
    """Calls a function or coroutine function until its result is accepted, by default a true one; returns the result.
    Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            result = query()
            if inspect.isawaitable(result):
                result = await result
            if accept(result):
                return result
            await asyncio.sleep(0.005)


async def until_steady(query: Callable[[], int], *, rounds: int = 30) -> int:
    """Calls a function until its result is not 0, and has been the same in so many rounds of the loop, 10 ms apart;
    returns it. While the machine stops for a moment, there is no round. Raises TimeoutError."""
    result = await until(query)
    left = rounds
    while left:
        await asyncio.sleep(0.01)
        now = query()
        left = left - 1 if now == result else rounds
        result = now
    return int(result)
