"""The ledger's days are those of the configured time zone, and changing it neither loses nor repeats a row."""

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.settings import read_time_zone
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.runtime.time_zone import sync_time_zone
from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.database import query
from tests.support.factories import NOON, make_row
from tests.support.oracle import DAILY_SUMS, SUMS_OF_ROWS, settled

LATE = NOON.replace(hour=23)  # east of Greenwich, this is the next day


@pytest.fixture
def store(io_loop: IOLoop, dsn: str) -> Iterator[Store]:
    """A connection to the test's own database."""
    store = Store(dsn)
    yield store
    io_loop.run_sync(store.close)


async def days(store: Store) -> list[tuple[str, int]]:
    """The days of the daily sums, with the number of requests of each."""
    rows = await store.fetch("SELECT day::text, sum(requests)::int FROM usage_daily GROUP BY 1 ORDER BY 1")
    return [(str(day), count) for day, count in rows]


async def test_rows_move_to_the_days_of_the_new_zone(store: Store) -> None:
    """Rows that were shipped before the change move, and rows that are shipped later count for the new days."""
    await ensure_partition(store, NOON)
    await ship(store, [make_row(1, started_at=LATE)])
    assert await days(store) == [("2024-05-17", 1)]
    assert await sync_time_zone(store, "Europe/Berlin")
    await ship(store, [make_row(2, started_at=LATE)])
    assert await days(store) == [("2024-05-18", 2)]


async def test_the_current_zone_changes_nothing(store: Store) -> None:
    """The version stays the same, so other agents read nothing again."""
    before = await store.fetch("SELECT version FROM directory_version")
    assert not await sync_time_zone(store, "UTC")
    assert await store.fetch("SELECT version FROM directory_version") == before


async def test_a_new_zone_raises_the_version(store: Store) -> None:
    """Other agents notice the change by the version."""
    [(before,)] = await store.fetch("SELECT version FROM directory_version")
    await sync_time_zone(store, "Asia/Kolkata")
    assert await store.fetch("SELECT version FROM directory_version") == [(before + 1,)]


async def test_a_zone_that_postgresql_does_not_know_is_refused(store: Store) -> None:
    """The error says what to do, and the time zone stays as it was."""
    with pytest.raises(SetupError, match="time_zone: PostgreSQL does not know Mars/Phobos"):
        await sync_time_zone(store, "Mars/Phobos", load=lambda _: UTC)
    assert await read_time_zone(store) == "UTC"


async def test_an_abbreviation_is_refused(store: Store) -> None:
    """PostgreSQL and Python give CET different meanings, so days of budgets and reports would differ."""
    with pytest.raises(SetupError, match="to PostgreSQL CET is an abbreviation"):
        await sync_time_zone(store, "CET")


async def test_older_time_zone_data_is_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A difference does not stop the agent: administrators cannot update data that their distribution does not have."""
    await sync_time_zone(store, "America/Chicago", load=lambda _: ZoneInfo("America/New_York"))
    assert "the clocks of America/Chicago differ between PostgreSQL and this machine" in caplog.text
    assert await read_time_zone(store) == "America/Chicago"


async def test_rows_that_are_shipped_meanwhile_are_counted_once(dsn: str, store: Store) -> None:
    """Two agents ship rows while the time zone is changed several times."""
    await ensure_partition(store, NOON)
    draw = random.Random(4)
    shipping = True

    async def ship_rows(first: int) -> int:
        count = 0
        async with Store(dsn) as own:
            while shipping:
                moments = [LATE + timedelta(minutes=draw.randrange(-1400, 1400)) for _ in range(20)]
                rows = [make_row(first + count + n, started_at=moment) for n, moment in enumerate(moments)]
                count += await ship(own, rows)
        return count

    tasks = [asyncio.create_task(ship_rows(first), name="shipper") for first in (0, 1_000_000)]
    for zone in ("Asia/Tokyo", "America/Los_Angeles", "Pacific/Chatham", "UTC", "Asia/Kathmandu", "Europe/Berlin"):
        assert await sync_time_zone(store, zone)
        await asyncio.sleep(0.02)
    shipping = False
    shipped = sum(await asyncio.gather(*tasks))
    assert shipped > 0
    assert query(dsn, DAILY_SUMS) == query(dsn, SUMS_OF_ROWS)
    assert sum(count for _, count in await days(store)) == shipped


async def test_an_agent_sets_its_zone_when_it_starts(make_agent: MakeAgent, store: Store) -> None:
    """The time zone is in force when the agent is ready."""
    await make_agent(time_zone="Asia/Kolkata")
    assert await read_time_zone(store) == "Asia/Kolkata"


async def test_a_second_agent_with_another_zone_loses_nothing(make_agent: MakeAgent, dsn: str) -> None:
    """The first agent ships on while all daily sums are rebuilt; the oracle checks the sums at the end."""
    first: Agent = await make_agent()
    chats = [asyncio.create_task(first.chat(f"{n}")) for n in range(30)]
    other = first.config.data_dir.parent / "other"
    await make_agent(time_zone="Pacific/Apia", data_dir=other, master_key_file=first.config.data_dir / "master.key")
    assert {(await chat).status for chat in chats} == {200}
    await settled(first)
    days = "SELECT (started_at AT TIME ZONE 'Pacific/Apia')::date AS day, count(*) FROM usage GROUP BY 1 ORDER BY 1"
    sums = query(dsn, "SELECT day, sum(requests) FROM usage_daily GROUP BY 1 ORDER BY 1")
    assert (sums, sum(count for _, count in sums)) == (query(dsn, days), 30)
