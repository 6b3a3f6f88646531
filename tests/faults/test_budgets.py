"""Budgets and rate limits while PostgreSQL is away."""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID

import pytest

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.errors import StoreError
from chatgpt_agent.runtime.budget_store import PostgresBudgetStore
from chatgpt_agent.runtime.limit_store import PostgresLimitStore
from chatgpt_agent.runtime.limit_sync import LimitSync, LimitTimes
from chatgpt_agent.runtime.rate_limiter import RateLimiter
from tests.faults.conftest import Postgres
from tests.support.database import query
from tests.support.limit_world import identity_with
from tests.support.tcp_relay import Link
from tests.support.waiting import until

pytestmark = pytest.mark.slow

HUNDRED = identity_with(rpm=100, concurrency=50)
TIMES = LimitTimes(read=0.1, listen=0.1, retry=0.05)


@pytest.fixture
def postgres(server: Postgres) -> str:
    """The databases of these tests are in a server that may be harmed."""
    return server.dsn


async def test_a_silent_connection_for_notices_is_replaced(link: Link, through: Callable[[], str]) -> None:
    """After a failover, the old server sends neither notices nor errors: the next connection listens again."""
    store = PostgresBudgetStore(Store(through()), Store(through(), seconds=0.5))
    assert await store.wait_for_changes(0.2) is None  # it has begun to listen
    assert await store.wait_for_changes(0.2) == set()
    link.freeze()
    with pytest.raises(StoreError):
        await store.wait_for_changes(0.2)
    link.thaw()
    assert await store.wait_for_changes(0.2) is None
    assert await store.wait_for_changes(0.2) == set()
    await store.close()


# Rate limits that agents share.


async def start(number: int, dsn: str) -> tuple[RateLimiter, LimitSync]:
    """The rate limits of an agent that is alive."""
    clock = asyncio.get_running_loop().time
    limiter = RateLimiter(clock)
    sync = LimitSync(limiter.meters, PostgresLimitStore(Store(dsn), Store(dsn)), clock=clock, times=TIMES)
    query(dsn, "INSERT INTO agents (id, seen_at, backlog) VALUES (%s, now(), 0)", [str(UUID(int=number))])
    await sync.start(UUID(int=number))
    return limiter, sync


def status(limiter: RateLimiter, name: str) -> int:
    """What an agent knows of the user's limits."""
    return int(limiter.status(HUNDRED)["user"][name])


async def test_agents_publish_again_what_a_crash_of_postgresql_has_lost(server: Postgres, dsn: str) -> None:
    """What was used before and meanwhile counts once at both agents, and an agent that starts afterwards knows it."""
    agents = [await start(number, dsn) for number in (1, 2)]
    (one, _), (other, _) = agents
    await until(lambda: one.meters.sharing)
    began = time.monotonic()

    def counts_forty_once(limiter: RateLimiter) -> bool:
        """Whether 60 are left, and what has come back since."""
        come_back = (time.monotonic() - began) * 100 / 60
        return 60 <= status(limiter, "requests_left") <= 60 + come_back + 1

    slots = [one.acquire(HUNDRED, None) for _ in range(20)]
    await until(lambda: status(other, "requests_in_progress") == 20)
    assert query(dsn, "SELECT requests FROM limit_use") == [(20,)]
    with server.down():
        slots += [one.acquire(HUNDRED, None) for _ in range(20)]
    await until(lambda: status(other, "requests_in_progress") == 40)
    assert counts_forty_once(other)
    last = "SELECT requests_used > 30 FROM limit_use ORDER BY updated_at DESC LIMIT 1"
    await until(lambda: asyncio.to_thread(query, dsn, last), lambda rows: rows == [(True,)])
    agents.append(await start(3, dsn))
    third, _ = agents[2]
    assert (status(third, "requests_in_progress"), counts_forty_once(third)) == (40, True)
    for slot in slots:
        slot.release()
    await until(lambda: status(other, "requests_in_progress") == status(third, "requests_in_progress") == 0)
    for _, sync in agents:
        await sync.close()
