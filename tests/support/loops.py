"""Event loops for tests, which report tasks that are left behind and exceptions that are lost."""

import asyncio
from pathlib import Path

from tornado.ioloop import IOLoop

TESTS = str(Path(__file__).parent.parent)
ROUNDS = 20  # of the loop, in which bytes go from a socket to the coroutine that reads them
UPSTREAM = str(Path(__file__).parent / "upstream.py")  # its tasks live as long as their connections


class StrictLoop:
    """An IOLoop that remembers the exceptions that no code has handled."""

    def __init__(self) -> None:
        self.io_loop = IOLoop(make_current=False)
        self._loop: asyncio.AbstractEventLoop = self.io_loop.asyncio_loop
        self._lost: list[str] = []
        self._loop.set_exception_handler(lambda _, context: self._lost.append(str(context)))

    def make_current(self) -> None:
        """Makes it the loop that code without a running loop sees."""
        asyncio.set_event_loop(self._loop)

    def check_test(self) -> None:
        """Fails if a test that shares this loop with others has left a task of its own behind, or lost an exception."""
        leaked = {task for task in asyncio.all_tasks(self._loop) if _is_of_test(task)}
        self._cancel(leaked)
        lost, self._lost = self._lost, []
        asyncio.set_event_loop(None)
        assert not leaked, leaked
        assert not lost, lost

    def close(self) -> None:
        """Closes the loop. Fails if any task is left behind, or an exception was lost."""
        self.make_current()
        leaked = asyncio.all_tasks(self._loop)
        self._cancel(leaked)
        self.io_loop.run_sync(self._loop.shutdown_default_executor)
        asyncio.set_event_loop(None)
        self.io_loop.close()
        assert not leaked, leaked
        assert not self._lost, self._lost

    def _cancel(self, tasks: set["asyncio.Task[object]"]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            self.io_loop.run_sync(lambda: asyncio.gather(*tasks, return_exceptions=True))


async def handle_all() -> None:
    """Returns when the running loop has handled what has arrived by now. What is sent over loopback arrives at once."""
    for _ in range(ROUNDS):
        await asyncio.sleep(0)


def skip_time(seconds: float) -> None:
    """Lets the running loop's clock go forward, so that its timers until then are due. The timeout of the test is one
    of them."""
    loop = asyncio.get_running_loop()
    clock = loop.time
    loop.time = lambda: clock() + seconds  # type: ignore[method-assign]  # only for this loop


def run_timers() -> None:
    """Runs the timers of the running loop that are due. uvloop does so before it looks at its sockets, asyncio's own
    loop after it."""
    loop = asyncio.get_running_loop()
    for timer in sorted(loop._scheduled):  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way
        if timer.when() <= loop.time() and not timer.cancelled():
            timer._run()  # noqa: SLF001
            timer.cancel()


def _is_of_test(task: "asyncio.Task[object]") -> bool:
    """Whether a task runs code of a test, and not of the agent or of the fake upstream."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(TESTS) and code.co_filename != UPSTREAM
