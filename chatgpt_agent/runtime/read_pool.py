"""Where tokens' holders read their own books: a few connections of their own, so that no reader, however slow, delays
a request to OpenAI, and not so many that PostgreSQL is kept from its work."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.errors import Overloaded, StoreError, UsageUnavailable
from chatgpt_agent.runtime.background import Throttle

log = logging.getLogger(__name__)

POOL_SIZE = 2  # readers at once
MAX_WAITING = 32  # that wait for a seat; one more is told to come again
STATEMENT_SECONDS = 2.0


class ReadPool:
    """Connections for readers, handed out one by one."""

    def __init__(self, dsn: str) -> None:
        self._stores = [Store(dsn, seconds=STATEMENT_SECONDS) for _ in range(POOL_SIZE)]
        self._free = list(self._stores)
        self._seats = asyncio.Semaphore(POOL_SIZE)
        self._waiting = 0
        self._warning = Throttle(log)

    @contextlib.asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """A connection for one reader. Raises Overloaded where too many wait for one, and turns every error of the
        database into UsageUnavailable."""
        if self._waiting >= MAX_WAITING:
            raise Overloaded("Too many are reading their books at once.")
        self._waiting += 1
        try:
            await self._seats.acquire()
        finally:
            self._waiting -= 1
        store = self._free.pop()
        try:
            yield store
        except StoreError as error:
            self._warning.warning("cannot read usage for a user: %s", error)
            raise UsageUnavailable from None
        finally:
            self._free.append(store)
            self._seats.release()

    async def close(self) -> None:
        """Ends the connections."""
        for store in self._stores:
            await store.close()
