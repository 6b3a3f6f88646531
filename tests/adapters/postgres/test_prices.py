"""The cost of tokens in SQL: equal to that in Python, for rows, for the check of the ledger, and for other prices."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.checks import run_checks
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.prices import COST_SQL, add_prices, list_prices
from chatgpt_agent.adapters.postgres.repricing import GROUPS, RepricedGroup, reprice
from chatgpt_agent.adapters.postgres.usage import ship
from chatgpt_agent.admin.corrections import Corrections
from chatgpt_agent.core.errors import StoreBadValue
from chatgpt_agent.core.ledger import Row, State
from chatgpt_agent.core.money.exact import exact_sum
from chatgpt_agent.core.money.kinds import Rates, RightCounts
from chatgpt_agent.core.money.pricing import NewPrice, Price, Tier
from chatgpt_agent.core.usage import Usage
from tests.support.database import allow_edits, query
from tests.support.factories import NOON, make_intent, request_id
from tests.support.prices import SERVICE_TIERS, exact_cost, new_prices, usages

SINCE = NOON.date()
# On Citus, only a subquery may be joined with a table that is not distributed.
COST_OF_ROWS = f"""
    SELECT r.request_id::text, r.cost, due.cost
    FROM (SELECT * FROM usage OFFSET 0) r JOIN prices p ON p.id = r.price_id {COST_SQL}"""
# Rows of all examples stay in one database, so that a smaller example would be another one: nothing is shrunk.
KEEP = settings(max_examples=25, phases=[Phase.explicit, Phase.generate])

pytestmark = pytest.mark.usefixtures("partitions")

calls = st.lists(st.tuples(usages(), st.sampled_from(SERVICE_TIERS)), min_size=1, max_size=8)


class LedgerRows:
    """A database and the rows added to it, each with its own request id."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.rows: list[Row] = []

    async def price(self, new: NewPrice) -> Price:
        """Sets a price and returns it as stored."""
        await add_prices(self.store, [new], now=NOON)
        return max(await list_prices(self.store), key=lambda price: price.id)

    async def add(self, price: Price, usage: Usage | None, service_tier: str | None = None, **intent: Any) -> Row:
        """Adds a row with the cost of these tokens at this price."""
        cost = price.cost(usage, service_tier) if usage else Decimal(0)
        request = make_intent(len(self.rows) + 1, **{"model": price.model, "price_id": price.id, **intent})
        state = State.DONE if usage else State.UNKNOWN
        row = Row(intent=request, state=state, price_id=price.id, cost=cost, usage=usage, service_tier=service_tier)
        self.rows.append(row)
        await ship(self.store, [row])
        return row


@pytest.fixture
def ledger(store: Store) -> LedgerRows:
    """An empty ledger."""
    return LedgerRows(store)


def test_sql_computes_the_same_cost_as_python(io_loop: IOLoop, ledger: LedgerRows) -> None:
    """Any prices, tiers and tokens cost the same, and the check of the ledger finds every other cost."""

    @KEEP
    @given(new_prices(), calls)
    def add(new: NewPrice, drawn: list[tuple[Usage, str | None]]) -> None:
        async def work() -> None:
            price = await ledger.price(new)
            assert (price.rates, price.tiers) == (new.rates, new.tiers)
            for usage, service_tier in drawn:
                row = await ledger.add(price, usage, service_tier)
                assert Fraction(row.cost) == exact_cost(new, usage, service_tier)

        io_loop.run_sync(work)

    async def compare() -> None:
        due = await ledger.store.fetch(COST_OF_ROWS)
        assert [line for line in due if line[1] != line[2]] == []
        assert len(due) == len(ledger.rows)
        assert await run_checks(ledger.store, 1000) == []
        allow_edits(ledger.store.dsn)
        await ledger.store.fetch("UPDATE usage SET cost = cost + 1e-17")
        wrong = {finding.subject for finding in await run_checks(ledger.store, 1000) if finding.check == "cost"}
        assert wrong == {str(row.intent.request_id) for row in ledger.rows}

    add()
    io_loop.run_sync(compare)


@pytest.mark.parametrize("kind", ["cached", "cache_write", "audio_input", "image_input"])
@pytest.mark.parametrize("count", [-1, 5])
async def test_the_check_finds_an_impossible_part_of_the_input(
    ledger: LedgerRows, dsn: str, kind: str, count: int
) -> None:
    """No kind of token is negative or more than the input."""
    await ledger.add(await ledger.price(CHEAP), Usage(input=4, output=4))
    allow_edits(dsn)
    query(dsn, f"UPDATE usage SET {kind}_tokens = 4")
    assert "tokens" not in {finding.check for finding in await run_checks(ledger.store, 9)}
    query(dsn, f"UPDATE usage SET {kind}_tokens = {count}")
    assert "tokens" in {finding.check for finding in await run_checks(ledger.store, 9)}


@pytest.mark.parametrize("kind", ["reasoning", "audio_output", "image_output"])
async def test_the_check_finds_an_impossible_part_of_the_output(ledger: LedgerRows, dsn: str, kind: str) -> None:
    """No kind of token is more than the output."""
    await ledger.add(await ledger.price(CHEAP), Usage(input=4, output=4))
    allow_edits(dsn)
    query(dsn, f"UPDATE usage SET {kind}_tokens = 5")
    assert "tokens" in {finding.check for finding in await run_checks(ledger.store, 9)}


async def test_prices_are_set_all_or_none(store: Store) -> None:
    """If the database rejects the second price, the first one is not set, either."""
    fine = NewPrice("a", Rates(input=Decimal(1), output=Decimal(1)))
    with pytest.raises(StoreBadValue):
        await add_prices(store, [fine, NewPrice("b", Rates(input=Decimal(1)))], now=NOON)
    assert await list_prices(store) == []


# Repricing.


async def totals(ledger: LedgerRows, new: NewPrice, **other: Any) -> tuple[Decimal, Decimal]:
    """The charged and the other cost of all requests."""
    lines = await reprice(ledger.store, ["model"], [new], since=SINCE, any_model=True, **other)
    return exact_sum(line.cost for line in lines), exact_sum(line.other_cost for line in lines)


def test_repricing_at_the_same_price_gives_the_same_cost(io_loop: IOLoop, ledger: LedgerRows) -> None:
    """At its own price a request costs the same, and at another one what Python computes."""
    drawn_prices: list[tuple[NewPrice, NewPrice]] = []

    @KEEP
    @given(new_prices(), new_prices(), calls)
    def add(new: NewPrice, other: NewPrice, drawn: list[tuple[Usage, str | None]]) -> None:
        async def work() -> None:
            model = f"m{len(drawn_prices)}"
            price = await ledger.price(NewPrice(model, new.rates, new.tiers))
            drawn_prices.append((new, other))
            for usage, service_tier in drawn:
                await ledger.add(price, usage, service_tier)
            rows = [row for row in ledger.rows if row.intent.model == model]
            spent = sum(Fraction(row.cost) for row in rows)
            same, again = await totals(ledger, new, model=model)
            assert (Fraction(same), Fraction(again)) == (spent, spent)
            _, others = await totals(ledger, other, model=model)
            assert Fraction(others) == sum(exact_cost(other, usage, name) for usage, name in drawn)

        io_loop.run_sync(work)

    add()


CHEAP = NewPrice("m", Rates(input=Decimal(1_000_000), output=Decimal(0)), (Tier(above=5, multiplier=Decimal(10)),))
DEAR = NewPrice("m", Rates(input=Decimal(3_000_000), output=Decimal(0)))


async def test_correction_is_repriced_with_its_row(ledger: LedgerRows) -> None:
    """With tiers only the corrected row as a whole has a cost, not the differences."""
    await ledger.add(await ledger.price(CHEAP), Usage(input=4, output=0))
    await Corrections(ledger.store).correct(request_id(1), RightCounts(input=6, output=0), "reason")
    assert await totals(ledger, CHEAP) == (Decimal(60), Decimal(60))
    assert await totals(ledger, DEAR) == (Decimal(60), Decimal(18))


async def test_request_without_tokens_costs_nothing_at_any_price(ledger: LedgerRows) -> None:
    """A row of unknown usage costs nothing until it is corrected."""
    await ledger.add(await ledger.price(CHEAP), None)
    assert await totals(ledger, DEAR) == (Decimal(0), Decimal(0))
    await Corrections(ledger.store).correct(request_id(1), RightCounts(input=2, output=0), "reason")
    assert await totals(ledger, DEAR) == (Decimal(2), Decimal(6))


async def test_groups_are_in_the_configured_time_zone(ledger: LedgerRows) -> None:
    """Days and months are those of the time zone in settings."""
    await ledger.store.fetch("UPDATE settings SET value = 'Pacific/Kiritimati' WHERE name = 'time_zone'")  # UTC+14
    await ledger.store.fetch(
        "INSERT INTO users (id, name, upstream_key, created_at) VALUES (1, 'ann', 'x', %s)", [NOON]
    )
    await ledger.add(await ledger.price(CHEAP), Usage(input=4, output=0), user_id=1)
    [line] = await reprice(ledger.store, list(GROUPS), [DEAR], since=date(2024, 5, 18), any_model=True)
    assert line == RepricedGroup(
        group=("ann", "m", "2024-05-18", "2024-05"),
        requests=1,
        unpriced_requests=0,
        cost=Decimal(4),
        other_cost=Decimal(12),
    )


@pytest.mark.parametrize(
    ("since", "until", "requests"), [(0, None, 2), (0, 0, 1), (1, None, 1), (1, 1, 1), (2, None, 0), (-9, -1, 0)]
)
async def test_the_first_and_last_day_are_included(
    ledger: LedgerRows, since: int, until: int | None, requests: int
) -> None:
    """Only rows of days within the range are repriced."""
    price = await ledger.price(CHEAP)
    for days in (0, 1):
        await ledger.add(price, Usage(input=1, output=0), started_at=NOON + timedelta(days=days))
    last = None if until is None else SINCE + timedelta(days=until)
    lines = await reprice(ledger.store, ["model"], [DEAR], since=SINCE + timedelta(days=since), until=last)
    assert sum(line.requests for line in lines) == requests


async def test_a_row_is_repriced_as_the_model_that_it_was_charged_as(ledger: LedgerRows) -> None:
    """A row whose charged model has no other price keeps its cost, and is counted."""
    for model in ("a", "b"):
        price = await ledger.price(NewPrice(model, CHEAP.rates))
        await ledger.add(price, Usage(input=4, output=0), model="requested")
    lines = await reprice(ledger.store, ["model"], [NewPrice("b", DEAR.rates)], since=SINCE)
    assert lines == [
        RepricedGroup(group=("requested",), requests=2, unpriced_requests=1, cost=Decimal(8), other_cost=Decimal(16))
    ]


async def test_imported_rows_are_not_repriced(ledger: LedgerRows, dsn: str) -> None:
    """The cost of an imported row is that of the original program."""
    await ledger.add(await ledger.price(CHEAP), Usage(input=4, output=0))
    allow_edits(dsn)
    query(dsn, "UPDATE usage SET state = 'imported'")
    assert await totals(ledger, DEAR) == (Decimal(0), Decimal(0))
