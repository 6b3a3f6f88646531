"""The composition root: a fault in the background is not missed."""

import asyncio

from tests.fakes.agent import Agent


async def broken() -> None:
    """A fault in our own code."""
    raise ZeroDivisionError


async def test_a_background_task_that_dies_ends_the_agent(agent: Agent) -> None:
    """Revoked tokens would go on working without a word."""
    agent.server.directory._refresh = broken  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        await agent.server.stopping.wait()
    assert str(agent.server._fatal) == "the task directory has died: ZeroDivisionError"
