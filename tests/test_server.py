"""The composition root: a fault in the background is not missed, and files are shared out."""

import asyncio

import pytest

from chatgpt_agent.server import ADMIN_CONNECTIONS, RESERVED_FILES, split_file_limit
from tests.support.agent import Agent


async def broken() -> None:
    """A fault in our own code."""
    raise ZeroDivisionError


async def test_a_background_task_that_dies_ends_the_agent(agent: Agent) -> None:
    """Revoked tokens would go on working without a word."""
    agent.server.directory._refresh = broken  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        await agent.server.stopping.wait()
    assert str(agent.server._fatal) == "the task directory died: ZeroDivisionError"


async def test_rows_are_shipped_before_it_says_that_it_is_ready(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ends it as soon as it is ready leaves no row of the last run behind."""
    server, order = agent.server, []
    monkeypatch.setattr(server.ledger, "start_shipping", lambda: _note(order, "ships"))
    monkeypatch.setattr(server.directory, "start", lambda _: _note(order, "ready"))
    monkeypatch.setattr(server.budgets, "start", lambda _: _note(order, "budgets"))
    monkeypatch.setattr(server.alerts, "start", lambda: None)
    monkeypatch.setattr(server.uses, "start", lambda: None)
    await server._open_database()
    assert order == ["ships", "ready", "budgets"]


async def _note(order: list[str], what: str) -> None:
    order.append(what)


@pytest.mark.parametrize(
    ("limit", "asked", "transfers"),
    [(96, 1000, 12), (1024, 1000, 476), (20_000, 1000, 1000), (1 << 30, 100_000, 100_000)],
)
def test_files_are_shared_out_below_their_limit(limit: int, asked: int, transfers: int) -> None:
    """Transfers and connections together, with what the process needs for itself; each transfer has a connection."""
    found, connections = split_file_limit(limit, asked)
    assert found == transfers
    assert connections >= found
    assert found + connections + RESERVED_FILES + ADMIN_CONNECTIONS <= limit


def test_with_hardly_a_file_there_is_still_one_each() -> None:
    """What then fails is accepting, and that rests."""
    assert split_file_limit(10, 1000) == (1, 1)
