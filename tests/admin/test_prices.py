"""Prices as an administrator sets, imports and tries them."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.price_import import PriceImport
from chatgpt_agent.admin.price_what_if import WhatIfQuery
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.errors import Conflict, InvalidValue, NotFound, StoreRejected
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.litellm_surcharges import ListedSurcharges
from chatgpt_agent.core.money.price_files import PriceFile
from chatgpt_agent.core.money.pricing import NewPrice, PriceBook, Tier
from chatgpt_agent.core.money.surcharges import NewSurcharge
from tests.support.administration import administration_on
from tests.support.database import query
from tests.support.factories import NOON

ONE, TWO = Rates(input=Decimal(1), output=Decimal(1)), Rates(input=Decimal(2), output=Decimal(2))
FLEX = Tier(service_tier="flex", multiplier=Decimal("0.5"))
DAY = timedelta(days=1)


def listed(*new: NewPrice) -> PriceFile:
    """A file with these prices."""
    return PriceFile(list(new), [])


@pytest.fixture
def admin(io_loop: IOLoop, dsn: str) -> Iterator[Administration]:
    """The use cases, on a database of the test's own."""
    administration = administration_on(dsn, actor=Actor("ann", Via.REST, "192.0.2.1"))
    yield administration
    io_loop.run_sync(administration.stores.close)


async def test_set_returns_the_price_it_wrote(admin: Administration) -> None:
    """The returned price has the id, date and rates that the database stored."""
    price = await admin.prices.set("m", ONE, [FLEX], since=NOON)
    assert await admin.prices.history() == [price]
    assert (price.model, price.effective_at, price.tiers) == ("m", NOON, (FLEX,))


async def test_rates_and_tiers_keep_every_digit(admin: Administration) -> None:
    """Rates of every kind are stored exactly, those of tiers as well."""
    own = Tier(service_tier="priority", above=5, input=Decimal("0.0000000001"), output=Decimal(10**6))
    rates = Rates(**dict.fromkeys(Rates.__struct_fields__, Decimal("999999.9999999999")))
    await admin.prices.set("m", rates, [FLEX, own])
    [price] = await admin.prices.in_force()
    assert (price.rates, price.tiers) == (rates, (FLEX, own))


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "-1"])
async def test_invalid_amount_is_refused(admin: Administration, amount: str) -> None:
    """Every use case that takes a price refuses an amount that is negative or no finite number."""
    wrong = Rates(input=Decimal(1), output=Decimal(1), image_output=Decimal(amount))
    tier = Tier(service_tier="flex", multiplier=Decimal(amount))
    for work in (
        admin.prices.set("m", wrong),
        admin.prices.set("m", ONE, [tier]),
        admin.price_import.compare(listed(NewPrice("m", wrong))),
        admin.price_import.compare(listed(NewPrice("m", ONE, (tier,)))),
        admin.what_if.report(WhatIfQuery(by=["model"], since=NOON.date(), price=NewPrice("m", wrong))),
    ):
        with pytest.raises(InvalidValue, match="is not between"):
            await work
    assert await admin.prices.history() == []


async def test_list_is_set_in_one_statement(admin: Administration, dsn: str) -> None:
    """All prices of a list take effect at one moment, and the audit log names the actor."""
    difference = await admin.price_import.compare(listed(NewPrice("a", ONE, (FLEX,)), NewPrice("b", TWO)))
    assert await admin.prices.history() == []
    await admin.price_import.apply(difference)
    prices = await admin.prices.history()
    assert [(price.model, price.rates, price.tiers) for price in prices] == [("a", ONE, (FLEX,)), ("b", TWO, ())]
    assert prices[0].effective_at == prices[1].effective_at
    assert (
        query(dsn, "SELECT actor, via, address, action FROM audit_log WHERE object = 'prices'")
        == [("ann", "rest", "192.0.2.1", "insert")] * 2
    )


async def test_list_is_set_as_a_whole_or_not_at_all(admin: Administration, dsn: str) -> None:
    """If the database refuses a day of shutdown, prices and surcharges before it are not set either."""
    fee = NewSurcharge(kind="web_search", amount=Decimal("0.01"), model="a")
    file = PriceFile(
        [NewPrice("a", ONE)], [], surcharges=ListedSurcharges(fees=[fee]), shutdown_dates={"a": date(1999, 1, 1)}
    )
    with pytest.raises(StoreRejected):
        await admin.price_import.apply(await admin.price_import.compare(file))
    assert query(dsn, "SELECT 1 FROM prices UNION ALL SELECT 1 FROM surcharges") == []
    await admin.price_import.apply(
        await admin.price_import.compare(msgspec.structs.replace(file, shutdown_dates={"a": date(2027, 1, 1)}))
    )
    assert await admin.prices.shutdown_dates() == {"a": date(2027, 1, 1)}
    assert [surcharge.amount for surcharge in await admin.surcharges.in_force()] == [Decimal("0.01")]


async def test_unchanged_list_writes_nothing(admin: Administration) -> None:
    """A list of prices that are in force already adds no row."""
    for _ in range(2):
        await admin.price_import.apply(await admin.price_import.compare(listed(NewPrice("a", ONE))))
    assert len(await admin.prices.history()) == 1


async def test_since_replaces_the_dates_of_the_list(admin: Administration) -> None:
    """With `since`, all prices of a list take effect on that date."""
    file = listed(NewPrice("a", ONE, (), NOON), NewPrice("b", ONE))
    difference = await admin.price_import.compare(file, since=NOON + DAY)
    assert [change.new.effective_at for change in difference.prices.changes] == [NOON + DAY] * 2


async def test_two_prices_of_one_date_are_refused(admin: Administration) -> None:
    """A model cannot have two prices from one date on, as a history with `since` would give it."""
    history = listed(NewPrice("a", ONE, (), NOON), NewPrice("a", TWO, (), NOON + DAY))
    assert len((await admin.price_import.compare(history)).prices.changes) == 2
    with pytest.raises(InvalidValue, match="duplicate price of 'a' from the same date on"):
        await admin.price_import.compare(history, since=NOON)


async def test_too_long_list_is_refused(admin: Administration) -> None:
    """The number of prices in a list is bounded."""
    use_case = PriceImport(admin.stores.changes, admin.prices, max_prices=1)
    with pytest.raises(InvalidValue, match="more than 1 prices"):
        await use_case.compare(listed(NewPrice("a", ONE), NewPrice("b", ONE)))


async def test_model_that_no_request_can_name_is_refused(admin: Administration) -> None:
    """A list is refused for a model's name with control characters."""
    with pytest.raises(InvalidValue, match="model: "):
        await admin.price_import.compare(listed(NewPrice("a\nb", ONE)))


async def test_export_lists_prices_in_force_or_the_history(admin: Administration) -> None:
    """A price of a later date is in the history only."""
    await admin.prices.set("m", ONE, since=NOON)
    await admin.prices.set("m", TWO, since=datetime.now(UTC) + DAY)
    assert [price.rates for price in await admin.prices.export()] == [ONE]
    assert [price.rates for price in await admin.prices.export(history=True)] == [ONE, TWO]


async def test_removal_is_exported(admin: Administration) -> None:
    """The exported end of a price, imported for another model, ends that model's price."""
    await admin.prices.set("m", ONE, [FLEX], since=NOON)
    await admin.prices.remove("m")
    exported = [
        NewPrice(price.model, price.rates, price.tiers, price.effective_at)
        for price in await admin.prices.export(history=True)
    ]
    difference = await admin.price_import.compare(
        listed(*(msgspec.structs.replace(new, model="n") for new in exported))
    )
    assert [change.kind for change in difference.prices.changes] == ["new", "removed"]


async def test_what_if_of_a_model_without_a_price_is_refused(admin: Administration) -> None:
    """The error names the model."""
    with pytest.raises(NotFound, match="the model 'n' has no price"):
        await admin.what_if.report(WhatIfQuery(by=["model"], since=NOON.date(), as_model="n"))


async def test_price_is_in_force_from_now_on(admin: Administration) -> None:
    """The price keeps every digit."""
    rate = Decimal("0.1234567891")
    await admin.prices.set("m", Rates(input=rate, output=rate))
    [price] = await admin.prices.history()
    assert (price.model, price.rates.input, price.rates.output) == ("m", rate, rate)
    assert PriceBook([price]).at("m", price.effective_at) == price


async def test_price_can_start_on_a_date(admin: Administration) -> None:
    """The previous price applies until then."""
    await admin.prices.set("m", ONE, since=NOON)
    await admin.prices.set("m", TWO, since=NOON + DAY)
    book = PriceBook(await admin.prices.history())
    prices = [book.at("m", NOON + timedelta(hours=hours)) for hours in (-1, 0, 23, 24)]
    assert [price and price.rates.input for price in prices] == [None, 1, 1, 2]


async def test_new_price_keeps_the_previous_one(admin: Administration) -> None:
    """Rows that were charged with the previous price still refer to it."""
    await admin.prices.set("m", ONE)
    [first] = await admin.prices.history()
    await admin.prices.set("m", TWO)
    assert [price.rates.input for price in await admin.prices.history()] == [1, 2]
    assert first in await admin.prices.history()


async def test_removed_price_ends_now(admin: Administration) -> None:
    """Its history stays."""
    await admin.prices.set("m", ONE, since=NOON)
    await admin.prices.remove("m")
    prices = await admin.prices.history()
    assert len(prices) == 2
    assert PriceBook(prices).at("m", prices[-1].effective_at) is None
    assert PriceBook(prices).at("m", NOON) is not None


async def test_removal_cancels_prices_of_later_dates(admin: Administration) -> None:
    """The model never has a price again, until one is set; what was cancelled is returned."""
    later = [datetime.now(UTC) + days * DAY for days in (1, 2)]
    await admin.prices.set("m", ONE, since=NOON)
    scheduled = [await admin.prices.set("m", TWO, since=date) for date in later]
    other = await admin.prices.set("n", TWO, since=later[0])
    removal = await admin.prices.remove("m")
    assert removal.ended is not None
    assert [price.id for price in removal.cancelled] == [price.id for price in scheduled]
    assert PriceBook(await admin.prices.history()).at("m", later[1]) is None
    assert await admin.prices.upcoming() == [other]


async def test_price_of_a_later_date_only_can_be_removed(admin: Administration) -> None:
    """Nothing ends now, and nothing comes."""
    await admin.prices.set("m", ONE, since=datetime.now(UTC) + DAY)
    assert (await admin.prices.remove("m")).ended is None
    assert await admin.prices.upcoming() == []
    with pytest.raises(NotFound, match="the model 'm' has no price"):
        await admin.prices.remove("m")


async def test_cancelled_price_never_takes_effect(admin: Administration) -> None:
    """The price before it stays in force, as if the cancelled one had never been set; exports leave it out."""
    first = await admin.prices.set("m", ONE, since=NOON)
    later = datetime.now(UTC) + DAY
    scheduled = await admin.prices.set("m", TWO, since=later)
    assert (await admin.prices.cancel(scheduled.id)).cancelled_at is not None
    assert PriceBook(await admin.prices.history()).at("m", later) == first
    assert await admin.prices.export(history=True) == [first]
    with pytest.raises(Conflict, match="is cancelled already"):
        await admin.prices.cancel(scheduled.id)


async def test_price_in_force_is_not_cancelled(admin: Administration) -> None:
    """Rows may be charged with it; the error says what to do."""
    price = await admin.prices.set("m", ONE, since=NOON)
    with pytest.raises(Conflict, match="so it cannot be cancelled: set another price, or remove the model's"):
        await admin.prices.cancel(price.id)
    with pytest.raises(NotFound, match="there is no price 99"):
        await admin.prices.cancel(99)


async def test_removal_of_a_later_date_can_be_cancelled(admin: Administration) -> None:
    """A list may have set it; the price then stays in force."""
    await admin.prices.set("m", ONE, since=NOON)
    [end] = await admin.prices.add([NewPrice("m", Rates(), (), datetime.now(UTC) + DAY)])
    await admin.prices.cancel(end.id)
    assert PriceBook(await admin.prices.history()).at("m", datetime.now(UTC) + 2 * DAY) is not None


async def test_removal_without_a_price_is_rejected(admin: Administration) -> None:
    """A removed price cannot be removed again."""
    await admin.prices.set("m", ONE)
    await admin.prices.remove("m")
    for model in ("m", "n"):
        with pytest.raises(NotFound, match=f"the model '{model}' has no price"):
            await admin.prices.remove(model)
