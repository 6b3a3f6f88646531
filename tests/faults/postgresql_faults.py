"""Helpers of the tests with a PostgreSQL that fails."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.support.agent import Agent
from tests.support.client import Answer, fetch
from tests.support.database import connected, query
from tests.support.waiting import until

LAG = 1.0  # seconds; the loop is the clients' and the upstream's too
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'usage_daily'::regclass"
ROWS = "SELECT count(*) FROM usage"

Through = Callable[[], str]


def statuses(answers: list[Answer]) -> set[int]:
    """The distinct statuses of answers."""
    return {answer.status for answer in answers}


async def depth(agent: Agent) -> int:
    """The number of rows in the outbox."""
    return await agent.server.ledger.depth()


async def readiness(agent: Agent) -> tuple[int, Any]:
    """Status and body of /readyz."""
    answer = await fetch(agent.url + "/readyz")
    return answer.status, json.loads(answer.body)


async def until_result(dsn: str, sql: str, expected: Any) -> None:
    """Waits until a query returns this value."""

    async def is_expected() -> bool:
        return await asyncio.to_thread(query, dsn, sql) == [(expected,)]

    await until(is_expected)


@asynccontextmanager
async def locked(dsn: str, table: str = "usage_daily") -> AsyncIterator[None]:
    """Locks a table, so that the shipper waits in the middle of its statement."""
    with connected(dsn) as other:
        other.execute("BEGIN")
        other.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield
        other.execute("COMMIT")


async def until_body(url: str, text: bytes) -> None:
    """Waits until the body of /readyz has this text."""

    async def has_text() -> bool:
        return text in (await fetch(f"{url}/readyz")).body

    await until(has_text)
