"""A connection to a real PostgreSQL: reconnecting, cancellation, errors without values, and notices."""

import asyncio
import contextlib
import errno
import gc
import os
import select
import socket
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import aiopg
import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.cooperative import BATCH
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.errors import StoreError, StoreRejected, StoreUnavailable
from tests.adapters.postgres.records import add_user
from tests.support.database import connected, end_connections, query
from tests.support.factories import NOON
from tests.support.waiting import SECONDS, until


@pytest.fixture
def shared(io_loop: IOLoop, postgres: str) -> Iterator[Store]:
    """A connection to a database without tables, which all tests share."""
    store = Store(postgres)
    yield store
    io_loop.run_sync(store.close)


@pytest.fixture
def impatient(io_loop: IOLoop, postgres: str) -> Iterator[Store]:
    """A connected store with a limit of 0.2 seconds for a statement."""
    # aiopg also reports a timeout to the exception handler of the loop.
    asyncio.get_event_loop().set_exception_handler(lambda *_: None)
    store = Store(postgres)
    io_loop.run_sync(store.ping)
    store.seconds = 0.2
    yield store
    io_loop.run_sync(store.close)


async def test_rows_of_a_large_result_are_in_order(shared: Store) -> None:
    """A result is returned whole, whatever the number of its batches."""
    for count in (0, 1, BATCH - 1, BATCH, 2 * BATCH, 2 * BATCH + 1):
        assert await shared.fetch("SELECT generate_series(1, %s)", [count]) == [(n,) for n in range(1, count + 1)]


async def test_a_statement_returns_its_rows(shared: Store) -> None:
    """Rows are tuples."""
    assert await shared.fetch("SELECT 1, %s", ["a"]) == [(1, "a")]


async def test_a_statement_without_rows_returns_an_empty_list(shared: Store) -> None:
    """A statement that returns nothing is no error."""
    assert await shared.fetch("SET work_mem = '8MB'") == []


async def test_connection_without_a_file_left_ends_quietly(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is reached with the last file descriptor is unavailable, and no exception is lost."""

    def refuse(_: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("os.dup", refuse)
    with pytest.raises(StoreUnavailable, match="Too many open files"):
        await shared.fetch("SELECT 1")
    gc.collect()  # what cannot be deleted is reported by pytest


async def test_numeric_values_are_exact_decimals(shared: Store) -> None:
    """Amounts are never floats."""
    [(amount,)] = await shared.fetch("SELECT 0.1::numeric + 0.2")
    assert (type(amount), amount) == (Decimal, Decimal("0.3"))


async def test_times_are_in_utc(shared: Store) -> None:
    """The time zone of the server has no effect."""
    [(moment,)] = await shared.fetch("SELECT %s::timestamptz", [datetime.fromisoformat("2024-05-17T14:00:00+02:00")])
    assert (moment, moment.utcoffset()) == (NOON, timedelta(0))


async def test_a_statement_commits_by_itself(store: Store, dsn: str) -> None:
    """Another connection sees the change when the call returns."""
    await store.fetch("INSERT INTO settings VALUES ('a', 'b')")
    assert query(dsn, "SELECT value FROM settings WHERE name = 'a'") == [("b",)]


async def test_concurrent_statements_run_one_after_another(shared: Store) -> None:
    """All statements of a store share its connection."""
    rows = await asyncio.gather(*(shared.fetch("SELECT %s::int", [n]) for n in range(20)))
    assert rows == [[(n,)] for n in range(20)]


async def test_a_store_reconnects_after_its_connection_ends(shared: Store, postgres: str) -> None:
    """At most one statement fails, and the next one has a new connection."""
    await shared.fetch("SELECT 1")
    end_connections(postgres)
    await asyncio.gather(shared.fetch("SELECT 1"), return_exceptions=True)
    assert await shared.fetch("SELECT 2") == [(2,)]


async def test_connecting_leaves_nothing_for_the_event_loop_to_close(postgres: str) -> None:
    """A generator of addresses that is left early would be closed in a task of its own, which a loop that ends cancels
    (Python 3.13 shows it)."""
    closed_by_loop: list[object] = []
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(hooks.firstiter, closed_by_loop.append)
    try:
        async with Store(postgres) as store:
            await store.ping()
    finally:
        sys.set_asyncgen_hooks(*hooks)
    assert closed_by_loop == []


async def test_a_statement_whose_connection_ends_is_unavailable(shared: Store, postgres: str) -> None:
    """StoreUnavailable means that the statement may have run."""
    task = asyncio.create_task(shared.fetch("SELECT pg_sleep(60)"))
    while not await asyncio.to_thread(end_connections, postgres):
        await asyncio.sleep(0.01)
    with pytest.raises(StoreUnavailable):
        await task


async def test_a_slow_statement_is_unavailable(impatient: Store) -> None:
    """A timeout is not a cancellation, which would silently end the calling task."""
    with pytest.raises(StoreUnavailable, match="no answer in time"):
        async with asyncio.timeout(SECONDS):
            await impatient.fetch("SELECT pg_sleep(60)")
    impatient.seconds = SECONDS
    assert await impatient.fetch("SELECT 1") == [(1,)]


async def test_the_server_has_a_longer_statement_timeout(postgres: str) -> None:
    """The server stops a statement a second after the store gave up, to release its locks."""
    async with Store(postgres, seconds=SECONDS) as store:
        assert await store.fetch("SHOW statement_timeout") == [(f"{SECONDS + 1:g}s",)]


async def test_a_statement_timeout_of_the_server_is_unavailable(postgres: str) -> None:
    """aiopg raises CancelledError for it, which must not cancel the task."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with Store(postgres) as store:
        await store.fetch("SET statement_timeout = 50")
        with pytest.raises(StoreUnavailable, match=r"the database took over 10\.0 s for a statement"):
            await store.fetch("SELECT pg_sleep(5)")


async def test_a_statement_can_be_cancelled(shared: Store) -> None:
    """A service that closes does not wait for its statement."""
    await shared.fetch("SELECT 1")
    task = asyncio.create_task(shared.fetch("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.05)
    task.cancel()
    async with asyncio.timeout(SECONDS):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await shared.fetch("SELECT 1") == [(1,)]


async def test_a_cancellation_before_the_statement_is_a_cancellation(shared: Store) -> None:
    """The statement is not reported as one that took too long."""

    async def cancelled() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await shared.fetch("SELECT pg_sleep(10)")

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(cancelled())


async def test_a_transaction_is_committed_at_its_end(store: Store, dsn: str) -> None:
    """Other connections see its changes then, and not before."""
    async with store.transaction():
        await store.fetch("INSERT INTO settings VALUES ('x', 'y')")
        assert query(dsn, "SELECT value FROM settings WHERE name = 'x'") == []
    assert query(dsn, "SELECT value FROM settings WHERE name = 'x'") == [("y",)]


async def test_an_exception_undoes_a_transaction(store: Store) -> None:
    """The connection can be used again."""
    with contextlib.suppress(OSError):
        async with store.transaction():
            await store.fetch("INSERT INTO settings VALUES ('x', 'y')")
            raise OSError
    assert await store.fetch("SELECT value FROM settings WHERE name = 'x'") == []


async def test_a_cancellation_at_the_time_of_the_result_is_not_lost(shared: Store) -> None:
    """A lost cancellation would make a shutdown wait forever."""
    for turns in range(100):
        task = asyncio.create_task(shared.fetch("SELECT 1"))
        for _ in range(turns % 20):
            await asyncio.sleep(0)
        cancelled = task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled() == cancelled


async def test_a_timeout_of_the_caller_is_a_timeout(shared: Store) -> None:
    """The timeout of the caller is not reported as an error of the database."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await shared.fetch("SELECT pg_sleep(60)")


async def test_an_unreachable_database_is_unavailable() -> None:
    """The error is one line without the password."""
    async with Store("host=/nowhere user=agent password=hunter2 dbname=agent") as store:
        with pytest.raises(StoreUnavailable, match="the database is unavailable") as caught:
            await store.fetch("SELECT 1")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_an_unopened_store_can_be_closed(postgres: str) -> None:
    """Closing is allowed before the first statement, and twice."""
    store = Store(postgres)
    await store.close()
    await store.close()


async def test_a_closed_store_leaves_no_connection(shared: Store, postgres: str) -> None:
    """The server does not keep the connection."""
    [(pid,)] = await shared.fetch("SELECT pg_backend_pid()")
    await shared.close()
    async with asyncio.timeout(SECONDS):
        while query(postgres, "SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "sql",
    [
        "SELEKT 1",
        "SELECT * FROM nothing",
        "SELECT 1/0",
        "SELECT 'a'::int",
        "CREATE TABLE pg_catalog.mine (a int)",
        "COMMENT ON TABLE pg_class IS 5",
    ],
)
async def test_a_rejected_statement_keeps_the_connection(shared: Store, sql: str) -> None:
    """StoreRejected means that a retry is useless."""
    with pytest.raises(StoreRejected):
        await shared.fetch(sql)
    assert await shared.fetch("SELECT 1") == [(1,)]


@pytest.mark.parametrize("value", ["a\0b", "a\udcffb"])
async def test_a_text_that_postgresql_cannot_store_is_rejected(shared: Store, value: str) -> None:
    """An argument of a command may contain any byte."""
    with pytest.raises(StoreRejected, match="the database rejects a value"):
        await shared.fetch("SELECT %s", [value])


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT %s::int",
        "SELECT %s::timestamptz",
        "SELECT %s FROM nothing",
        "INSERT INTO pairs SELECT %s, 'x' FROM generate_series(1, 2)",
        "INSERT INTO pairs VALUES (%s, NULL)",
        "INSERT INTO pairs VALUES ('x', %s)",
        "INSERT INTO pairs VALUES ('x', %s || chr(0))",
    ],
)
async def test_an_error_shows_no_value(store: Store, sql: str) -> None:
    """psycopg2 quotes the statement and PostgreSQL the value, which may be a key."""
    await store.fetch("CREATE TEMP TABLE pairs (name text PRIMARY KEY, value text NOT NULL CHECK (length(value) < 5))")
    await fails_without_canary(store, sql)


async def test_a_time_limit_shows_no_value(impatient: Store) -> None:
    """Neither does the error of a statement that took too long."""
    await fails_without_canary(impatient, "SELECT pg_sleep(60), %s")


async def fails_without_canary(store: Store, sql: str) -> None:
    """Asserts that a statement fails, and that the error does not contain its value."""
    with pytest.raises(StoreError) as caught:
        await store.fetch(sql, ["sk-canary"])
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO users (id, name, upstream_key, created_at) VALUES (2, 'bob', '', now())",
        "UPDATE users SET disabled_at = now()",
        "UPDATE tokens SET revoked_at = now()",
        "INSERT INTO tokens (user_id, digest, token_prefix, created_at)"
        " VALUES (1, decode(repeat('b', 64), 'hex'), '', now())",
        "INSERT INTO prices (model, effective_at, input, output, created_at) VALUES ('m', now(), 1, 1, now())",
        "DELETE FROM tokens",
        "TRUNCATE users CASCADE",
    ],
)
async def test_every_change_sends_a_notice(store: Store, dsn: str, change: str) -> None:
    """Changes of users, tokens and prices in SQL send one, too."""
    await add_user(store)
    await store.wait_for_notice(0)
    waiting = asyncio.create_task(store.wait_for_notice(30))
    await asyncio.sleep(0)
    query(dsn, change)
    async with asyncio.timeout(SECONDS):
        await waiting


async def test_waiting_for_a_notice_ends_after_its_timeout(shared: Store) -> None:
    """A listening store returns an empty list if no notice arrives in time."""
    await shared.wait_for_notice(0)  # the first call only starts to listen
    async with asyncio.timeout(SECONDS):
        assert await shared.wait_for_notice(0.01) == []


async def test_waiting_notices_are_returned_together(shared: Store, postgres: str) -> None:
    """Five notices that arrived before the call are returned by it."""
    await shared.wait_for_notice(0)
    query(postgres, "SELECT pg_notify('chatgpt_agent', number::text) FROM generate_series(1, 5) AS number")
    await shared.wait_for_notice(30)
    task = asyncio.create_task(shared.wait_for_notice(30))
    done, _ = await asyncio.wait({task}, timeout=0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not done


def wait_for_bytes(server: socket.socket, text: bytes) -> None:
    """Waits for bytes, and leaves them to be read."""
    arrived = b""
    while text not in arrived:
        select.select([server], [], [], SECONDS)  # it does not block, because the loop uses it
        arrived = server.recv(65536, socket.MSG_PEEK)


async def test_notice_that_comes_with_an_answer_is_returned(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are read at once, and no byte is left that would wake a task that waits for a notice."""
    connections, connect = list[aiopg.Connection](), aiopg.connect

    async def remember(*args: Any, **options: Any) -> aiopg.Connection:
        connections.append(await connect(*args, **options))
        return connections[-1]

    monkeypatch.setattr(aiopg, "connect", remember)
    async with Store(postgres) as store:
        await store.wait_for_notice(0)
        with connected(postgres) as other, socket.socket(fileno=os.dup(connections[0].raw.fileno())) as server:
            other.execute("SELECT pg_advisory_lock(1)")
            statement = asyncio.create_task(store.fetch("SELECT pg_advisory_lock_shared(1)"))
            await until(lambda: query(postgres, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
            other.execute("SELECT pg_advisory_unlock(1)")
            other.execute("SELECT pg_notify('chatgpt_agent', 'x')")
            wait_for_bytes(server, b"chatgpt_agent")  # the loop stands still: the answer is still there, too
        await statement
        async with asyncio.timeout(SECONDS):
            assert await store.wait_for_notice(3600) == ["x"]


async def test_a_connection_that_ends_during_a_wait_is_unavailable(shared: Store, postgres: str) -> None:
    """The next call listens on a new connection."""
    await shared.wait_for_notice(0)
    waiting = asyncio.create_task(shared.wait_for_notice(30))
    await asyncio.sleep(0)
    await asyncio.to_thread(end_connections, postgres)
    with pytest.raises(StoreUnavailable):
        await waiting
    await shared.wait_for_notice(0)
    waiting = asyncio.create_task(shared.wait_for_notice(30))
    await asyncio.sleep(0)
    query(postgres, "SELECT pg_notify('chatgpt_agent', '')")
    async with asyncio.timeout(SECONDS):
        await waiting


async def test_a_cancellation_at_the_time_of_an_error_is_not_lost(dsn: str) -> None:
    """A task that is cancelled while its connection fails ends as cancelled."""
    async with Store(dsn.replace("dbname=", "dbname=no_")) as store:
        for step in range(150):
            task = asyncio.create_task(store.fetch("SELECT 1"))
            for _ in range(step % 50):
                await asyncio.sleep(0)
            await asyncio.sleep((step // 50) * 0.001)
            was_running = task.cancel()
            [result] = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(result, asyncio.CancelledError if was_running else StoreUnavailable)
