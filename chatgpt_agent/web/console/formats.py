"""Values in the words of a language: numbers, money, times. Amounts are rounded for reading; CSV has all digits."""

import functools
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime, format_timedelta
from babel.numbers import NumberPattern, format_decimal, format_percent, get_currency_symbol, parse_pattern

from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.web.console.parts import Bar, Brief, Button, Kind, Link, Mark

UNKNOWN = "–"
_SMALL_USD = 12  # digits after the point, at most
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Formats:
    """The formats of a language, with times in `zone`, the one of the reports."""

    def __init__(self, language: str, zone: str) -> None:
        self.locale = Locale.parse(language)
        self.zone = ZoneInfo(zone)

    def value(self, value: Any, kind: Kind) -> str:
        """Returns a value as text; a text stays as it is. None: it is not known, which is not zero."""
        if value is None:
            return UNKNOWN
        if isinstance(value, str):
            return value
        return str(_FORMATS[kind](self, value))

    def number(self, value: float | Decimal) -> str:
        """Returns a number with the separators of the language."""
        return str(format_decimal(value, locale=self.locale))

    def usd(self, value: Decimal) -> str:
        """Returns USD: to the cent, or, below a dollar, to the first two digits that are not zero."""
        size = abs(value)
        return self._usd(value, 2 if size == 0 or size >= 1 else min(_SMALL_USD, max(2, 1 - size.adjusted())))

    def _usd(self, value: Decimal, digits: int) -> str:
        return str(_usd_pattern(self.locale, digits).apply(value, self.locale))

    def exact_usd(self, value: Decimal) -> str:
        """Returns USD with all of its digits, at least to the cent."""
        digits = max(2, len(format_usd(value).partition(".")[2]))
        return self._usd(value, digits)

    def percent(self, value: float | Decimal) -> str:
        """Returns a fraction as whole percent."""
        return str(format_percent(value, locale=self.locale))

    def change(self, value: float | Decimal) -> str:
        """Returns a fraction as whole percent with its sign."""
        return f"+{self.percent(value)}" if value > 0 else self.percent(value)

    def milliseconds(self, value: float) -> str:
        """Returns a duration in the unit that suits it."""
        if value < 1000:
            return f"{self.number(round(value))} ms"
        return f"{self.number(round(value / 1000, 1))} s"

    def bytes(self, value: float) -> str:
        """Returns a size in the unit that suits it."""
        step = 0
        while value >= 1024 and step < len(_UNITS) - 1:
            value, step = value / 1024, step + 1
        return f"{self.number(round(value, 1))} {_UNITS[step]}"

    def time(self, value: datetime) -> str:
        """Returns a moment in the time zone of the reports."""
        return str(format_datetime(value, "medium", tzinfo=self.zone, locale=self.locale))

    def day(self, value: date) -> str:
        """Returns a day."""
        return _day(value, self.locale)

    def weekday(self, value: datetime) -> str:
        """Returns the name of a moment's day of the week."""
        return str(format_date(value.astimezone(self.zone).date(), "EEEE", locale=self.locale))

    def ago(self, value: datetime, now: datetime) -> str:
        """Returns how long ago a moment was, in words."""
        return str(format_timedelta(min(value - now, timedelta(0)), add_direction=True, locale=self.locale))


# Charts repeat these for hundreds of cells.


@functools.lru_cache(maxsize=64)
def _usd_pattern(locale: Locale, digits: int) -> NumberPattern:
    pattern = locale.currency_formats["standard"].pattern
    # Babel would look the symbol and the name of the currency up for each amount.
    symbol = get_currency_symbol("USD", locale)
    return parse_pattern(pattern.replace("0.00", "0." + "0" * digits).replace("¤", symbol))


@functools.lru_cache(maxsize=1024)
def _day(value: date, locale: Locale) -> str:
    return str(format_date(value, "medium", locale=locale))


_FORMATS: dict[Kind, Any] = {
    Kind.TEXT: lambda _, value: value,
    Kind.CODE: lambda _, value: value,
    Kind.NUMBER: Formats.number,
    Kind.USD: Formats.usd,
    Kind.EXACT_USD: Formats.exact_usd,
    Kind.PERCENT: Formats.percent,
    Kind.CHANGE: Formats.change,
    Kind.MILLISECONDS: Formats.milliseconds,
    Kind.BYTES: Formats.bytes,
    Kind.TIME: Formats.time,
    Kind.DAY: Formats.day,
    Kind.FLAG: lambda _, value: "✓" if value else "✗",
}


def plain(cell: Any) -> Any:
    """Returns the value of a cell for CSV and for charts: exact, and in the notation of our other files."""
    match cell:
        case None:
            return ""
        case Link() | Bar() | Mark():
            return plain(cell.value)
        case Brief():
            return cell.exact
        case Button():
            return ""
        case list():
            return "; ".join(text for text in map(str, map(plain, cell)) if text)
        case bool():
            return "true" if cell else "false"
        case Decimal():
            return format_usd(cell)
        case datetime() | date():
            return cell.isoformat()
        case _:
            return cell
