"""The store of the tests of SQL."""

from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.connection import Store


@pytest.fixture
def store(io_loop: IOLoop, dsn: str) -> Iterator[Store]:
    """A connection to the test's own database."""
    store = Store(dsn)
    yield store
    io_loop.run_sync(store.close)
