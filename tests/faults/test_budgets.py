"""Budgets while PostgreSQL is away."""

from collections.abc import Callable

import pytest

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.errors import StoreError
from chatgpt_agent.runtime.budget_store import PostgresBudgetStore
from tests.faults.conftest import Postgres
from tests.support.tcp_relay import Link


@pytest.fixture
def postgres(server: Postgres) -> str:
    """The databases of these tests are in a server that may be harmed."""
    return server.dsn


async def test_a_silent_connection_for_notices_is_replaced(link: Link, through: Callable[[], str]) -> None:
    """After a failover, the old server sends neither notices nor errors: the next connection listens again."""
    store = PostgresBudgetStore(Store(through()), Store(through(), seconds=0.5))
    assert await store.wait_for_changes(0.2) is None  # it has begun to listen
    assert await store.wait_for_changes(0.2) == set()
    link.freeze()
    with pytest.raises(StoreError):
        await store.wait_for_changes(0.2)
    link.thaw()
    assert await store.wait_for_changes(0.2) is None
    assert await store.wait_for_changes(0.2) == set()
    await store.close()
