"""Long work lets other tasks run in between."""

import time

from chatgpt_agent.core.cooperative import Cooperative
from chatgpt_agent.runtime.cooperative import MAX_HOLD, run_cooperatively
from tests.support.tasks import runs_of_others


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
