"""Long work in parts, with turns of the event loop in between."""

import asyncio
import time
from collections.abc import Callable

from chatgpt_agent.adapters.cooperative import HELD, PART, map_cooperatively, run_cooperatively
from chatgpt_agent.core.cooperative import Cooperative


async def turns_beside(work: Callable[[], object]) -> int:
    """How many turns others have while something is awaited."""
    count = 0

    async def others() -> None:
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await work()  # type: ignore[misc]
    task.cancel()
    return count


def steps(number: int, seconds: float) -> Cooperative[str]:
    for _ in range(number):
        time.sleep(seconds)
        yield
    return "made"


async def test_steps_make_what_they_return() -> None:
    """Whether there are any or not."""
    assert await run_cooperatively(steps(3, 0)) == await run_cooperatively(steps(0, 0)) == "made"


async def test_others_have_a_turn_after_each_long_step() -> None:
    """And not after each short one."""
    assert await turns_beside(lambda: run_cooperatively(steps(10, HELD))) >= 10
    assert await turns_beside(lambda: run_cooperatively(steps(10, 0))) < 10


async def test_rows_are_made_in_parts() -> None:
    """In their order, with a turn for others before each part."""
    rows = range(4 * PART + 1)
    assert await map_cooperatively(str, rows) == [*map(str, rows)]
    assert await turns_beside(lambda: map_cooperatively(str, rows)) >= 5
