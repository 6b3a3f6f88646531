"""Long work lets other tasks run in between."""

from chatgpt_agent.core.cooperative import Cooperative
from chatgpt_agent.runtime.cooperative import MAX_HOLD, run_cooperatively
from tests.support.clock import Clock
from tests.support.tasks import runs_of_others


def slices(number: int, seconds: float, clock: Clock) -> Cooperative[str]:
    for _ in range(number):
        clock.now += seconds
        yield
    return "result"


async def run(number: int, seconds: float) -> str:
    """Runs slices of so many seconds."""
    clock = Clock()
    return await run_cooperatively(slices(number, seconds, clock), clock=clock)


async def test_result_of_the_generator_is_returned() -> None:
    """A generator's result is returned, whether it yields or not."""
    assert await run(3, 0) == await run(0, 0) == "result"


async def test_other_tasks_run_after_each_long_slice() -> None:
    """Other tasks run whenever the work has held the loop for MAX_HOLD seconds, and not after every short slice."""
    assert await runs_of_others(run(10, MAX_HOLD * 1.01)) >= 10
    assert await runs_of_others(run(10, 0)) < 10


async def test_work_without_slices_does_not_wait() -> None:
    """A generator that never yields is done before another task runs."""
    assert await runs_of_others(run(0, 0)) == 0
