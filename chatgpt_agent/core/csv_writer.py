"""Writes CSV (RFC 4180) in which spreadsheets find no formulas."""

import csv
import io
from collections.abc import Iterable, Sequence


class Amount(str):
    """An amount as text: not a formula, although it may begin with a minus."""

    __slots__ = ()


def csv_text(headers: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Returns a table with its headings."""
    return "".join([csv_line(headers), *map(csv_line, lines)])


def csv_line(cells: Sequence[object]) -> str:
    """Returns one line with its line end."""
    out = io.StringIO()
    csv.writer(out).writerow([_not_a_formula(cell) for cell in cells])
    return out.getvalue()


def _not_a_formula(cell: object) -> object:
    """Prefixes a text that a spreadsheet would run as a formula
    (https://owasp.org/www-community/attacks/CSV_Injection)."""
    if isinstance(cell, Amount) or not isinstance(cell, str) or cell[:1] not in ("=", "+", "-", "@", "\t", "\r"):
        return cell
    return f"'{cell}"
