"""Rows of the ledger for tests of commands: written as an agent ships them, and a series in November 2026."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.core.ledger import Intent, Row, State
from chatgpt_agent.core.usage import Usage

SNAPSHOT = "gpt-6-luna-2026-09-15"
COST = Decimal("0.000002625")  # of 10 input and 2 output tokens, one of them cached


def ship_rows(dsn: str, rows: Sequence[Row]) -> None:
    """Adds rows to the ledger, and the partitions of their months."""

    async def work() -> None:
        async with Store(dsn) as store:
            for started_at in {row.intent.started_at for row in rows}:
                await ensure_partition(store, started_at)
            if rows:
                await ship(store, rows)

    asyncio.run(work())


def november_id(number: int) -> UUID:
    """The request id of a row."""
    return UUID(int=0x0193000000007000_8000000000000000 + number)


def november_row(number: int, user: int, day: int, state: State = State.DONE) -> Row:
    """A request for gpt-6-luna at noon of a day of November; only a request that is done has tokens and a cost."""
    intent = Intent(
        request_id=november_id(number),
        user_id=user,
        token_id=1,
        endpoint="/v1/chat/completions",
        model="gpt-6-luna",
        price_id=1,
        streamed=False,
        started_at=datetime(2026, 11, day, 12, tzinfo=UTC),
    )
    if state is not State.DONE:
        return Row(intent=intent, state=state, price_id=1, cost=Decimal(0))
    return Row(
        intent=intent,
        state=state,
        price_id=1,
        cost=COST,
        usage=Usage(input=10, output=2, cached=1),
        served_model=SNAPSHOT,
    )
