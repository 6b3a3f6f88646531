"""The times of last use of tokens are written in the background, seldom and without loss."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from psycopg2.extensions import parse_dsn
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.runtime.last_used import WRITE_SECONDS, LastUsed
from chatgpt_agent.runtime.tuning import Tuning
from tests.conftest import MakeAgent
from tests.support.clock import Clock
from tests.support.database import Database, query


@pytest.fixture
def clock() -> Clock:
    """The clock of all agents."""
    return Clock()


@pytest.fixture
def make_last_used(io_loop: IOLoop, dsn: str, clock: Clock) -> Iterator[Callable[[], LastUsed]]:
    """Makes the LastUsed of one more agent."""
    created: list[LastUsed] = []

    def make() -> LastUsed:
        created.append(LastUsed(Store(dsn), clock=clock))
        return created[-1]

    yield make
    for last_used in created:
        io_loop.run_sync(last_used.close)


@pytest.fixture
def last_used(make_last_used: Callable[[], LastUsed]) -> LastUsed:
    """The LastUsed of one agent."""
    return make_last_used()


def written(dsn: str) -> dict[int, datetime]:
    """The times in the database, by token id."""
    return dict(query(dsn, "SELECT token_id, last_used_at FROM token_uses"))


async def test_a_first_use_is_written(last_used: LastUsed, dsn: str) -> None:
    """The time of each used token is in the database."""
    for id_ in (2, 1):
        last_used.touch(id_)
    await last_used.write()
    times = written(dsn)
    assert times.keys() == {1, 2}
    assert datetime.now(UTC) - times[1] < timedelta(seconds=10)


async def test_a_token_is_written_every_five_minutes_at_most(last_used: LastUsed, dsn: str, clock: Clock) -> None:
    """A second use within five minutes is written after them."""
    last_used.touch(1)
    await last_used.write()
    first = written(dsn)
    clock.now += WRITE_SECONDS - 1
    last_used.touch(1)
    await last_used.write()
    assert written(dsn) == first
    clock.now += 1
    await last_used.write()
    assert written(dsn)[1] > first[1]


async def test_an_unused_token_is_not_written_again(last_used: LastUsed, dsn: str, clock: Clock) -> None:
    """A token that was not used since its last write causes no statement."""
    last_used.touch(1)
    await last_used.write()
    query(dsn, "DELETE FROM token_uses")
    clock.now += WRITE_SECONDS
    await last_used.write()
    assert written(dsn) == {}


async def test_the_latest_use_at_any_agent_counts(make_last_used: Callable[[], LastUsed], dsn: str) -> None:
    """An agent that writes an earlier use later does not overwrite the latest one."""
    early, late = make_last_used(), make_last_used()
    early.touch(1)
    late.touch(1)
    await late.write()
    latest = written(dsn)
    await early.write()
    assert written(dsn) == latest


async def test_uses_are_kept_while_the_database_is_away(
    last_used: LastUsed, dsn: str, postgres: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They are written when the database is back; the log has one warning."""
    database = Database(postgres, parse_dsn(dsn)["dbname"])
    last_used.touch(1)
    database.close()
    await last_used.write()
    await last_used.write()
    database.open()
    await last_used.write()
    assert written(dsn).keys() == {1}
    assert caplog.text.count("cannot write last-used times of 1 tokens") == 1


async def test_unwritten_uses_are_written_at_shutdown(last_used: LastUsed, dsn: str) -> None:
    """A shutdown writes uses for which five minutes have not passed."""
    last_used.start()
    last_used.touch(1)
    await last_used.write()
    first = written(dsn)
    last_used.touch(1)
    await last_used.close()
    assert written(dsn)[1] > first[1]


async def test_an_agent_writes_uses_in_the_background(make_agent: MakeAgent) -> None:
    """The first use of a token is visible in its record soon."""
    agent = await make_agent(tuning=Tuning(last_used_check=0.1))
    [token] = await agent.administration.tokens.list()
    await agent.chat()
    async with asyncio.timeout(20):
        while (used := await agent.administration.tokens.get(token.id)).last_used_at is None:
            await asyncio.sleep(0.1)
    assert used.version == token.version  # a use does not change the token
