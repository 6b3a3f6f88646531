"""How long the copy of users, tokens and prices is valid while the database is away."""

from collections.abc import Sequence
from typing import Any

import pytest

from chatgpt_agent.adapters.postgres.connection import CHANNEL, Store
from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.core.access.settings import UserChanges
from chatgpt_agent.core.errors import DirectoryStale, StoreError
from chatgpt_agent.runtime.directory import Directory
from tests.support.clock import Clock
from tests.support.database import Database
from tests.support.directories import KEYRING, STALE_AFTER, works
from tests.support.observers import ignore
from tests.support.waiting import until


def test_before_the_first_load_requests_are_refused_as_stale(idle: Directory) -> None:
    """The answer is 503 and not 401, because clients discard a token that gets a 401."""
    assert not idle.loaded
    with pytest.raises(DirectoryStale):
        idle.identify(KEYRING.new_token()[0])


async def test_start_without_the_database_fails(clock: Clock) -> None:
    """The caller gets the error and can try again."""
    directory = Directory(Store("host=/nowhere"), on_budgets=ignore, stale_after=STALE_AFTER, clock=clock)
    with pytest.raises(StoreError):
        await directory.start(KEYRING)
    assert not directory.loaded
    await directory.close()


async def test_while_the_database_is_away_known_tokens_work(
    directory: Directory, clock: Clock, token: str, database: Database
) -> None:
    """Known tokens work until `stale_after` has passed."""
    database.close()
    await until(lambda: not directory.connected)
    clock.now += STALE_AFTER
    assert works(directory, token)


async def test_when_the_database_is_away_too_long_requests_are_refused(
    directory: Directory, clock: Clock, token: str, database: Database
) -> None:
    """After `stale_after`, a token may have been revoked without the directory's knowledge."""
    database.close()
    await until(lambda: not directory.connected)
    clock.now += STALE_AFTER + 0.1
    assert not directory.loaded
    with pytest.raises(DirectoryStale):
        directory.identify(token)


async def test_when_the_database_is_back_tokens_work_again(
    directory: Directory, clock: Clock, token: str, database: Database
) -> None:
    """The directory reconnects without a restart."""
    database.close()
    await until(lambda: not directory.connected)
    clock.now += STALE_AFTER + 0.1
    database.open()
    await until(lambda: directory.loaded)
    assert works(directory, token)
    assert directory.connected


async def test_changes_of_an_outage_are_read_after_it(
    directory: Directory, administration: Administration, token: str, database: Database
) -> None:
    """All changes since the last version are read."""
    database.close()
    await until(lambda: not directory.connected)
    database.open()
    await administration.users.change("alice", UserChanges(disabled=True))
    await until(lambda: not works(directory, token))


async def test_a_copy_is_as_fresh_as_the_start_of_its_query(dsn: str, clock: Clock) -> None:
    """A result that arrives late is as old as its query."""

    class Slow(Store):
        async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            clock.now += STALE_AFTER
            return await super().fetch(sql, parameters)

    directory = Directory(Slow(dsn), on_budgets=ignore, stale_after=STALE_AFTER, clock=clock)
    await directory.start(KEYRING)
    assert not directory.loaded
    await directory.close()


async def test_an_outage_is_logged_once(
    dsn: str, clock: Clock, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning is not repeated at each try."""

    class Counting(Store):
        attempts = 0

        async def wait_for_notice(self, seconds: float, channel: str = CHANNEL) -> list[str] | None:
            self.attempts += 1
            return await super().wait_for_notice(seconds, channel)

    store = Counting(dsn)
    directory = Directory(store, on_budgets=ignore, stale_after=STALE_AFTER, clock=clock)
    await directory.start(KEYRING)
    database.close()
    await until(lambda: not directory.connected)
    attempts = store.attempts
    await until(lambda: store.attempts > attempts + 1)
    await directory.close()
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
