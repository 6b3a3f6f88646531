"""A small pool of connections for usage queries of users, apart from the request path: they neither delay a request to
OpenAI nor load PostgreSQL with more than POOL_SIZE statements at once."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.errors import Overloaded, StoreError, UsageUnavailable
from chatgpt_agent.runtime.background import Throttle

log = logging.getLogger(__name__)

POOL_SIZE = 2
MAX_WAITING = 32  # queries that wait for a connection; one more is refused
STATEMENT_SECONDS = 2.0


class ReadPool:
    """Connections to PostgreSQL, one for each query at a time."""

    def __init__(self, dsn: str) -> None:
        self._stores = [Store(dsn, seconds=STATEMENT_SECONDS, background=True) for _ in range(POOL_SIZE)]
        self._free = list(self._stores)
        self._slots = asyncio.Semaphore(POOL_SIZE)
        self.waiting = 0  # queries that wait for a connection
        self._warning = Throttle(log)

    @contextlib.asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """A connection for one query. Raises Overloaded if too many queries wait for one; errors of the database become
        UsageUnavailable."""
        if self.waiting >= MAX_WAITING:
            raise Overloaded("Too many concurrent usage queries.")
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        store = self._free.pop()
        try:
            yield store
        except StoreError as error:
            self._warning.warning("cannot read usage for a user: %s", error)
            raise UsageUnavailable from None
        finally:
            self._free.append(store)
            self._slots.release()

    async def close(self) -> None:
        """Ends the connections."""
        for store in self._stores:
            await store.close()
