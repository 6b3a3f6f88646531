"""Ledgers and directories on a database of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg2.extensions import parse_dsn
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import ensure_partition
from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.core.access.settings import NewUser
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.ledger import Ledger
from tests.support.administration import administration_on
from tests.support.clock import Clock
from tests.support.database import Database
from tests.support.directories import KEYRING, STALE_AFTER
from tests.support.factories import NOON
from tests.support.ledgers import OpenLedger
from tests.support.observers import IgnoreRows, ignore


@pytest.fixture
def database(postgres: str, dsn: str) -> Database:
    """The test's own database, which it can close and reopen."""
    return Database(postgres, parse_dsn(dsn)["dbname"])


@pytest.fixture
def open_ledger(io_loop: IOLoop, dsn: str) -> Iterator[OpenLedger]:
    """Opens the ledger of an agent with a data folder, without its shipper; it is closed at the end of the test."""
    opened: list[Ledger] = []

    async def open_ledger(folder: Path) -> Ledger:
        ledger = Ledger(Outbox(folder), Store(dsn), observer=IgnoreRows(), now=lambda: NOON)
        await ledger.open_outbox()
        opened.append(ledger)
        return ledger

    yield open_ledger
    for ledger in opened:
        io_loop.run_sync(ledger.close)


@pytest.fixture
def ledger(io_loop: IOLoop, open_ledger: OpenLedger, tmp_path: Path) -> Ledger:
    """A ledger whose shipper runs."""

    async def start() -> Ledger:
        ledger = await open_ledger(tmp_path)
        await ledger.start_shipping()
        return ledger

    started: Ledger = io_loop.run_sync(start)
    return started


@pytest.fixture
def store(io_loop: IOLoop, dsn: str) -> Iterator[Store]:
    """A connection to the test's own database, which has the month's partition."""
    store = Store(dsn)
    io_loop.run_sync(lambda: ensure_partition(store, NOON))
    yield store
    io_loop.run_sync(store.close)


@pytest.fixture
def clock() -> Clock:
    """The directory's clock."""
    return Clock()


@pytest.fixture
def administration(io_loop: IOLoop, dsn: str) -> Iterator[Administration]:
    """The use cases of administrators, on a connection of their own."""
    administration = administration_on(dsn, KEYRING)
    yield administration
    io_loop.run_sync(administration.stores.close)


@pytest.fixture
def idle(io_loop: IOLoop, dsn: str, clock: Clock) -> Iterator[Directory]:
    """A directory that was not started."""
    store = Store(dsn)
    directory = Directory(store, on_budgets=ignore, stale_after=STALE_AFTER, clock=clock, now=clock.time_of_day)
    yield directory
    io_loop.run_sync(directory.close)


@pytest.fixture
def token(io_loop: IOLoop, administration: Administration) -> str:
    """A token of alice, who is in the database before the directory starts."""
    issued = io_loop.run_sync(lambda: administration.users.add(NewUser(name="alice", openai_key="sk-alice")))
    return str(issued.token)


@pytest.fixture
def directory(io_loop: IOLoop, idle: Directory, token: str) -> Directory:
    """A directory that follows the database and knows alice."""
    io_loop.run_sync(lambda: idle.start(KEYRING))
    return idle
