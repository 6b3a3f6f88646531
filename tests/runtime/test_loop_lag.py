"""The lag of the event loop is measured."""

import asyncio
import time

from chatgpt_agent.runtime.loop_lag import INTERVAL, LoopLag
from tests.support.waiting import until


async def test_blocked_loop_is_late() -> None:
    """A callback that takes 0.3 s lets the timer be late by the rest."""
    lag = LoopLag()
    lag.start()
    asyncio.get_running_loop().call_soon(time.sleep, INTERVAL + 0.2)
    await until(lambda: sum(lag.seconds.counts))
    lag.close()
    assert lag.seconds.sum >= 0.15


async def test_closed_measurement_ends() -> None:
    """No timer is left behind."""
    lag = LoopLag()
    lag.start()
    lag.close()
    await asyncio.sleep(INTERVAL * 1.5)
    assert sum(lag.seconds.counts) == 0
