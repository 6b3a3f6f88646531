"""One connection to PostgreSQL through aiopg: made when it is needed, dropped at any doubt, made anew.

No pool: nothing on the request path waits for PostgreSQL, so each service has a connection of its own, and the
starving of waiters that aiopg's pool shows when connections die under it cannot happen.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiopg
import psycopg2
from psycopg2.extensions import make_dsn

from chatgpt_agent.core.errors import ConfigError, StoreError, StoreRejected, StoreUnavailable
from chatgpt_agent.edges.config import Config, host_and_port
from chatgpt_agent.edges.migrate import first_line

CHANNEL = "chatgpt_agent"
_REJECTED = (psycopg2.IntegrityError, psycopg2.ProgrammingError, psycopg2.NotSupportedError)
_BAD_VALUE = (psycopg2.DataError, ValueError)  # of the server, and of psycopg2 for NUL and lone surrogates

Line = tuple[Any, ...]


def dsn_from(config: Config) -> str:
    """The libpq connection string of a configuration that is not `embedded`. Raises ConfigError."""
    try:
        if config.database_url is not None:
            return str(make_dsn(config.database_url))
    except (psycopg2.Error, ValueError):  # ValueError: bytes that are not UTF-8
        raise ConfigError(
            ["database_url: found (not shown); allowed: embedded, a postgresql:// URL or a libpq connection string"]
        ) from None
    host, port = host_and_port(config.database_address)
    return str(
        make_dsn(
            host=host,
            port=port,
            user=config.database_username,
            password=config.database_password,
            dbname=config.database_name,
        )
    )


class Store:
    """A connection that heals. `seconds` bounds connecting and each statement, here and in the server."""

    def __init__(self, dsn: str, *, seconds: float = 10.0) -> None:
        self._dsn = dsn
        self._seconds = seconds
        self._connection: aiopg.Connection | None = None
        self._listening: aiopg.Connection | None = None  # a connection that nobody reads notices from must not get any
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> "Store":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Line]:
        """Runs one statement, which commits by itself, and returns its rows.
        Raises StoreUnavailable (it may have run or not), or StoreRejected."""
        async with self._lock, self._translated():
            connection = await self._connected()
            async with connection.cursor() as cursor:
                await cursor.execute(sql, parameters)
                return list(await cursor.fetchall()) if cursor.description else []

    async def wait_for_notice(self, seconds: float) -> None:
        """Returns when the directory has changed, and after `seconds` in any case. Raises StoreUnavailable."""
        async with self._lock, self._translated():
            connection = await self._connected()
            if self._listening is not connection:
                async with connection.cursor() as cursor:
                    await cursor.execute(f"LISTEN {CHANNEL}")
                self._listening = connection
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connection.notifies.get(), seconds)
            while not connection.notifies.empty():
                connection.notifies.get_nowait()

    async def close(self) -> None:
        """Ends the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg2.Error):
                await connection.close()

    async def _connected(self) -> aiopg.Connection:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        options = f"-c statement_timeout={int(self._seconds * 1000)} -c timezone=UTC"
        self._connection = await aiopg.connect(
            self._dsn,
            timeout=self._seconds,
            enable_json=False,
            enable_hstore=False,
            enable_uuid=False,
            application_name="chatgpt-agent",
            options=options,
        )
        return self._connection

    @contextlib.asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert task is not None
        cancels = task.cancelling()
        try:
            yield
            _find_lost_cancellation(task, cancels)
        except StoreError:
            raise
        except _BAD_VALUE as error:  # their text quotes the value
            raise StoreRejected(f"the database refuses a value: {type(error).__name__}") from None
        except _REJECTED as error:
            raise StoreRejected(f"the database refuses a statement: {first_line(error)}") from None
        except (psycopg2.Error, OSError, TimeoutError) as error:
            await self.close()
            _find_lost_cancellation(task, cancels)
            raise StoreUnavailable(f"the database cannot be used: {first_line(error)}") from None
        except asyncio.CancelledError:
            await self.close()
            if task.cancelling() > cancels:
                raise
            # aiopg turns the server's own QueryCanceled (statement_timeout) into this.
            raise StoreUnavailable(f"the database took over {self._seconds} s for a statement") from None


def _find_lost_cancellation(task: "asyncio.Task[object]", cancels: int) -> None:
    """Until Python 3.12 asyncio.wait_for, which aiopg uses, loses a cancellation that comes with the answer or the
    error that it waits for (https://github.com/python/cpython/issues/86296): who closes a service would then wait for
    its task for ever."""
    if task.cancelling() > cancels:
        raise asyncio.CancelledError
