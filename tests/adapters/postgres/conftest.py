"""The store of the tests of SQL."""

from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import ensure_partition
from tests.support.factories import NOON, this_month_and_next


@pytest.fixture
def store(io_loop: IOLoop, dsn: str) -> Iterator[Store]:
    """A connection to the test's own database."""
    store = Store(dsn)
    yield store
    io_loop.run_sync(store.close)


@pytest.fixture
def partitions(io_loop: IOLoop, store: Store) -> None:
    """The partitions that the checks of the ledger require, and that of the tests' rows."""

    async def fill() -> None:
        for month in (NOON, *this_month_and_next()):
            await ensure_partition(store, month)

    io_loop.run_sync(fill)
