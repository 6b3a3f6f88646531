"""Pages are rendered in a thread that lets the event loop go first."""

import threading
import time

import pytest

from chatgpt_agent.web.console.aside import REST_SECONDS, WORK_SECONDS, aside, give_way


def render(steps: int) -> str:
    """Works a little longer than a thread may at once, several times; returns the name of the thread."""
    for _ in range(steps):
        end = time.perf_counter() + 1.1 * WORK_SECONDS
        while time.perf_counter() < end:
            pass
        give_way()
    return threading.current_thread().name


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rests of all threads, in seconds, which are not taken."""
    rests: list[float] = []
    monkeypatch.setattr(time, "sleep", rests.append)
    return rests


async def test_work_rests_in_its_thread(rests: list[float]) -> None:
    """After each half millisecond."""
    assert await aside(render, 3) != threading.current_thread().name
    assert rests == [REST_SECONDS] * 3


async def test_short_work_does_not_rest(rests: list[float]) -> None:
    """Neither at its beginning."""
    await aside(give_way)
    assert rests == []


def test_the_thread_of_the_loop_does_not_rest(rests: list[float]) -> None:
    """Pages of errors are rendered there."""
    render(3)
    assert rests == []


async def test_an_error_is_raised() -> None:
    """As that of the work itself."""
    with pytest.raises(ZeroDivisionError):
        await aside(divmod, 1, 0)
