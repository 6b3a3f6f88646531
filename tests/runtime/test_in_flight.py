"""Whether requests are under way, and waiting for their end."""

import asyncio

import pytest

from chatgpt_agent.runtime.in_flight import Lifecycle


async def test_nothing_under_way_is_idle() -> None:
    """A shutdown without requests waits for nothing."""
    assert await Lifecycle().wait_idle(0)


async def test_a_request_counts_to_its_end() -> None:
    """And no longer."""
    lifecycle = Lifecycle()
    with lifecycle.request(), lifecycle.request():
        assert lifecycle.in_flight == 2
    assert lifecycle.in_flight == 0


async def test_a_request_that_fails_has_ended_too() -> None:
    """Else a shutdown would wait for it for ever."""
    lifecycle = Lifecycle()
    with pytest.raises(RuntimeError), lifecycle.request():
        raise RuntimeError
    assert await lifecycle.wait_idle(0)


async def test_waiting_is_cut_short() -> None:
    """The time is up, and something is still under way."""
    lifecycle = Lifecycle()
    with lifecycle.request():
        assert not await lifecycle.wait_idle(0.01)


async def test_waiting_ends_with_the_last_request() -> None:
    """And not with the one before it."""
    lifecycle = Lifecycle()
    with lifecycle.request():
        with lifecycle.request():
            waiting = asyncio.create_task(lifecycle.wait_idle(30))
        await asyncio.sleep(0)
        assert not waiting.done()
    async with asyncio.timeout(5):
        assert await waiting


async def test_a_request_after_idleness_counts_again() -> None:
    """Idle is not for good."""
    lifecycle = Lifecycle()
    with lifecycle.request():
        pass
    with lifecycle.request():
        assert not await lifecycle.wait_idle(0)
