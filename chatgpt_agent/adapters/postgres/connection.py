"""One connection to PostgreSQL through aiopg: made when it is needed, dropped at any doubt, made anew.

No pool: nothing on the request path waits for PostgreSQL, so each service has a connection of its own, and the
starving of waiters that aiopg's pool shows when connections die under it cannot happen.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Self

import aiopg
import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.config_checks import host_and_port
from chatgpt_agent.adapters.cooperative import BATCH
from chatgpt_agent.adapters.migrate import first_line
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.errors import ConfigError, StoreBadValue, StoreError, StoreRejected, StoreUnavailable

CHANNEL = "chatgpt_agent"
CONNECT_SECONDS = 2.0  # for one address: then the next one is tried
SERVER_SECONDS = 1.0  # more, for the server: where it is the first to give up, aiopg logs an error each time
_REJECTED = (psycopg2.ProgrammingError, psycopg2.NotSupportedError)
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


_ACT = "SELECT " + ", ".join(
    f"set_config('chatgpt_agent.{name}', %s, true)" for name in ("actor", "via", "address", "at")
)


class Store:
    """A connection that heals. `seconds` bounds each statement, here and in the server, and each try to connect."""

    def __init__(self, dsn: str, *, seconds: float = 10.0) -> None:
        self._dsn = dsn
        self._seconds = seconds
        self._connection: aiopg.Connection | None = None
        self._listening: aiopg.Connection | None = None  # a connection that nobody reads notices from must not get any
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Line]:
        """Runs one statement, which commits by itself, and returns its rows.
        Raises StoreUnavailable (it may have run or not), or StoreRejected."""
        async with self._lock, self._translated():
            connection = await self._connected()
            async with connection.cursor(timeout=self._seconds) as cursor:
                await cursor.execute(sql, parameters)
                return await _all_rows(cursor) if cursor.description else []

    def with_actor(self, actor: Actor, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> "AuditedStore":
        """The same connection, for changes that the audit log tells of somebody."""
        return AuditedStore(self, actor, now)

    async def wait_for_notice(self, seconds: float, channel: str = CHANNEL) -> list[str] | None:
        """Returns when notices have come on a channel, which must be the same each time, and after `seconds` in any
        case: what they say; None where it begins to listen, so that some may have been missed.
        Raises StoreUnavailable."""
        async with self._lock, self._translated():
            connection = await self._connected()
            if self._listening is not connection:
                async with connection.cursor(timeout=self._seconds) as cursor:
                    await cursor.execute(f"LISTEN {channel}")
                self._listening = connection
                return None
            found = []
            with contextlib.suppress(TimeoutError):
                found.append((await asyncio.wait_for(connection.notifies.get(), seconds)).payload)
            while not connection.notifies.empty():
                found.append(connection.notifies.get_nowait().payload)
            return found

    async def ping(self) -> None:
        """Asks the server something, because one that is gone without a word sends no notices, and says nothing of it.
        Raises StoreUnavailable."""
        await self.fetch("SELECT")

    async def close(self) -> None:
        """Ends the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg2.Error):
                await connection.close()

    async def _stop_listening(self) -> None:
        """aiopg ends a connection's notices at any error of a statement, and raises that error whenever they are asked
        for, though the connection is well: one that listens is of no use then."""
        if self._listening is self._connection:
            await self.close()

    async def _connected(self) -> aiopg.Connection:
        if self._connection is None or self._connection.closed:
            await self.close()
            self._connection = await self._connect()
        return self._connection

    async def _connect(self) -> aiopg.Connection:
        failure: Exception = psycopg2.OperationalError("the connection string names no address")
        async for place in _addresses(self._dsn):
            try:
                return await aiopg.connect(
                    make_dsn(self._dsn, application_name="chatgpt-agent", options=self._options(), **place),
                    timeout=min(self._seconds, CONNECT_SECONDS),
                    enable_json=False,
                    enable_hstore=False,
                    enable_uuid=False,
                    connection_factory=_OwnDescriptor,
                )
            except (psycopg2.OperationalError, OSError, TimeoutError) as error:
                failure = error
        raise failure

    def _options(self) -> str:
        """Of the session, behind those of the connection string. A commit is on the server's disk when it returns,
        whatever the server's own default: the outbox forgets its copy then."""
        limit = int((self._seconds + SERVER_SECONDS) * 1000)
        own = f"-c statement_timeout={limit} -c timezone=UTC -c synchronous_commit=on"
        return f"{parse_dsn(self._dsn).get('options', '')} {own}".strip()

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
            await self._stop_listening()
            raise StoreBadValue(f"the database refuses a value: {type(error).__name__}") from None
        except psycopg2.IntegrityError as error:
            await self._stop_listening()
            raise StoreBadValue(f"the database refuses a row: {first_line(error)}") from None
        except _REJECTED as error:
            await self._stop_listening()
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


async def _all_rows(cursor: aiopg.Cursor) -> list[Line]:
    """The rows of an answer that has come, of which psycopg2 makes Python's values now: 2 µs a row and more."""
    found: list[Line] = []
    while len(part := await cursor.fetchmany(BATCH)) == BATCH:
        found += part
        await asyncio.sleep(0)
    return found + part if found else part


def _find_lost_cancellation(task: "asyncio.Task[object]", cancels: int) -> None:
    """Until Python 3.12 asyncio.wait_for, which aiopg uses, loses a cancellation that comes with the answer or the
    error that it waits for (https://github.com/python/cpython/issues/86296): who closes a service would then wait for
    its task for ever."""
    if task.cancelling() > cancels:
        raise asyncio.CancelledError


class _OwnDescriptor(psycopg2.extensions.connection):
    """A connection with a file descriptor that stays open until it is closed here. aiopg gives it to the event loop.

    libpq closes its own at any fault, before aiopg can take it back from the loop. uvloop, which was waiting to write,
    then refuses that number for ever, to whoever gets it next: RuntimeError, the handler is closed."""

    _own: int | None = None

    def fileno(self) -> int:
        if self._own is None:
            self._own = os.dup(super().fileno())
        return self._own

    def poll(self) -> int:
        state: int = super().poll()
        if self._own is not None and not os.path.sameopenfile(self._own, super().fileno()):
            # Of the ways to connect that sslmode=prefer allows, the first was refused: nobody would hear of the second.
            raise psycopg2.OperationalError("the server refuses the first way to connect: choose one with sslmode")
        return state

    def close(self) -> None:
        super().close()
        own, self._own = self._own, None
        if own is not None:
            os.close(own)


class AuditedStore:
    """A store in somebody's name: who it is goes before each statement, in one transaction with it."""

    def __init__(self, store: Store, actor: Actor, now: Callable[[], datetime]) -> None:
        self._store = store
        self._actor = actor
        self._now = now

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Line]:
        """As the store's. Several statements with semicolons between them are one transaction (PostgreSQL's protocol,
        "Multiple Statements in a Simple Query"); the rows are those of the last."""
        actor = self._actor
        who = [actor.name, actor.via.value, actor.address, self._now().isoformat()]
        return await self._store.fetch(f"{_ACT}; {sql}", [*who, *parameters])


AnyStore = Store | AuditedStore


async def _addresses(dsn: str) -> AsyncIterator[dict[str, str]]:
    """Every host of a connection string, and every address of its name, in order, as what to connect to.

    libpq would go through them by itself, but with a new socket for each, of which aiopg is not told: it waits for the
    first one. And libpq looks a name up in the thread that asks, while the loop stands still."""
    parsed = parse_dsn(dsn)
    hosts, ports = parsed.get("host", "").split(","), parsed.get("port", "").split(",")
    if "hostaddr" in parsed or len(ports) not in (1, len(hosts)):  # addresses already, or a fault that libpq names
        yield {}
        return
    for host, port in zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=True):
        place = {name: value for name, value in (("host", host), ("port", port)) if value}
        if not host or host.startswith(("/", "@")):  # a socket of this machine
            yield place
            continue
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            if host == hosts[-1]:
                raise psycopg2.OperationalError(f"{host}: {error.strerror}") from None
            continue
        for *_, address in found:
            yield {**place, "hostaddr": str(address[0])}
