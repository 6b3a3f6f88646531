"""The number of requests in progress, and the wait for their end."""

import asyncio

import pytest

from chatgpt_agent.runtime.lifecycle import Lifecycle
from tests.support.waiting import SECONDS


async def test_without_requests_it_is_idle() -> None:
    """A shutdown without requests does not wait."""
    assert await Lifecycle().wait_idle(0)


async def test_requests_count_until_they_end() -> None:
    """The number goes up with each request, and down with its end."""
    lifecycle = Lifecycle()
    with lifecycle, lifecycle:
        assert lifecycle.in_progress == 2
    assert lifecycle.in_progress == 0


async def test_a_request_that_fails_has_ended() -> None:
    """A shutdown does not wait for a request that raised an exception."""
    lifecycle = Lifecycle()
    with pytest.raises(RuntimeError), lifecycle:
        raise RuntimeError
    assert await lifecycle.wait_idle(0)


async def test_wait_ends_after_its_time() -> None:
    """The result is False if a request is still in progress."""
    lifecycle = Lifecycle()
    with lifecycle:
        assert not await lifecycle.wait_idle(0.01)


async def test_wait_ends_with_the_last_request() -> None:
    """The end of another request before it does not end the wait."""
    lifecycle = Lifecycle()
    with lifecycle:
        with lifecycle:
            waiting = asyncio.create_task(lifecycle.wait_idle(30), name="wait")
        await asyncio.sleep(0)
        assert not waiting.done()
    async with asyncio.timeout(SECONDS):
        assert await waiting


async def test_a_request_after_an_idle_time_counts() -> None:
    """Becoming idle is not final."""
    lifecycle = Lifecycle()
    with lifecycle:
        pass
    with lifecycle:
        assert not await lifecycle.wait_idle(0)


async def test_drain_ends_with_the_last_request() -> None:
    """The result is True if all requests ended in time."""
    lifecycle = Lifecycle()
    with lifecycle:
        draining = asyncio.create_task(lifecycle.drain(30, hurry=asyncio.Event()), name="drain")
        await asyncio.sleep(0)
    assert await draining


async def test_drain_is_cut_short_by_a_second_signal() -> None:
    """The result is False at once, although there would be time left."""
    lifecycle, hurry = Lifecycle(), asyncio.Event()
    with lifecycle:
        draining = asyncio.create_task(lifecycle.drain(30, hurry=hurry), name="drain")
        await asyncio.sleep(0)
        hurry.set()
        async with asyncio.timeout(SECONDS):
            assert not await draining
