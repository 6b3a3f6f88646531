"""Budgets while PostgreSQL is away."""

from collections.abc import Callable

import pytest

from chatgpt_agent.runtime import budgets as module
from tests.conftest import MakeAgent
from tests.faults.conftest import Postgres
from tests.support.tcp_relay import Link


@pytest.fixture
def postgres(server: Postgres) -> str:
    """For the `dsn` of each test: a database in a server that may be harmed."""
    return server.dsn


async def test_a_connection_that_died_without_a_word_is_made_anew(
    make_agent: MakeAgent, link: Link, through: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a failover, when the server that was listened to is gone: notices come again."""
    monkeypatch.setattr(module, "EARS_SECONDS", 0.2, raising=False)
    agent = await make_agent(database_url=through())
    budgets = agent.server.budgets
    await agent.until(lambda: budgets._ears._listening is not None)
    deaf = budgets._ears._listening
    budgets._ears._seconds = 0.5
    link.freeze()
    await agent.until(lambda: budgets._ears._connection is not deaf, seconds=5)
    link.thaw()
    await agent.until(lambda: budgets._ears._listening not in (None, deaf), seconds=10)
