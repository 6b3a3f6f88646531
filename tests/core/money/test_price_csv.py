"""Lists of prices: our CSV, and how a list differs from what there is."""

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.price_csv import COLUMNS, csv_cells, difference, exported, read_table, same
from chatgpt_agent.core.money.pricing import NewPrice, Price, PriceBook, Tier
from tests.support.prices import new_prices

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ONE, TWO = Rates(input=Decimal(1), output=Decimal(1)), Rates(input=Decimal(2), output=Decimal(2))

names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8) | st.sampled_from(
    ["=1+1", "+a", "-a", "@a", "'", "''", "'=a", "''=a", 'a"b', "a,b", "a;b", "a b"]
)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
GONE = NewPrice("m", Rates())


def price(number: int, new: NewPrice, when: datetime = NOON) -> Price:
    """A price as a row has it."""
    return Price(id=number, model=new.model, effective_at=new.effective_at or when, rates=new.rates, tiers=new.tiers)


@st.composite
def histories(draw: st.DrawFn) -> list[Price]:
    """Prices of a few models, on dates that meet, with removals between them."""
    models = draw(st.lists(names, min_size=1, max_size=3))
    dates = draw(st.lists(moments, min_size=1, max_size=4))
    drawn = draw(
        st.lists(st.tuples(st.sampled_from(models), st.sampled_from(dates), new_prices() | st.just(GONE)), max_size=8)
    )
    return [
        price(number, NewPrice(model, new.rates, new.tiers, when)) for number, (model, when, new) in enumerate(drawn)
    ]


def written(prices: list[Price]) -> list[list[str]]:
    """The table as a file has it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows(map(csv_cells, prices))
    return list(csv.reader(io.StringIO(out.getvalue(), newline=""), strict=True))


def applied(prices: list[Price], wanted: list[NewPrice]) -> list[Price]:
    """The prices after a list was imported."""
    changes = difference(prices, wanted, NOON).changes
    return [*prices, *(price(1000 + number, change.new) for number, change in enumerate(changes))]


@settings(deadline=None, max_examples=200)
@given(histories())
def test_history_that_is_imported_again_is_the_same(prices: list[Price]) -> None:
    """In an empty database: at every moment the same price, whatever its name, date, rates and tiers."""
    before, after = PriceBook(prices), PriceBook(applied([], read_table(written(exported(prices)))))
    for each in prices:
        for when in (each.effective_at - timedelta(microseconds=1), each.effective_at, NOON):
            old, new = before.at(each.model, when), after.at(each.model, when)
            assert (old and (old.rates, old.tiers)) == (new and (new.rates, new.tiers))


@settings(deadline=None)
@given(histories())
def test_history_changes_nothing_where_it_is_from(prices: list[Price]) -> None:
    """Every price of the file is in force already."""
    found = difference(prices, read_table(written(exported(prices))), NOON)
    assert (found.changes, found.unchanged) == ([], len(exported(prices)))


@settings(deadline=None)
@given(histories(), histories())
def test_list_that_was_imported_is_in_force(prices: list[Price], others: list[Price]) -> None:
    """Each wanted price holds on its date, and a second import finds nothing to do."""
    wanted = read_table(written(exported(others)))
    book = PriceBook(applied(prices, wanted))
    assert all(same(new, book.at(new.model, new.effective_at or NOON)) for new in wanted)
    assert difference(applied(prices, wanted), wanted, NOON).changes == []


@given(names)
def test_no_name_is_a_formula_in_the_file(name: str) -> None:
    """And each is read as what it was."""
    [_, cells] = written([price(1, NewPrice(name, ONE))])
    assert cells[0][0] not in "=+-@\t\r"
    assert read_table([list(COLUMNS), cells])[0].model == name


def test_new_changed_removed_and_unchanged_are_told_apart() -> None:
    """With the price that is in force until then."""
    old = [price(number, NewPrice(model, ONE), NOON - DAY) for number, model in enumerate("abc")]
    wanted = [NewPrice("a", ONE), NewPrice("b", TWO), NewPrice("c", Rates()), NewPrice("d", ONE)]
    found = difference(old, wanted, NOON)
    assert [(change.new.model, change.kind, change.before) for change in found.changes] == [
        ("b", "changed", old[1]),
        ("c", "removed", old[2]),
        ("d", "new", None),
    ]
    assert [change.new.effective_at for change in found.changes] == [NOON] * 3
    assert found.unchanged == 1


def test_a_price_of_its_date_is_what_a_price_is_compared_with() -> None:
    """Not the one of today."""
    old = [price(1, NewPrice("m", ONE), NOON - DAY), price(2, NewPrice("m", TWO), NOON)]
    assert difference(old, [NewPrice("m", ONE, (), NOON - DAY)], NOON).changes == []
    assert difference(old, [NewPrice("m", ONE, (), NOON)], NOON).changes[0].before == old[1]


def test_the_order_of_tiers_does_not_matter() -> None:
    """They are chosen by what they are for."""
    flex, batch = (Tier(service_tier=name, multiplier=Decimal("0.5")) for name in ("flex", "batch"))
    old = [price(1, NewPrice("m", ONE, (flex, batch)))]
    assert difference(old, [NewPrice("m", ONE, (batch, flex))], NOON).changes == []
    assert len(difference(old, [NewPrice("m", ONE, (batch,))], NOON).changes) == 1


def test_price_that_never_held_is_not_exported() -> None:
    """Another one was set for the same moment."""
    prices = [price(1, NewPrice("m", ONE)), price(2, NewPrice("m", TWO))]
    assert exported(prices) == prices[1:]


def test_three_columns_are_enough() -> None:
    """In any order, with blank lines between."""
    found = read_table([["output", " model ", "input"], ["2", "m", "1"], [], ["", "", ""], ["4", "n", "3"]])
    assert [(new.model, new.rates.input, new.rates.output, new.effective_at) for new in found] == [
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
def test_date_is_utc_where_it_does_not_say(date: str, moment: datetime) -> None:
    """As everywhere."""
    [found] = read_table([["model", "effective_at", "input", "output"], ["m", date, "1", "1"]])
    assert found.effective_at == moment


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "is no list of prices: its first line has no heading model"),
        ([["model", "input"]], "there is no heading 'output'"),
        ([["model", "input", "output", "prize"]], "'prize' is not a heading of prices, which are model, effective_at"),
        ([["model;input;output"]], ".*; cells are separated by commas"),
        ([["model", "input", "output", "input"]], "a heading is there twice"),
        ([["model", "input", "output"], ["m", "1"]], "row 2: there are 2 cells below 3 headings"),
        ([["model", "input", "output"], ["m", "1", "2", "3"]], "row 2: there are 4 cells below 3 headings"),
        ([["model", "input", "output"], ["m", "1", "2"], ["n", "x", "2"]], "row 3: input: 'x' is not a number"),
        ([["model", "input", "output"], ["m", "1", ""]], "row 2: the price: both input and output"),
        ([["model", "input", "output"], ["m", "NaN", "1"]], "row 2: input: NaN is not between"),
        ([["model", "input", "output"], ["", "1", "1"]], "row 2: model: ''"),
        ([["model", "input", "output"], ["m", "1", "1"], [], ["m", "1", "1"]], "row 4: 'm' has a price .* in row 2"),
        ([["model", "input", "output", "tiers"], ["m", "1", "1", "flex"]], "row 2: tier 'flex': give WHEN:WHAT"),
        ([["model", "input", "output", "tiers"], ["m", "1", "1", "a:x1;a:x2"]], "row 2: a tier is there twice"),
        ([["model", "input", "output", "tiers"], ["m", "", "", "a:x1"]], "row 2: the price: both input and output"),
        ([["model", "input", "output", "effective_at"], ["m", "1", "1", "soon"]], "row 2: effective_at: 'soon' is not"),
        (
            [["model", "input", "output", "effective_at"], ["m", "1", "1", "0001-01-01T00:00+14:00"]],
            "row 2: effective_at",
        ),
    ],
)
def test_fault_of_a_table_is_named_with_its_row(rows: list[list[str]], message: str) -> None:
    """In one line."""
    with pytest.raises(InvalidValue, match=f"^{message}"):
        read_table(rows)
