"""Rows of any answers, shipped to PostgreSQL, cost there what OpenAI bills; the check of the ledger agrees."""

import contextlib
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.checks import run_checks
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.prices import COST_SQL, add_prices
from chatgpt_agent.adapters.postgres.repricing import reprice
from chatgpt_agent.adapters.postgres.surcharges import add_surcharges
from chatgpt_agent.adapters.postgres.usage import ship
from chatgpt_agent.admin.corrections import Corrections
from chatgpt_agent.core.errors import Conflict, InvalidValue
from chatgpt_agent.core.ledger import Outcome, Row, State, settle
from chatgpt_agent.core.money.kinds import Rates, RightCounts
from chatgpt_agent.core.money.pricing import NewPrice, PriceBook
from chatgpt_agent.core.money.surcharges import NewSurcharge
from chatgpt_agent.core.usage import Answer, Usage
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
from tests.support.factories import NOON, make_intent
from tests.support.openai_bill import Terms, bill

PATHS = list(ANSWERS)
# On Citus, only a subquery may be joined with a table that is not distributed.
DUE = f"""
    SELECT r.request_id::text, r.cost, due.cost
    FROM (SELECT * FROM usage OFFSET 0) r JOIN prices p ON p.id = r.price_id {COST_SQL}"""
# Rows of all examples stay in one database, so that a smaller example would be another one: nothing is shrunk.
KEEP = settings(max_examples=60, phases=[Phase.explicit, Phase.generate])

pytestmark = pytest.mark.usefixtures("partitions")


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


COUNTS = st.none() | st.integers(0, 10**6)
NAMES = [name for name in RightCounts.__struct_fields__ if name not in ("input", "output", "cached", "seconds")]


@st.composite
def right_counts(draw: st.DrawFn) -> RightCounts:
    """New counts of some kinds, beside an input and an output that have room for them; most of them a row can have."""
    values: dict[str, Any] = {name: draw(COUNTS) for name in draw(st.lists(st.sampled_from(NAMES), max_size=4))}
    parts = [count or 0 for count in values.values()]
    cached = sum(values.get(name) or 0 for name in ("cached_audio", "cached_image")) + draw(st.integers(0, 10**6))
    room = st.integers(sum(parts) + cached, 10**7)
    seconds = draw(st.none() | st.decimals(0, 1000, places=3))
    return RightCounts(**values, input=draw(room), output=draw(room), cached=cached, seconds=seconds)


def test_a_ledger_is_consistent_after_any_corrections(io_loop: IOLoop, store: Store) -> None:
    """Whatever counts a row had and gets, the sum of it and its correction has their cost."""
    corrections = Corrections(store)
    corrected: list[UUID] = []
    numbers = count(1)

    @KEEP
    @given(st.sampled_from(PATHS).flatmap(lambda path: billed(path)), st.lists(right_counts(), max_size=3))
    def correct(case: Billed, tries: list[RightCounts]) -> None:
        async def work() -> None:
            book = await stored_book(store, case.terms)
            row = settled(case.path, read_whole(case.path, case.body), book, next(numbers))
            await ship(store, [row])
            for right in tries:
                with contextlib.suppress(InvalidValue, Conflict):  # the counts contradict each other, or have no price
                    await corrections.correct(row.intent.request_id, right, "as OpenAI has it")
                    corrected.append(row.intent.request_id)

        io_loop.run_sync(work)

    async def check() -> None:
        assert len(corrected) > 10
        assert await run_checks(store, 1000) == []

    correct()
    io_loop.run_sync(check)


async def test_a_correction_is_charged_the_rows_own_surcharges(store: Store) -> None:
    """Calls that the row had none of cost what they cost when it began; later surcharges change nothing."""
    [price] = await add_prices(
        store, [NewPrice("m", Rates(input=Decimal(1), output=Decimal(2)), effective_at=NOON)], now=NOON
    )
    new = [
        NewSurcharge(kind="multiplier", host=HOST, amount=Decimal(3), effective_at=NOON),
        NewSurcharge(kind="web_search", amount=Decimal("0.5"), effective_at=NOON),
        NewSurcharge(kind="web_search", amount=Decimal(9), effective_at=NOON + timedelta(days=1)),
    ]
    surcharges = await add_surcharges(store, new, now=NOON)
    book = PriceBook([price], surcharges=surcharges, host=HOST)
    answer = Answer(usage=Usage(input=10**6, output=0), model="m")
    row = settle(make_intent(1, model="m", price_id=price.id), Outcome(state=State.DONE, answer=answer), price, book)
    assert row.cost == 3
    await ship(store, [row])
    done = await Corrections(store).correct(
        row.intent.request_id, RightCounts(input=2 * 10**6, output=0, web_search_calls=4), "the bill"
    )
    assert done.cost_after == 2 * 3 + 4 * Decimal("0.5")
    sql = "SELECT surcharge_ids, uncertain_reason, uncertain_cost FROM usage WHERE state = 'correction'"
    ids = [surcharges[0].id, surcharges[1].id]
    # OpenAI does not say whether the factor of a host applies to calls.
    assert await store.fetch(sql) == [(ids, "call_multiplier", 2 * 2)]
    assert await run_checks(store, 10) == []


@pytest.mark.parametrize(
    ("right", "text"),
    [
        (RightCounts(input=1, output=0, seconds=Decimal(5)), "seconds: m had no price per minute"),
        (RightCounts(input=1, output=0, web_search_calls=1), "web_search_calls: no surcharge of the kind web_search"),
        (RightCounts(input=1, output=0, image_tool_output=1), "image_tool: the request had no tool image_generation"),
    ],
)
async def test_a_count_without_a_price_is_not_corrected(store: Store, right: RightCounts, text: str) -> None:
    """It would silently be free."""
    [price] = await add_prices(
        store, [NewPrice("m", Rates(input=Decimal(1), output=Decimal(2)), effective_at=NOON)], now=NOON
    )
    answer = Answer(usage=Usage(input=1, output=0), model="m")
    intent = make_intent(1, model="m", price_id=price.id)
    await ship(store, [settle(intent, Outcome(state=State.DONE, answer=answer), price, PriceBook([price]))])
    with pytest.raises(InvalidValue, match=text):
        await Corrections(store).correct(intent.request_id, right, "why")


async def test_only_the_models_own_tokens_have_another_price(store: Store) -> None:
    """What past requests would have cost at other prices includes the surcharges and the image tool's cost of each."""
    new = [
        NewPrice("m", Rates(input=Decimal(1), output=Decimal(2)), effective_at=NOON),
        NewPrice("painter", Rates(input=Decimal(5), output=Decimal(7)), effective_at=NOON),
    ]
    prices = await add_prices(store, new, now=NOON)
    fees = [
        NewSurcharge(kind="multiplier", host=HOST, amount=Decimal(3), effective_at=NOON),
        NewSurcharge(kind="web_search", amount=Decimal("0.5"), effective_at=NOON),
    ]
    book = PriceBook(prices, surcharges=await add_surcharges(store, fees, now=NOON), host=HOST)
    drawn = Usage(input=0, output=10**6)
    usages = [
        Usage(input=10**6, output=0, web_search_calls=4, image_tool=drawn),
        Usage(input=10**6, output=0, image_tool=drawn),
    ]
    for number, usage in enumerate(usages, 1):
        intent = make_intent(number, model="m", price_id=prices[0].id, image_model="painter")
        outcome = Outcome(state=State.DONE, answer=Answer(usage=usage, model="m"))
        await ship(store, [settle(intent, outcome, prices[0], book)])
    right = RightCounts(input=10**6, output=0, web_search_calls=4)
    await Corrections(store).correct(intent.request_id, right, "the bill")
    dearer = NewPrice("m", Rates(input=Decimal(10), output=Decimal(2)))
    [group] = await reprice(store, ["model"], [dearer], since=NOON.date())
    assert (group.requests, group.cost) == (2, 2 * ((1 + 7) * 3 + 2))
    assert group.other_cost == 2 * ((10 + 7) * 3 + 2)
