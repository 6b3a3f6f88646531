"""CSV as others write out (RFC 4180), of which no spreadsheet takes a cell for a formula."""

import csv
import io
from collections.abc import Iterable, Sequence


class Amount(str):
    """An amount as text, which is no formula though it may begin with a minus."""

    __slots__ = ()


def csv_text(headers: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A table with its headings."""
    return "".join([csv_line(headers), *map(csv_line, lines)])


def csv_line(cells: Sequence[object]) -> str:
    """One line, with its end."""
    out = io.StringIO()
    csv.writer(out).writerow([_not_a_formula(cell) for cell in cells])
    return out.getvalue()


def _not_a_formula(cell: object) -> object:
    """A spreadsheet runs a text that begins like a formula
    (https://owasp.org/www-community/attacks/CSV_Injection)."""
    if isinstance(cell, Amount) or not isinstance(cell, str) or cell[:1] not in ("=", "+", "-", "@", "\t", "\r"):
        return cell
    return f"'{cell}"
