"""Long work that is started and not waited for."""

import asyncio
import logging

import pytest

from chatgpt_agent.core.errors import StoreUnavailable
from chatgpt_agent.runtime.job import Job


async def answer() -> int:
    """Ends with a result."""
    return 7


async def test_result_is_kept() -> None:
    """With who started it, and when it ended."""
    job = Job[int]("count")
    assert job.start(answer, by="carol")
    assert job.running
    await job.wait()
    assert job.last is not None
    assert (job.running, job.last.by, job.last.result, job.last.ended_at is not None) == (False, "carol", 7, True)


async def test_one_runs_at_a_time() -> None:
    """A second one is not started; after the end, another one can be."""
    job = Job[int]("count")
    assert job.start(answer, by="carol")
    assert not job.start(answer, by="dora")
    await job.wait()
    assert job.last is not None
    assert job.last.by == "carol"
    assert job.start(answer, by="dora")
    await job.close()


async def test_error_is_the_result() -> None:
    """The process goes on."""

    async def fail() -> int:
        raise StoreUnavailable("away")

    job = Job[int]("count")
    job.start(fail, by="carol")
    await job.wait()
    assert job.last is not None
    assert (str(job.last.error), job.last.result) == ("away", None)


async def test_unexpected_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The result is an error without its text, which may hold a value."""

    async def fail() -> int:
        raise ZeroDivisionError("made-up value")

    job = Job[int]("count")
    job.start(fail, by="carol")
    await job.wait()
    assert job.last is not None
    assert "made-up" not in str(job.last.error)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "the job count failed")
    ]


async def test_close_cancels() -> None:
    """It waits until the work has ended."""
    events: list[str] = []

    async def work() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            events.append("ended")
        return 1

    job = Job[int]("count")
    job.start(work, by="carol")
    await asyncio.sleep(0)
    await job.close()
    assert (events, job.running) == (["ended"], False)


async def test_close_without_work_returns() -> None:
    """Nothing was ever started."""
    await Job[int]("count").close()
