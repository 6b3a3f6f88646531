"""Prices as an administrator sets, imports and tries them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin import prices as service
from chatgpt_agent.admin.prices import Prices
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.errors import InvalidValue, NotFound
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import NewPrice, Tier
from tests.support.database import query
from tests.support.factories import NOON

ONE, TWO = Rates(input=Decimal(1), output=Decimal(1)), Rates(input=Decimal(2), output=Decimal(2))
FLEX = Tier(service_tier="flex", multiplier=Decimal("0.5"))
DAY = timedelta(days=1)


@pytest.fixture
def prices(io_loop: IOLoop, dsn: str) -> Iterator[Prices]:
    """The service, on a database of the test's own, for somebody."""
    store = Store(dsn)
    yield Prices(store, Actor("ann", Via.REST, "192.0.2.1"))
    io_loop.run_sync(store.close)


async def test_tiers_are_kept_to_the_last_digit(prices: Prices) -> None:
    """With every kind of rate."""
    own = Tier(service_tier="priority", above=5, input=Decimal("0.0000000001"), output=Decimal(10**6))
    rates = Rates(**dict.fromkeys(Rates.__struct_fields__, Decimal("999999.9999999999")))
    await prices.set_price("m", rates, [FLEX, own])
    [price] = await prices.in_force()
    assert (price.rates, price.tiers) == (rates, (FLEX, own))


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "-1"])
async def test_amount_that_is_none_is_refused(prices: Prices, amount: str) -> None:
    """By whatever way it comes."""
    wrong = Rates(input=Decimal(1), output=Decimal(1), image_output=Decimal(amount))
    tier = Tier(service_tier="flex", multiplier=Decimal(amount))
    for work in (
        prices.set_price("m", wrong),
        prices.set_price("m", ONE, [tier]),
        prices.compare([NewPrice("m", wrong)]),
        prices.compare([NewPrice("m", ONE, (tier,))]),
        prices.reprice(["model"], since=NOON.date(), at=NewPrice("m", wrong)),
    ):
        with pytest.raises(InvalidValue, match="is not between"):
            await work
    assert await prices.prices() == []


async def test_list_is_set_in_one_statement(prices: Prices, dsn: str) -> None:
    """From one moment on, in the name of whoever asked."""
    changes = await prices.compare([NewPrice("a", ONE, (FLEX,)), NewPrice("b", TWO)])
    assert await prices.prices() == []
    await prices.apply(changes)
    found = await prices.prices()
    assert [(price.model, price.rates, price.tiers) for price in found] == [("a", ONE, (FLEX,)), ("b", TWO, ())]
    assert found[0].effective_at == found[1].effective_at
    assert (
        query(dsn, "SELECT actor, via, address, action FROM audit_log WHERE object = 'prices'")
        == [("ann", "rest", "192.0.2.1", "insert")] * 2
    )


async def test_list_that_changes_nothing_writes_nothing(prices: Prices) -> None:
    """Not even a row."""
    for _ in range(2):
        await prices.apply(await prices.compare([NewPrice("a", ONE)]))
    assert len(await prices.prices()) == 1


async def test_date_of_the_list_gives_way_to_another(prices: Prices) -> None:
    """All its prices are from that date on."""
    found = await prices.compare([NewPrice("a", ONE, (), NOON), NewPrice("b", ONE)], since=NOON + DAY)
    assert [change.new.effective_at for change in found.changes] == [NOON + DAY] * 2


async def test_two_prices_cannot_have_the_same_date(prices: Prices) -> None:
    """As those of a history would."""
    history = [NewPrice("a", ONE, (), NOON), NewPrice("a", TWO, (), NOON + DAY)]
    assert len((await prices.compare(history)).changes) == 2
    with pytest.raises(InvalidValue, match="'a' is there twice"):
        await prices.compare(history, since=NOON)


async def test_list_without_end_is_refused(prices: Prices, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is bounded."""
    monkeypatch.setattr(service, "MAX_PRICES", 1)
    with pytest.raises(InvalidValue, match="more than 1 prices"):
        await prices.compare([NewPrice("a", ONE), NewPrice("b", ONE)])


async def test_model_that_cannot_be_asked_for_is_refused(prices: Prices) -> None:
    """In a list, too."""
    with pytest.raises(InvalidValue, match="model: "):
        await prices.compare([NewPrice("a\nb", ONE)])


async def test_export_has_what_is_in_force_or_all(prices: Prices) -> None:
    """A price that is to come is in the history."""
    await prices.set_price("m", ONE, since=NOON)
    await prices.set_price("m", TWO, since=datetime.now(UTC) + DAY)
    assert [price.rates for price in await prices.export()] == [ONE]
    assert [price.rates for price in await prices.export(history=True)] == [ONE, TWO]


async def test_removal_is_exported(prices: Prices) -> None:
    """And taken over under another name it is one again."""
    await prices.set_price("m", ONE, [FLEX], since=NOON)
    await prices.remove_price("m")
    exported = [
        NewPrice(price.model, price.rates, price.tiers, price.effective_at)
        for price in await prices.export(history=True)
    ]
    found = await prices.compare([msgspec.structs.replace(new, model="n") for new in exported])
    assert [change.kind for change in found.changes] == ["new", "removed"]


async def test_history_at_a_model_without_a_price_is_refused(prices: Prices) -> None:
    """By its name."""
    with pytest.raises(NotFound, match="the model 'n' has no price"):
        await prices.reprice(["model"], since=NOON.date(), as_model="n")
