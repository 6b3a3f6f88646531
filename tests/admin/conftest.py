"""Fixtures: the use cases of administrators, without an agent."""

from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.admin.administration import Administration
from tests.support.administration import administration_on


@pytest.fixture
def administration(io_loop: IOLoop, dsn: str) -> Iterator[Administration]:
    """The use cases, on a database of the test's own."""
    administration = administration_on(dsn)
    yield administration
    io_loop.run_sync(administration.stores.close)
