"""Long work lets other tasks run in between."""

import asyncio
import time
from collections.abc import Awaitable

from chatgpt_agent.adapters.cooperative import BATCH, MAX_HOLD, map_cooperatively, run_cooperatively
from chatgpt_agent.core.cooperative import Cooperative


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


def slices(number: int, seconds: float) -> Cooperative[str]:
    for _ in range(number):
        time.sleep(seconds)
        yield
    return "result"


async def test_result_of_the_generator_is_returned() -> None:
    """A generator's result is returned, whether it yields or not."""
    assert await run_cooperatively(slices(3, 0)) == await run_cooperatively(slices(0, 0)) == "result"


async def test_other_tasks_run_after_each_long_slice() -> None:
    """Other tasks run whenever the work has held the loop for MAX_HOLD seconds, and not after every short slice."""
    assert await runs_of_others(run_cooperatively(slices(10, MAX_HOLD))) >= 10
    assert await runs_of_others(run_cooperatively(slices(10, 0))) < 10


async def test_work_without_slices_does_not_wait() -> None:
    """A generator that never yields is done before another task runs."""
    assert await runs_of_others(run_cooperatively(slices(0, 0))) == 0


async def test_rows_are_converted_in_batches() -> None:
    """All rows are converted in their order, and other tasks run before each batch."""
    rows = range(4 * BATCH + 1)
    assert await map_cooperatively(str, rows) == [*map(str, rows)]
    assert await runs_of_others(map_cooperatively(str, rows)) >= 5
