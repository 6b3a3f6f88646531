"""When tokens were last used: written now and then, and never in a request's way."""

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
    """Of every agent here."""
    return Clock()


@pytest.fixture
def make_uses(io_loop: IOLoop, dsn: str, clock: Clock) -> Iterator[Callable[[], LastUsed]]:
    """Makes what an agent remembers."""
    made: list[LastUsed] = []

    def make() -> LastUsed:
        made.append(LastUsed(Store(dsn), clock=clock))
        return made[-1]

    yield make
    for uses in made:
        io_loop.run_sync(uses.close)


@pytest.fixture
def uses(make_uses: Callable[[], LastUsed]) -> LastUsed:
    """What one agent remembers."""
    return make_uses()


def written(dsn: str) -> dict[int, datetime]:
    """What the database has."""
    return dict(query(dsn, "SELECT token_id, last_used_at FROM token_uses"))


async def test_a_first_use_is_written(uses: LastUsed, dsn: str) -> None:
    """With its time, and all tokens in one statement."""
    for id_ in (2, 1):
        uses.touch(id_)
    await uses.write()
    found = written(dsn)
    assert found.keys() == {1, 2}
    assert datetime.now(UTC) - found[1] < timedelta(seconds=10)


async def test_a_token_is_written_every_five_minutes_at_most(uses: LastUsed, dsn: str, clock: Clock) -> None:
    """However often it is used."""
    uses.touch(1)
    await uses.write()
    first = written(dsn)
    clock.now += WRITE_SECONDS - 1
    uses.touch(1)
    await uses.write()
    assert written(dsn) == first
    clock.now += 1
    await uses.write()
    assert written(dsn)[1] > first[1]


async def test_what_was_not_used_is_not_written_again(uses: LastUsed, dsn: str, clock: Clock) -> None:
    """A token that rests costs nothing."""
    uses.touch(1)
    await uses.write()
    query(dsn, "DELETE FROM token_uses")
    clock.now += WRITE_SECONDS
    await uses.write()
    assert written(dsn) == {}


async def test_the_latest_of_several_agents_counts(make_uses: Callable[[], LastUsed], dsn: str) -> None:
    """Whoever writes last."""
    early, late = make_uses(), make_uses()
    early.touch(1)
    late.touch(1)
    await late.write()
    latest = written(dsn)
    await early.write()
    assert written(dsn) == latest


async def test_while_the_database_is_away_uses_wait(
    uses: LastUsed, dsn: str, postgres: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They are written when it is back; the log tells once."""
    database = Database(postgres, parse_dsn(dsn)["dbname"])
    uses.touch(1)
    database.close()
    await uses.write()
    await uses.write()
    database.open()
    await uses.write()
    assert written(dsn).keys() == {1}
    assert caplog.text.count("cannot write last-used times of 1 tokens") == 1


async def test_what_waits_is_written_at_the_end(uses: LastUsed, dsn: str) -> None:
    """An agent that is stopped forgets nothing."""
    uses.start()
    uses.touch(1)
    await uses.write()
    first = written(dsn)
    uses.touch(1)
    await uses.close()
    assert written(dsn)[1] > first[1]


async def test_an_agent_writes_by_itself(make_agent: MakeAgent) -> None:
    """Seen in the list of tokens, soon after the first use."""
    agent = await make_agent(tuning=Tuning(last_used_check=0.1))
    [token] = await agent.administration.tokens.list()
    await agent.chat()
    async with asyncio.timeout(20):
        while (found := await agent.administration.tokens.get(token.id)).last_used_at is None:
            await asyncio.sleep(0.1)
    assert found.version == token.version  # being used is no change of a token
