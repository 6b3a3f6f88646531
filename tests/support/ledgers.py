"""Requests that tests record in a ledger, and the rows that arrive in PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.runtime.ledger import Ledger, OpenRequest
from tests.support.database import query
from tests.support.factories import BOOK, PRICE, make_intent, make_outcome
from tests.support.waiting import until

OpenLedger = Callable[[Path], Awaitable[Ledger]]


async def begin(ledger: Ledger, number: int = 1, **fields: Any) -> OpenRequest:
    """Opens the request with this number."""
    return await ledger.open_request(make_intent(number, **fields), PRICE, BOOK)


async def record(ledger: Ledger, *numbers: int, **fields: Any) -> None:
    """Opens and settles the requests with these numbers."""
    for number in numbers:
        await ledger.settle(await begin(ledger, number, **fields), make_outcome(number))


async def until_shipped(dsn: str, count: int) -> None:
    """Waits until PostgreSQL has this number of rows."""
    await until(lambda: query(dsn, "SELECT count(*) FROM usage") == [(count,)])


def states(dsn: str) -> dict[str, str]:
    """The state of each row in PostgreSQL, by request id."""
    return dict(query(dsn, "SELECT request_id::text, state FROM usage"))


@asynccontextmanager
async def died(folder: Path) -> AsyncIterator[Outbox]:
    """The outbox of an agent that dies when the context ends."""
    outbox = Outbox(folder)
    await outbox.open()
    yield outbox
    await outbox.close()
