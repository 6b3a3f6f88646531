"""One connection to PostgreSQL through aiopg: opened when needed, closed after any doubtful error, opened again.

There is no pool. Nothing on the request path waits for PostgreSQL, so each service has a connection of its own; and
aiopg's pool does not wake waiters when connections die under it.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Self

import aiopg
import psycopg2
from psycopg2.extensions import QueryCanceledError, make_dsn

from chatgpt_agent.adapters.cooperative import BATCH
from chatgpt_agent.adapters.migrate import first_line
from chatgpt_agent.adapters.postgres.casts import register_casts
from chatgpt_agent.adapters.postgres.dsn import addresses
from chatgpt_agent.adapters.postgres.priority import lower_priority
from chatgpt_agent.adapters.postgres.session import apply_settings, session_settings, share_sessions, split_options
from chatgpt_agent.adapters.postgres.stable_descriptor import StableDescriptor
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.errors import StoreBadValue, StoreError, StoreRejected, StoreUnavailable

log = logging.getLogger(__name__)

CHANNEL = "chatgpt_agent"  # of notices about changes of the directory
SPENT_CHANNEL = "chatgpt_agent_spent"  # of notices about users whose spending or reservations have changed
ALL_USERS = "*"  # in such a notice: too many users to list, or another number of agents
CONNECT_SECONDS = 2.0  # for one address; then the next one is tried
SERVER_SECONDS = 1.0  # added to the server's limit: aiopg logs an error whenever the server gives up first
_REJECTED = (psycopg2.ProgrammingError, psycopg2.NotSupportedError)
_BAD_VALUE = (psycopg2.DataError, ValueError)  # psycopg2 raises ValueError for NUL and lone surrogates

SqlRow = tuple[Any, ...]

# Sets what the audit triggers read, until the end of the transaction.
_SET_ACTOR = "SELECT " + ", ".join(
    f"set_config('chatgpt_agent.{name}', %s, true)" for name in ("actor", "via", "address", "at")
)


class Store:
    """A connection that reconnects. `seconds` limits each statement, here and in the server, and each attempt to
    connect; `background`: where the server is on this machine, it leaves the processors to others: it uses one process
    for a statement, with a low priority where the agent may set that."""

    connects = 0  # how often it has connected: each time another server may answer

    def __init__(self, dsn: str, *, seconds: float = 10.0, background: bool = False) -> None:
        self.dsn = dsn
        self._dsn, _ = split_options(dsn)
        self._settings = session_settings(dsn, seconds=seconds + SERVER_SECONDS, parallel=not background)
        self._background = background
        self._prefix = ""  # of each statement on this connection
        self.seconds = seconds
        self._connection: aiopg.Connection | None = None
        self._listening: aiopg.Connection | None = None  # the connection that has LISTEN active, if any
        self._without_notices: aiopg.Connection | None = None  # the connection on which LISTEN would be of no use
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[SqlRow]:
        """Runs one statement, which commits by itself, and returns its rows. Raises StoreUnavailable (the statement may
        have run), StoreRejected or StoreBadValue."""
        async with self._lock, self._mapped_errors():
            connection = await self._connected()
            async with connection.cursor(timeout=self.seconds) as cursor:
                await cursor.execute(self._prefix + sql, parameters)
                return await _all_rows(cursor) if cursor.description else []

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Makes the statements of a context one transaction, which an exception undoes. It has no other users of this
        connection, and the server ends it after 10 s without a statement. Raises StoreUnavailable."""
        await self.fetch("BEGIN; SET LOCAL idle_in_transaction_session_timeout = '10s'")
        try:
            yield
        except BaseException:
            await self.close()  # the server rolls back
            raise
        await self.fetch("COMMIT")

    def with_actor(self, actor: Actor, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> "AuditedStore":
        """Returns the same connection with an actor for the audit log."""
        return AuditedStore(self, actor, now)

    async def wait_for_notice(self, seconds: float, channel: str = CHANNEL) -> list[str] | None:
        """Waits up to `seconds` for notices on a channel, always the same one, and returns their payloads. The first
        call on a connection only starts to listen and returns None: earlier notices are lost. So is every call
        behind a pooler that shares sessions, after `seconds`. Raises StoreUnavailable."""
        async with self._lock, self._mapped_errors():
            connection = await self._connected()
            if self._without_notices is connection:
                await asyncio.sleep(seconds)
                await self._run(connection, "SELECT")  # fails after a restart of the pooler, whose mode may be another
                return None
            if self._listening is not connection:
                await self._start_listening(connection, channel, seconds)
                return None
            payloads = _waiting_notices(connection)
            if payloads:
                return payloads
            with contextlib.suppress(TimeoutError):
                payloads.append((await asyncio.wait_for(connection.notifies.get(), seconds)).payload)
            return payloads + _waiting_notices(connection)

    async def _start_listening(self, connection: aiopg.Connection, channel: str, seconds: float) -> None:
        """LISTEN would stay with a session that others get, too: notices would reach them, or end the session."""
        if await self._is_shared(connection):
            self._without_notices = connection
            log.warning(
                "no notices on %s: the pooler shares sessions (pool_mode = transaction); looking every %s s instead",
                channel,
                seconds,
            )
            return
        await self._run(connection, f"LISTEN {channel}")
        self._listening = connection

    async def is_pooled(self) -> bool:
        """Whether a pooler such as PgBouncer stands before the server. Raises StoreUnavailable."""
        async with self._lock, self._mapped_errors():
            await self._connected()
            return bool(self._prefix)

    async def shares_sessions(self) -> bool:
        """Whether a pooler gives this connection another session of the server for each transaction, in which nothing
        stays. Raises StoreUnavailable."""
        async with self._lock, self._mapped_errors():
            return await self._is_shared(await self._connected())

    async def _is_shared(self, connection: aiopg.Connection) -> bool:
        if not self._prefix:
            return False
        try:
            other = await self._connect()
        except (psycopg2.OperationalError, OSError, TimeoutError):  # a full pool: no other session is to be had
            return False
        try:
            return await share_sessions(connection, other, seconds=self.seconds)
        finally:
            await other.close()

    async def _run(self, connection: aiopg.Connection, sql: str) -> None:
        async with connection.cursor(timeout=self.seconds) as cursor:
            await cursor.execute(sql)

    async def ping(self) -> None:
        """Runs an empty statement: a server that vanished without closing the connection sends no notices either.
        Raises StoreUnavailable."""
        await self.fetch("SELECT")

    async def close(self) -> None:
        """Closes the connection. The next statement opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg2.Error):
                await connection.close()

    async def _close_if_listening(self) -> None:
        """aiopg stops the notices of a connection at any failed statement, and raises that error whenever one waits for
        notices, although the connection works."""
        if self._listening is self._connection:
            await self.close()

    async def _connected(self) -> aiopg.Connection:
        if self._connection is None or self._connection.closed:
            await self.close()
            self._connection = await self._connect()
            self.connects += 1
        return self._connection

    async def _connect(self) -> aiopg.Connection:
        failure: Exception = psycopg2.OperationalError("the connection string names no address")
        # Closed here: else the event loop would close it in a task of its own, some time after the return.
        async with contextlib.aclosing(addresses(self._dsn)) as places:
            async for address in places:
                try:
                    return await self._connect_to(address)
                except (psycopg2.OperationalError, OSError, TimeoutError) as error:
                    failure = error
        raise failure

    async def _connect_to(self, address: dict[str, str]) -> aiopg.Connection:
        seconds = min(self.seconds, CONNECT_SECONDS)
        connection = await aiopg.connect(
            make_dsn(self._dsn, application_name="chatgpt-agent", client_encoding="UTF8", **address),
            timeout=seconds,
            enable_json=False,
            enable_hstore=False,
            enable_uuid=False,
            connection_factory=StableDescriptor,
        )
        try:
            register_casts(connection.raw)
            self._prefix = await apply_settings(connection, self._settings, seconds=seconds)
            if self._background:
                lower_priority(connection.raw)
        except BaseException:
            await connection.close()
            raise
        return connection

    @contextlib.asynccontextmanager
    async def _mapped_errors(self) -> AsyncIterator[None]:
        """Raises errors of psycopg2 and aiopg as StoreError. No message contains a value."""
        task = asyncio.current_task()
        assert task is not None
        cancels = task.cancelling()
        try:
            yield
            _raise_lost_cancellation(task, cancels)
        except StoreError:
            raise
        except _BAD_VALUE as error:  # the text of the error quotes the value
            await self._close_if_listening()
            raise StoreBadValue(f"the database rejects a value: {type(error).__name__}") from None
        except psycopg2.IntegrityError as error:
            await self._close_if_listening()
            raise StoreBadValue(f"the database rejects a row: {first_line(error)}") from None
        except _REJECTED as error:
            await self._close_if_listening()
            raise StoreRejected(f"the database rejects a statement: {first_line(error)}") from None
        except (psycopg2.Error, OSError, TimeoutError) as error:
            await self.close()
            _raise_lost_cancellation(task, cancels)
            raise StoreUnavailable(f"the database is unavailable: {first_line(error)}") from None
        except asyncio.CancelledError as error:
            await self.close()
            # aiopg turns the server's QueryCanceled (statement_timeout) into CancelledError. The count of cancellations
            # alone does not tell: the task may have been cancelled before its statement began.
            if task.cancelling() > cancels or not isinstance(error.__context__, QueryCanceledError):
                raise
            raise StoreUnavailable(f"the database took over {self.seconds} s for a statement") from None


class AuditedStore:
    """A store that sets the actor of the audit log before each statement, in the same transaction."""

    def __init__(self, store: Store, actor: Actor, now: Callable[[], datetime]) -> None:
        self._store = store
        self._actor = actor
        self._now = now

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[SqlRow]:
        """As `Store.fetch`. Several statements separated by semicolons are one transaction (PostgreSQL's protocol,
        "Multiple Statements in a Simple Query"); the rows are those of the last one."""
        actor = self._actor
        settings = [actor.name, actor.via.value, actor.address, self._now().isoformat()]
        return await self._store.fetch(f"{_SET_ACTOR}; {sql}", [*settings, *parameters])


AnyStore = Store | AuditedStore


def to_sql(value: object) -> object:
    """Returns a value as psycopg2 adapts it to a column: a tuple would become a row, a list becomes an array."""
    return list(value) if isinstance(value, tuple) else value


def from_sql(value: object) -> object:
    """Returns an array of a column as a tuple of texts, whatever an edit in SQL has put into it; other values as they
    are."""
    return tuple(map(str, value)) if isinstance(value, list) else value


def _waiting_notices(connection: aiopg.Connection) -> list[str]:
    """Returns the payloads of the notices that have come. aiopg does not tell of those that libpq has read together
    with the answer to a statement: the socket is quiet then."""
    connection.raw.poll()
    notices = []
    while not connection.notifies.empty():
        notices.append(connection.notifies.get_nowait())
    notices += connection.raw.notifies
    connection.raw.notifies.clear()
    return [notice.payload for notice in notices]


async def _all_rows(cursor: aiopg.Cursor) -> list[SqlRow]:
    """Returns all rows of a result, in batches: psycopg2 converts the values now, which takes 2 µs a row and more."""
    rows: list[SqlRow] = []
    while len(batch := await cursor.fetchmany(BATCH)) == BATCH:
        rows += batch
        await asyncio.sleep(0)
    return rows + batch if rows else batch


def _raise_lost_cancellation(task: "asyncio.Task[object]", cancels: int) -> None:
    """Until Python 3.12 asyncio.wait_for, which aiopg uses, loses a cancellation that arrives together with the result
    or error (https://github.com/python/cpython/issues/86296). A service that closes would then wait for its task
    forever."""
    if task.cancelling() > cancels:
        raise asyncio.CancelledError
