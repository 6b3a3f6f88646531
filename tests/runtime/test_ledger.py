"""The ledger on a real disk and a real PostgreSQL: each request becomes one row, however often it is shipped."""

import asyncio
import random
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import ship
from chatgpt_agent.core.ledger import TERMINAL, Row, State
from chatgpt_agent.runtime.ledger import Ledger
from chatgpt_agent.runtime.shipper import BATCH
from tests.support.database import connected, query
from tests.support.factories import NOON, make_outcome, make_row, request_id
from tests.support.ledgers import OpenLedger, begin, record, states, until_shipped
from tests.support.oracle import DAILY_SUMS, SUMS_OF_ROWS
from tests.support.waiting import until

SUMS = """
    SELECT coalesce(sum(requests), 0)::int, coalesce(sum(input_tokens), 0)::int, coalesce(sum(cached_tokens), 0)::int,
           coalesce(sum(output_tokens), 0)::int, coalesce(sum(reasoning_tokens), 0)::int, coalesce(sum(cost), 0)
    FROM usage_daily"""


# From intent to row.


async def test_a_request_becomes_one_row(ledger: Ledger, dsn: str) -> None:
    """The row has the request's id, its token counts and its cost."""
    await record(ledger, 1)
    await until_shipped(dsn, 1)
    row = make_row(1)
    assert query(dsn, "SELECT request_id::text, state, input_tokens, output_tokens, cost FROM usage") == [
        (str(request_id(1)), "done", 1001, 21, row.cost)
    ]


async def test_a_row_is_charged_by_the_prices_of_its_admission(ledger: Ledger) -> None:
    """(1001 - 1) tokens at 0.15, 1 at 0.075 and 21 at 0.60 USD a million cost exactly this."""
    row = await ledger.settle(await begin(ledger), make_outcome())
    assert row.cost == Decimal("0.000162675")


async def test_a_shipped_row_leaves_the_outbox(ledger: Ledger, dsn: str) -> None:
    """The outbox forgets a row once PostgreSQL has confirmed it."""
    await record(ledger, 1)
    await until_shipped(dsn, 1)
    await until(ledger.depth, lambda depth: depth == 0)


async def test_an_intent_is_not_shipped(ledger: Ledger, dsn: str) -> None:
    """A request without an outcome has no row in PostgreSQL."""
    await begin(ledger, 1)
    await record(ledger, 2)
    await until_shipped(dsn, 1)
    assert list(states(dsn)) == [str(request_id(2))]


async def test_daily_sums_are_those_of_the_rows(ledger: Ledger, dsn: str) -> None:
    """The daily sums of each user and model are those of the rows."""
    await record(ledger, *range(40))
    await record(ledger, *range(40, 60), started_at=NOON + timedelta(days=1))
    await until_shipped(dsn, 60)
    assert query(dsn, DAILY_SUMS) == query(dsn, SUMS_OF_ROWS)
    assert len(query(dsn, DAILY_SUMS)) == 12


async def test_days_of_daily_sums_are_those_of_utc(ledger: Ledger, dsn: str) -> None:
    """A request of the last microsecond of a day counts for that day."""
    midnight = NOON.replace(hour=0)
    await record(ledger, 1, started_at=midnight - timedelta(microseconds=1))
    await record(ledger, 2, started_at=midnight)
    await until_shipped(dsn, 2)
    assert query(dsn, "SELECT day::text FROM usage_daily ORDER BY day") == [("2024-05-16",), ("2024-05-17",)]


async def test_a_backlog_of_several_batches_is_shipped(open_ledger: OpenLedger, tmp_path: Path, dsn: str) -> None:
    """The shipper does not stop after its first batch."""
    ledger = await open_ledger(tmp_path)
    await asyncio.gather(*(record(ledger, number) for number in range(BATCH * 2)))
    await ledger.start_shipping()
    await until_shipped(dsn, BATCH * 2)
    assert query(dsn, DAILY_SUMS) == query(dsn, SUMS_OF_ROWS)


@pytest.mark.parametrize("state", TERMINAL)
async def test_every_outcome_is_a_row(ledger: Ledger, dsn: str, state: State) -> None:
    """Each state is shipped, and all but `done` are counted as not done."""
    await ledger.settle(await begin(ledger), make_outcome(1, state))
    await until_shipped(dsn, 1)
    assert states(dsn) == {str(request_id(1)): state}
    assert query(dsn, "SELECT requests, not_done FROM usage_daily") == [(1, int(state != "done"))]


# Shipped more than once.


async def test_shipping_rows_again_changes_nothing(store: Store, dsn: str) -> None:
    """A repeated row is neither inserted nor added to the daily sums again."""
    rows = [make_row(number) for number in range(20)]
    assert await ship(store, rows) == 20
    before = query(dsn, DAILY_SUMS)
    assert await ship(store, rows) == 0
    assert query(dsn, DAILY_SUMS) == before == query(dsn, SUMS_OF_ROWS)


@pytest.mark.parametrize("seed", range(5))
async def test_overlapping_batches_in_any_order_leave_each_row_once(store: Store, dsn: str, seed: int) -> None:
    """After random batches with repeated rows, the daily sums are those of the rows."""
    draw = random.Random(seed)
    rows = [make_row(number, state=draw.choice(TERMINAL)) for number in range(40)]
    for _ in range(12):
        await ship(store, draw.sample(rows, draw.randint(1, 30)) + draw.sample(rows, 2))
        assert query(dsn, DAILY_SUMS) == query(dsn, SUMS_OF_ROWS)
    await ship(store, draw.sample(rows, 40))
    assert states(dsn) == {str(row.intent.request_id): row.state for row in rows}
    assert query(dsn, SUMS) == [sums_of(rows)]


async def test_the_first_outcome_of_a_request_stays(store: Store, dsn: str) -> None:
    """A row that is shipped with another state does not replace the first one."""
    await ship(store, [make_row(1)])
    await ship(store, [make_row(1, state=State.UNKNOWN), make_row(2)])
    assert states(dsn)[str(request_id(1))] == "done"
    assert query(dsn, DAILY_SUMS) == query(dsn, SUMS_OF_ROWS)


async def test_agents_that_ship_at_the_same_time_add_up(open_ledger: OpenLedger, tmp_path: Path, dsn: str) -> None:
    """Three agents ship rows of the same day, users and models, and none is lost or doubled."""
    ledgers = [await open_ledger(tmp_path / str(number)) for number in range(3)]
    for ledger in ledgers:
        await ledger.start_shipping()
    await asyncio.gather(*(record(ledgers[number % 3], number) for number in range(300)))
    await until_shipped(dsn, 300)
    assert query(dsn, DAILY_SUMS) == query(dsn, SUMS_OF_ROWS)
    assert query(dsn, SUMS) == [sums_of([make_row(number) for number in range(300)])]


async def test_agents_that_ship_the_same_keys_do_not_deadlock(dsn: str, store: Store) -> None:
    """Rows of `usage_daily` are locked in one order, whatever the order of a batch."""
    stores = [Store(dsn) for _ in range(4)]
    rows = [make_row(number, user_id=number // 4, model="m") for number in range(4 * BATCH)]
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'usage_daily'::regclass"
    with connected(dsn) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE usage_daily IN SHARE MODE")
        shipping = [asyncio.create_task(ship(stores[agent], rows[agent::4])) for agent in range(4)]
        while query(dsn, waiting) != [(4,)]:
            await asyncio.sleep(0.01)
        other.execute("COMMIT")  # now all of them continue at once
    assert await asyncio.gather(*shipping) == [BATCH] * 4
    assert query(dsn, SUMS) == [sums_of(rows)]
    await asyncio.gather(*(other.close() for other in stores))


# Helpers.


def sums_of(rows: list[Row]) -> tuple[Any, ...]:
    """The sums that all daily sums of these rows must add up to."""
    usages = [row.usage for row in rows if row.usage]
    counts = [sum(getattr(usage, name) for usage in usages) for name in ("input", "cached", "output", "reasoning")]
    return (len(rows), *counts, sum((row.cost for row in rows), Decimal(0)))
