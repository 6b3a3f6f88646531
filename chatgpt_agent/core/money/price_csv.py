"""Lists of prices as CSV, and the difference between a list and the prices in the database."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from chatgpt_agent.core.csv_writer import escaped, unescaped
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.moments import parse_moment
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.core.money.kinds import RATE_NAMES, Rates
from chatgpt_agent.core.money.pricing import NewPrice, Price, PriceBook, check_price, parse_usd
from chatgpt_agent.core.money.tier_syntax import kind_name, parse_tiers, show_tiers

COLUMNS = ("model", "effective_at", *RATE_NAMES, "tiers")


class Change(msgspec.Struct, frozen=True):
    """A price that a list would set, with its date, and the price in force until then."""

    new: NewPrice
    before: Price | None

    @property
    def kind(self) -> str:
        """`new`, `changed` or `removed`."""
        if self.new.removes:
            return "removed"
        return "new" if self.before is None else "changed"


class Difference(msgspec.Struct, frozen=True):
    """The changes that a list would make, and how many of its prices are in force already."""

    changes: list[Change]
    unchanged: int


def difference(prices: Iterable[Price], listed: Iterable[NewPrice], now: datetime) -> Difference:
    """Returns the changes with which each listed price is in force from its date on."""
    histories: dict[str, list[Price]] = {}
    for price in prices:
        histories.setdefault(price.model, []).append(price)
    number = 1 + max((price.id for history in histories.values() for price in history), default=0)
    dated = [msgspec.structs.replace(new, effective_at=new.effective_at or now) for new in listed]
    changes: list[Change] = []
    unchanged = 0
    for count, new in enumerate(sorted(dated, key=lambda new: (new.effective_at or now, new.model)), number):
        when = new.effective_at or now
        history = histories.setdefault(new.model, [])
        before = PriceBook(history).at(new.model, when)
        if is_same(new, before):
            unchanged += 1
            continue
        changes.append(Change(new, before))
        history.append(Price(id=count, model=new.model, effective_at=when, rates=new.rates, tiers=new.tiers))
    return Difference(changes, unchanged)


def is_same(new: NewPrice, price: Price | None) -> bool:
    """Whether a price has the same rates and tiers as a new one."""
    if price is None:
        return new.removes
    return new.rates == price.rates and frozenset(new.tiers) == frozenset(price.tiers)


def effective_prices(prices: Sequence[Price]) -> list[Price]:
    """Returns the prices that are, were or will be in force: without those that were cancelled, or replaced by another
    of the same date."""
    lasting = sorted((price for price in prices if price.cancelled_at is None), key=lambda price: price.id)
    last = {(price.model, price.effective_at): price for price in lasting}
    return sorted(last.values(), key=lambda price: (price.model, price.effective_at))


def csv_cells(price: Price) -> list[str]:
    """Returns the cells of a price for `csv_text`, in the order of `COLUMNS`."""
    moment = price.effective_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    amounts = ["" if rate is None else format_usd(rate) for rate in price.rates.all_rates().values()]
    return [escaped(price.model), moment, *amounts, show_tiers(price.tiers)]


def read_table(rows: Sequence[Sequence[str]]) -> list[NewPrice]:
    """Returns the prices of a table, whose first row names the columns: at least `model`, `input` and `output`. A row
    without any rate removes the model's price. Raises InvalidValue with the number of the row."""
    headings = [cell.strip() for cell in rows[0]] if rows else []
    _check_headings(headings)
    prices: list[NewPrice] = []
    rows_by_price: dict[tuple[str, datetime | None], int] = {}
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            if len(row) != len(headings):
                raise InvalidValue(f"{len(row)} cells for {len(headings)} columns")
            price = _price_of(dict(zip(headings, row, strict=True)))
            check_price(price)
        except InvalidValue as error:
            raise InvalidValue(f"row {number}: {error.message}") from None
        first = rows_by_price.setdefault((price.model, price.effective_at), number)
        if first != number:
            raise InvalidValue(f"row {number}: {price.model!r} has a price of the same date in row {first}")
        prices.append(price)
    return prices


def _check_headings(headings: Sequence[str]) -> None:
    hint = "; cells are separated by commas" if any(";" in heading for heading in headings) else ""
    if not set(headings) & set(COLUMNS):  # the content is not quoted: it may be a file with a key
        raise InvalidValue(f"is not a list of prices: its first line must name columns, of {', '.join(COLUMNS)}{hint}")
    for heading in headings:
        if heading not in COLUMNS:
            raise InvalidValue(f"unknown column {heading[:80]!r}; allowed: {', '.join(COLUMNS)}{hint}")
    for needed in ("model", "input", "output"):
        if needed not in headings:
            raise InvalidValue(f"missing column {needed!r}")
    if len(set(headings)) < len(headings):
        raise InvalidValue("duplicate column")


def _price_of(cells: dict[str, str]) -> NewPrice:
    amounts = {kind: cells[kind] for kind in RATE_NAMES if cells.get(kind, "").strip()}
    return NewPrice(
        unescaped(cells["model"]),
        Rates(**{kind: parse_usd(text, kind_name(kind)) for kind, text in amounts.items()}),
        parse_tiers(cells.get("tiers", ""), "tier"),
        parse_moment(text, "effective_at") if (text := cells.get("effective_at", "").strip()) else None,
    )
