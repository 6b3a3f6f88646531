"""Writes CSV in which spreadsheets find no formulas: lines end with LF, as every tool of Unix expects, or, for Excel,
with CRLF after a byte order mark, without which Excel does not read UTF-8."""

import csv
import io
from collections.abc import Iterable, Sequence

BYTE_ORDER_MARK = "\ufeff"

# A spreadsheet runs a text that begins with one of these as a formula
# (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class Amount(str):
    """An amount as text: not a formula, although it may begin with a minus."""

    __slots__ = ()


def csv_text(headers: Sequence[str], lines: Iterable[Sequence[object]], *, excel: bool = False) -> str:
    """Returns a table with its headings; `excel`: as Excel reads it."""
    mark = BYTE_ORDER_MARK if excel else ""
    return mark + "".join(csv_line(cells, excel=excel) for cells in (headers, *lines))


def csv_line(cells: Sequence[object], *, excel: bool = False) -> str:
    """Returns one line with its line end."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n" if excel else "\n").writerow([_guarded(cell) for cell in cells])
    return out.getvalue()


def _guarded(cell: object) -> object:
    """Puts an apostrophe before a text that a spreadsheet would run."""
    if isinstance(cell, str) and not isinstance(cell, Amount) and cell.startswith(_FORMULA_STARTS):
        return f"'{cell}"
    return cell


def escaped(text: str) -> str:
    """Returns a text that `unescaped` restores after it was written: its own apostrophe at the beginning is doubled."""
    return f"'{text}" if text.startswith("'") else text


def unescaped(text: str) -> str:
    """Removes the apostrophe that was put before a text when it was written."""
    return text[1:] if text.startswith("'") and text[1:].startswith((*_FORMULA_STARTS, "'")) else text
