"""Tables for reading, as wide as the terminal: long cells are wrapped, and columns that do not fit are named.

Where standard output is no terminal nothing is left out, because a program may read it.
"""

import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import click
import msgspec

T = TypeVar("T")
Columns = Mapping[str, Callable[[T], object]]  # headings of a table, each with its cell of a row

GAP = 2  # spaces between two columns, and at least after a heading: those of tabulate
LONG = 40  # a cell of this width is wrapped before columns are left out
SHORTEST = 20  # width to which a cell is wrapped at least


class FittedTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table of at most a certain width. `widths`: to which the cells of a column are wrapped; `left_out`: headings of
    columns that do not fit."""

    headers: list[str]
    rows: list[list[str]]
    widths: list[int | None]
    left_out: list[str]


def echo_table(headers: Sequence[str], lines: Iterable[Sequence[object]], *, keep: Collection[str] = ()) -> None:
    """Prints a table. `keep`: headings that are not left out, however narrow the terminal is."""
    from tabulate import tabulate  # only here: with wcwidth it takes a tenth of a second to import

    rows = [["" if cell is None else str(cell) for cell in line] for line in lines]
    # tabulate drops a heading without cells.
    assert all(len(row) == len(headers) for row in rows), "a heading has no cells"
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    table = fit(headers, rows, width, keep)
    wrapped = table.widths if any(table.widths) else None
    click.echo(tabulate(table.rows, table.headers, disable_numparse=True, tablefmt="simple", maxcolwidths=wrapped))
    if table.left_out:
        columns = ", ".join(table.left_out)
        text = f"These columns do not fit: {columns}. In a pipe (| less -S) the table has all columns."
        click.echo(click.wrap_text(text, width or len(text)), err=True)


def echo_rows(columns: Columns[T], rows: Iterable[T], *, keep: Collection[str] = ()) -> None:
    """Prints a table with a line for each row; `keep` as in `echo_table`."""
    echo_table([*columns], ([cell(row) for cell in columns.values()] for row in rows), keep=keep)


def newest(rows: Sequence[T], limit: int) -> Sequence[T]:
    """Returns the first `limit` rows, of which the caller has read one more if there is one; says so on standard
    error."""
    if len(rows) > limit:
        click.echo(f"These are the newest {limit}; --limit shows more.", err=True)
    return rows[:limit]


def fit(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, keep: Collection[str] = ()
) -> FittedTable:
    """Returns what of a table fits into a width; None: all of it. Empty columns go first, without a word; then a long
    column is wrapped; then columns go from the right, and the widest one left is wrapped."""
    widths = [_column_width(header, [row[at] for row in rows]) for at, header in enumerate(headers)]
    visible = list(range(len(headers)))
    left_out: list[str] = []
    if width is not None:
        for at in reversed(range(len(headers))):
            if _total(widths, visible) > width and rows and not any(row[at] for row in rows):
                visible.remove(at)
        wrap = _wrapped(widths, visible, width, longer_than=LONG)
        while not wrap and _total(widths, visible) > width:
            optional = [at for at in visible[1:] if headers[at] not in keep]
            if not optional:
                break
            visible.remove(optional[-1])
            left_out.insert(0, headers[optional[-1]])
            wrap = _wrapped(widths, visible, width, longer_than=LONG)
        wrap = wrap or _wrapped(widths, visible, width, longer_than=SHORTEST)
    else:
        wrap = {}
    return FittedTable(
        headers=[headers[at] for at in visible],
        rows=[[row[at] for at in visible] for row in rows],
        widths=[wrap.get(at) for at in visible],
        left_out=left_out,
    )


def _wrapped(widths: Sequence[int], visible: Sequence[int], width: int, *, longer_than: int) -> dict[int, int]:
    """Returns the width to which the widest column must be wrapped, by its number; empty if that does not help."""
    widest = max(visible, key=lambda at: widths[at])
    excess = _total(widths, visible) - width
    if excess <= 0 or widths[widest] <= longer_than or widths[widest] - excess < SHORTEST:
        return {}
    return {widest: widths[widest] - excess}


def _total(widths: Sequence[int], visible: Sequence[int]) -> int:
    return sum(widths[at] for at in visible) + GAP * (len(visible) - 1)


def _column_width(header: str, cells: Iterable[str]) -> int:
    lines = (line for cell in cells for line in cell.splitlines())
    return max([_width(header) + GAP, *map(_width, lines)])


def _width(text: str) -> int:
    """Returns how many columns of a terminal a text takes: Chinese characters take two."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth  # only here: as tabulate

    return max(wcswidth(text), 0)
