"""Rows of any answers, shipped to PostgreSQL, cost there what OpenAI bills; the check of the ledger agrees."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.checks import run_checks
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.prices import COST_SQL, add_prices
from chatgpt_agent.adapters.postgres.surcharges import add_surcharges
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.core.ledger import Row
from chatgpt_agent.core.money.pricing import PriceBook
from tests.support.billed_answers import ANSWERS, Billed, billed
from tests.support.billing import (
    HOST,
    IMAGE_MODEL,
    MODEL,
    new_price,
    new_surcharges,
    read_whole,
    settled,
)  # fmt: skip
from tests.support.factories import NOON
from tests.support.openai_bill import Terms, bill

PATHS = list(ANSWERS)
DUE = f"""
    SELECT r.request_id::text, r.cost, due.cost FROM usage r JOIN prices p ON p.id = r.price_id {COST_SQL}"""
# Rows of all examples stay in one database, so that a smaller example would be another one: nothing is shrunk.
KEEP = settings(deadline=None, max_examples=60, phases=[Phase.explicit, Phase.generate])


@pytest.fixture
def store(io_loop: IOLoop, dsn: str) -> Iterator[Store]:
    """A store with the partitions that the checks of the ledger require."""
    store = Store(dsn)

    async def fill() -> None:
        for month in (NOON, datetime.now(UTC), datetime.now(UTC) + timedelta(days=31)):
            await ensure_partition(store, month)

    io_loop.run_sync(fill)
    yield store
    io_loop.run_sync(store.close)


async def stored_book(store: Store, terms: Terms) -> PriceBook:
    """Sets the prices and surcharges of these terms, and returns them as stored."""
    assert terms.image_price is not None
    new = [new_price(terms.price, MODEL), new_price(terms.image_price, IMAGE_MODEL)]
    surcharges = await add_surcharges(store, new_surcharges(terms), now=NOON)
    return PriceBook(await add_prices(store, new, now=NOON), surcharges=surcharges, host=HOST)


def test_sql_computes_the_bill_of_any_answer(io_loop: IOLoop, store: Store) -> None:
    """What SQL computes of a shipped row is its cost, which is the bill where that is exact."""
    rows: list[tuple[Row, Billed]] = []

    @KEEP
    @given(st.sampled_from(PATHS).flatmap(billed))
    def add(case: Billed) -> None:
        async def work() -> None:
            book = await stored_book(store, case.terms)
            row = settled(case.path, read_whole(case.path, case.body), book, len(rows) + 1)
            rows.append((row, case))
            await ship(store, [row])

        io_loop.run_sync(work)

    async def compare() -> None:
        costs = {id_: (cost, due) for id_, cost, due in await store.fetch(DUE)}
        assert len(costs) == len(rows)
        for row, case in rows:
            cost, due = costs[str(row.intent.request_id)]
            assert cost == due == row.cost
            expected = bill(case.path, case.body, case.terms)
            assert expected is not None
            assert expected.lowest <= Fraction(due) <= expected.highest
        assert await run_checks(store, 1000) == []

    add()
    io_loop.run_sync(compare)
