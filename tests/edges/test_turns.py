"""Long work in parts, with turns of the event loop in between."""

import asyncio
import time
from collections.abc import Callable

from chatgpt_agent.core.steps import Steps
from chatgpt_agent.edges.turns import HELD, PART, in_turns, made_of


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


def steps(number: int, seconds: float) -> Steps[str]:
    for _ in range(number):
        time.sleep(seconds)
        yield
    return "made"


async def test_steps_make_what_they_return() -> None:
    """Whether there are any or not."""
    assert await in_turns(steps(3, 0)) == await in_turns(steps(0, 0)) == "made"


async def test_others_have_a_turn_after_each_long_step() -> None:
    """And not after each short one."""
    assert await turns_beside(lambda: in_turns(steps(10, HELD))) >= 10
    assert await turns_beside(lambda: in_turns(steps(10, 0))) < 10


async def test_rows_are_made_in_parts() -> None:
    """In their order, with a turn for others before each part."""
    rows = range(4 * PART + 1)
    assert await made_of(str, rows) == [*map(str, rows)]
    assert await turns_beside(lambda: made_of(str, rows)) >= 5
