"""The fake PostgreSQL of the proofs runs the ledger's statements as the real one does."""

import random
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import USAGE_COLUMNS, ensure_partition, ship
from chatgpt_agent.core.errors import StoreBadValue
from chatgpt_agent.core.ledger import TERMINAL, Row
from chatgpt_agent.core.money.kinds import COUNT_COLUMNS, IMAGE_TOOL_KINDS
from chatgpt_agent.core.usage import Usage
from tests.support.database import query
from tests.support.factories import NOON, make_row
from tests.support.postgresql import FakeStore, PostgreSQL

pytestmark = pytest.mark.slow

ROWS = f"SELECT {', '.join(USAGE_COLUMNS)} FROM usage"
DAILY = f"""
    SELECT day, user_id, token_id, model, endpoint, requests, not_done, {", ".join(COUNT_COLUMNS)}, cost, uncertain_cost
    FROM usage_daily"""


@pytest.fixture
def stores(io_loop: IOLoop, dsn: str) -> Iterator[tuple[Store, FakeStore]]:
    """A real and a fake database, without partitions."""
    real = Store(dsn)
    yield real, FakeStore(PostgreSQL())
    io_loop.run_sync(real.close)


def charged(row: Row, luck: random.Random) -> Row:
    """A row with counts of all that is charged, of some of it, or of none."""
    names = {*Usage.__struct_fields__} - {"seconds", "image_tool", "uncertain_reason"}
    counts: dict[str, Any] = {name: luck.choice([0, luck.randrange(10**9)]) for name in names}
    tokens: dict[str, Any] = {kind.name: luck.choice([0, luck.randrange(10**9)]) for kind in IMAGE_TOOL_KINDS}
    seconds = Decimal(luck.choice([0, luck.randrange(10**9)])).scaleb(-3)
    usage = luck.choice([None, Usage(**counts, seconds=seconds, image_tool=luck.choice([None, Usage(**tokens)]))])
    return msgspec.structs.replace(
        row,
        usage=usage,
        image_price_id=luck.choice([None, 7]),
        uncertain_reason=luck.choice([None, "no_price"]),
        price_id=luck.choice([None, 7]),
    )


@pytest.mark.parametrize("seed", range(5))
async def test_the_same_rows_leave_the_same_tables(stores: tuple[Store, FakeStore], dsn: str, seed: int) -> None:
    """Rows in any parts, any order and any repetition leave the same tables, and both return the number of new ones."""
    luck = random.Random(seed)
    moments = [NOON + timedelta(hours=hour) for hour in range(40)]
    rows = [charged(make_row(n, state=luck.choice(TERMINAL), started_at=luck.choice(moments)), luck) for n in range(60)]
    for store in stores:
        await ensure_partition(store, NOON)
    for _ in range(8):
        batch = luck.sample(rows, luck.randint(1, 40)) + luck.sample(rows, 3)
        assert await ship(stores[0], batch) == await ship(stores[1], batch)
    fake = stores[1].server
    assert {line[0]: line for line in query(dsn, ROWS)} == {
        line["request_id"]: tuple(line.values()) for line in fake.usage.values()
    }
    assert {line[:5]: line[5:] for line in query(dsn, DAILY)} == fake.daily


async def test_both_refuse_a_row_without_a_partition(stores: tuple[Store, FakeStore], dsn: str) -> None:
    """The whole statement is refused, with its other rows."""
    for store in stores:
        await ensure_partition(store, NOON)
        with pytest.raises(StoreBadValue):
            await ship(store, [make_row(1), make_row(2, started_at=NOON + timedelta(days=40))])
    assert query(dsn, ROWS) == list(stores[1].server.usage) == []
