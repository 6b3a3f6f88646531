"""The embedded PostgreSQL is started again when it dies; a start that fails is tried again, less and less often."""

import asyncio
import errno
import logging
import os

import pytest

from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.runtime.embedded_watch import EmbeddedWatch


class Course:
    """A server, which lives for some seconds after each start, and a watch whose sleeps take no time. `lives`: one for
    each start, None: it fails; after the last one all is over."""

    def __init__(self, *lives: int | None) -> None:
        self._lives = list(lives)
        self._dies_at = 0.0
        self.now = 0.0
        self.starts: list[float] = []  # seconds
        self.downs: list[bool] = []  # what readiness shows at each second
        self.watch = EmbeddedWatch(self, clock=lambda: self.now, sleep=self._sleep)

    def running_process(self) -> int | None:
        """Its process, while it lives."""
        return 7 if self.now < self._dies_at else None

    def runs_as(self, process: int) -> bool:
        """Whether it lives."""
        return self.running_process() == process

    def start_again(self) -> bool:
        """Starts it."""
        self.starts.append(self.now)
        life = self._lives.pop(0)
        if life is None:
            raise SetupError("the private PostgreSQL did not start")
        self._dies_at = self.now + life
        return True

    async def run(self) -> None:
        """Watches until the last life is over."""
        with pytest.raises(asyncio.CancelledError):
            await self.watch.watch_forever()

    async def _sleep(self, seconds: float) -> None:
        self.downs.append(self.watch.is_down)
        if not self._lives and self.now >= self._dies_at:
            raise asyncio.CancelledError
        self.now += seconds
        await asyncio.sleep(0)


class Unlucky(Course):
    """A server at which neither the first look nor the first start is possible."""

    _looks = 0

    def running_process(self) -> int | None:
        self._looks += 1
        if self._looks == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().running_process()

    def start_again(self) -> bool:
        try:
            return super().start_again()
        except SetupError:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None


async def test_dead_server_is_started_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """Readiness shows that it is down, and then that it is not; the log has both."""
    course = Course(100)
    await course.run()
    assert course.starts == [1.0]
    assert course.downs[:4] == [False, True, True, False]
    assert [record.levelno for record in caplog.records[:2]] == [logging.ERROR, logging.WARNING]


@pytest.mark.parametrize("life", [None, 0, 1])
async def test_server_that_does_not_stay_alive_is_started_less_often(life: int | None) -> None:
    """Up to once a minute, whether its start fails or it dies soon after it."""
    course = Course(*[life] * 10)
    await course.run()
    gaps = [later - earlier for earlier, later in zip(course.starts, course.starts[1:], strict=False)]
    assert gaps == [1 + delay for delay in (1, 2, 4, 8, 16, 32, 60, 60, 60)]  # it is looked at after a second


async def test_server_that_was_stable_is_started_at_once_again() -> None:
    """Its next end has nothing to do with the ones before."""
    course = Course(None, None, 100, 5)
    await course.run()
    third, fourth = course.starts[2:]
    assert fourth == third + 100


async def test_error_of_the_system_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    """Such as a full disk, on which no file can be created: the agent goes on, and its rows wait in the outbox."""
    course = Unlucky(None, 100)
    await course.run()
    assert course.now > 100
    assert sum("No space left on device" in record.getMessage() for record in caplog.records) == 2
