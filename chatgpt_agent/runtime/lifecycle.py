"""Whether the agent takes requests, and how many requests are in progress."""

import asyncio


class Lifecycle:
    """Counts requests in progress, so that a shutdown can wait for them."""

    def __init__(self) -> None:
        self.draining = False
        self.in_progress = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __enter__(self) -> None:
        """Counts one request until the last byte of its answer is sent."""
        self.in_progress += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self.in_progress -= 1
        if self.in_progress == 0:
            self._idle.set()

    async def drain(self, seconds: float, *, hurry: asyncio.Event) -> bool:
        """Waits until no request is in progress; False where that takes longer than `seconds`, or `hurry` is set."""
        idle = asyncio.create_task(self.wait_idle(seconds), name="drain")
        hurried = asyncio.create_task(hurry.wait(), name="second signal")
        await asyncio.wait({idle, hurried}, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not idle.done():
            idle.cancel()
            return False
        return idle.result()

    async def wait_idle(self, seconds: float) -> bool:
        """Waits until no request is in progress; False where that takes longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
