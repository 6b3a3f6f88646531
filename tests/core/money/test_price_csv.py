"""Tests of price lists as CSV, and of the changes that a list makes."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.csv_reader import csv_rows
from chatgpt_agent.core.csv_writer import csv_text
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.price_csv import COLUMNS, csv_cells, difference, effective_prices, is_same, read_table
from chatgpt_agent.core.money.pricing import NewPrice, Price, PriceBook, Tier
from tests.support.prices import new_prices

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ONE, TWO = Rates(input=Decimal(1), output=Decimal(1)), Rates(input=Decimal(2), output=Decimal(2))

names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8) | st.sampled_from(
    ["=1+1", "+a", "-a", "@a", "'", "''", "'=a", "''=a", 'a"b', "a,b", "a;b", "a b"]
)
moments = st.datetimes(datetime(2000, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC))
REMOVED = NewPrice("m", Rates())


def price(number: int, new: NewPrice, when: datetime = NOON) -> Price:
    """Returns a new price as the database would hold it."""
    return Price(id=number, model=new.model, effective_at=new.effective_at or when, rates=new.rates, tiers=new.tiers)


@st.composite
def histories(draw: st.DrawFn) -> list[Price]:
    """Draws prices of a few models, some on the same dates, with removals between them."""
    models = draw(st.lists(names, min_size=1, max_size=3))
    dates = draw(st.lists(moments, min_size=1, max_size=4))
    drawn = draw(
        st.lists(
            st.tuples(st.sampled_from(models), st.sampled_from(dates), new_prices() | st.just(REMOVED)), max_size=8
        )
    )
    return [
        price(number, NewPrice(model, new.rates, new.tiers, when)) for number, (model, when, new) in enumerate(drawn)
    ]


def written(prices: list[Price]) -> list[list[str]]:
    """Returns the table of prices as a reader of the file sees it."""
    return [cells for _, cells in csv_rows(csv_text(COLUMNS, map(csv_cells, prices)))]


def applied(prices: list[Price], listed: list[NewPrice]) -> list[Price]:
    """Returns the prices after a list was imported."""
    changes = difference(prices, listed, NOON).changes
    return [*prices, *(price(1000 + number, change.new) for number, change in enumerate(changes))]


@settings(max_examples=200)
@given(histories())
def test_exported_history_imports_to_the_same_prices(prices: list[Price]) -> None:
    """In an empty database every model has the same price at every moment."""
    before, after = PriceBook(prices), PriceBook(applied([], read_table(written(effective_prices(prices)))))
    for each in prices:
        for when in (each.effective_at - timedelta(microseconds=1), each.effective_at, NOON):
            old, new = before.at(each.model, when), after.at(each.model, when)
            assert (old and (old.rates, old.tiers)) == (new and (new.rates, new.tiers))


@given(histories())
def test_exported_history_changes_nothing_in_its_own_database(prices: list[Price]) -> None:
    """Every price of the file is in force already."""
    result = difference(prices, read_table(written(effective_prices(prices))), NOON)
    assert (result.changes, result.unchanged) == ([], len(effective_prices(prices)))


@given(histories(), histories())
def test_imported_list_is_in_force(prices: list[Price], others: list[Price]) -> None:
    """Each listed price is in force on its date, and a second import changes nothing."""
    listed = read_table(written(effective_prices(others)))
    book = PriceBook(applied(prices, listed))
    assert all(is_same(new, book.at(new.model, new.effective_at or NOON)) for new in listed)
    assert difference(applied(prices, listed), listed, NOON).changes == []


@given(names)
def test_model_names_are_not_formulas(name: str) -> None:
    """A name that a spreadsheet would run is guarded in the file and restored when read."""
    [_, cells] = written([price(1, NewPrice(name, ONE))])
    assert cells[0][0] not in "=+-@\t\r"
    assert read_table([list(COLUMNS), cells])[0].model == name


def test_changes_have_their_kind_and_the_price_before() -> None:
    """A change is new, changed or removed; unchanged prices are counted."""
    old = [price(number, NewPrice(model, ONE), NOON - DAY) for number, model in enumerate("abc")]
    listed = [NewPrice("a", ONE), NewPrice("b", TWO), NewPrice("c", Rates()), NewPrice("d", ONE)]
    result = difference(old, listed, NOON)
    assert [(change.new.model, change.kind, change.before) for change in result.changes] == [
        ("b", "changed", old[1]),
        ("c", "removed", old[2]),
        ("d", "new", None),
    ]
    assert [change.new.effective_at for change in result.changes] == [NOON] * 3
    assert result.unchanged == 1


def test_price_is_compared_with_the_one_of_its_date() -> None:
    """The price in force on the date of the new one counts, not the current one."""
    old = [price(1, NewPrice("m", ONE), NOON - DAY), price(2, NewPrice("m", TWO), NOON)]
    assert difference(old, [NewPrice("m", ONE, (), NOON - DAY)], NOON).changes == []
    assert difference(old, [NewPrice("m", ONE, (), NOON)], NOON).changes[0].before == old[1]


def test_order_of_tiers_is_no_change() -> None:
    """Tiers are chosen by what they apply to, so their order has no effect."""
    flex, batch = (Tier(service_tier=name, multiplier=Decimal("0.5")) for name in ("flex", "batch"))
    old = [price(1, NewPrice("m", ONE, (flex, batch)))]
    assert difference(old, [NewPrice("m", ONE, (batch, flex))], NOON).changes == []
    assert len(difference(old, [NewPrice("m", ONE, (batch,))], NOON).changes) == 1


def test_price_that_was_replaced_on_its_date_is_not_exported() -> None:
    """The last of two prices with the same date is the only one with an effect."""
    prices = [price(1, NewPrice("m", ONE)), price(2, NewPrice("m", TWO))]
    assert effective_prices(prices) == prices[1:]


def test_three_columns_are_enough() -> None:
    """Model, input and output may stand in any order, with blank lines between."""
    prices = read_table([["output", " model ", "input"], ["2", "m", "1"], [], ["", "", ""], ["4", "n", "3"]])
    assert [(new.model, new.rates.input, new.rates.output, new.effective_at) for new in prices] == [
        ("m", 1, 2, None),
        ("n", 3, 4, None),
    ]


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        ("2026-05-01", NOON - DAY / 2),
        ("2026-05-01T12:00:00Z", NOON),
        ("2026-05-01 12:00:00", NOON),
        ("2026-05-01T14:00:00+02:00", NOON),
    ],
)
def test_date_without_offset_is_utc(date: str, moment: datetime) -> None:
    """A date is in UTC unless it has an offset."""
    [price] = read_table([["model", "effective_at", "input", "output"], ["m", date, "1", "1"]])
    assert price.effective_at == moment


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "is not a list of prices: its first line must name columns, of model"),
        ([["model", "input"]], "missing column 'output'"),
        ([["model", "input", "output", "prize"]], "unknown column 'prize'; allowed: model, effective_at"),
        ([["model;input;output"]], ".*; cells are separated by commas"),
        ([["model", "input", "output", "input"]], "duplicate column"),
        ([["model", "input", "output"], ["m", "1"]], "row 2: 2 cells for 3 columns"),
        ([["model", "input", "output"], ["m", "1", "2", "3"]], "row 2: 4 cells for 3 columns"),
        ([["model", "input", "output"], ["m", "1", "2"], ["n", "x", "2"]], "row 3: input: 'x' is not a number"),
        ([["model", "input", "output"], ["m", "1", ""]], "row 2: the price: both input and output"),
        ([["model", "input", "output"], ["m", "NaN", "1"]], "row 2: input: NaN is not between"),
        ([["model", "input", "output"], ["", "1", "1"]], "row 2: model: ''"),
        ([["model", "input", "output"], ["m", "1", "1"], [], ["m", "1", "1"]], "row 4: 'm' has a price .* in row 2"),
        ([["model", "input", "output", "tiers"], ["m", "1", "1", "flex"]], "row 2: tier 'flex': give WHEN:WHAT"),
        ([["model", "input", "output", "tiers"], ["m", "1", "1", "a:x1;a:x2"]], "row 2: duplicate tier"),
        ([["model", "input", "output", "tiers"], ["m", "", "", "a:x1"]], "row 2: the price: both input and output"),
        ([["model", "input", "output", "effective_at"], ["m", "1", "1", "soon"]], "row 2: effective_at: 'soon' is not"),
        (
            [["model", "input", "output", "effective_at"], ["m", "1", "1", "0001-01-01T00:00+14:00"]],
            "row 2: effective_at",
        ),
    ],
)
def test_invalid_table_is_rejected_with_its_row(rows: list[list[str]], message: str) -> None:
    """The error is one line that begins with the number of the row."""
    with pytest.raises(InvalidValue, match=f"^{message}"):
        read_table(rows)
