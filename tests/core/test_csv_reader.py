"""Tests of the reader of CSV files, as spreadsheets write them."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.csv_reader import read_rows
from chatgpt_agent.core.errors import InvalidValue

ROWS = [(1, ["name", "comment"]), (2, ["alice", "Sales"])]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_csv_of_any_spreadsheet_is_read(mark: bytes, end: str, delimiter: str) -> None:
    """Byte order marks, line ends and delimiters may differ."""
    text = end.join([f"name{delimiter}comment", f"alice{delimiter}Sales", ""])
    assert read_rows(mark + text.encode()) == ROWS


def test_quoted_cells_may_hold_delimiters_and_line_ends() -> None:
    """Rows keep the line numbers that an editor shows."""
    data = b'name,comment\nalice,"a ""b"", c\nd"\nbob,x\n'
    assert read_rows(data) == [(1, ["name", "comment"]), (2, ["alice", 'a "b", c\nd']), (4, ["bob", "x"])]


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r")), min_size=2), min_size=1))
def test_cells_are_read_as_they_were_written(cells: list[list[str]]) -> None:
    """Any text survives writing and reading."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["name", "comment"], *cells])
    assert [row for _, row in read_rows(out.getvalue().encode())] == [["name", "comment"], *cells]


def test_other_encoding_is_rejected() -> None:
    """The error names the line and the encoding to use."""
    with pytest.raises(InvalidValue, match=r"line 3: is not UTF-8 text; save the file as `CSV UTF-8`"):
        read_rows("name\nalice\nJörg\n".encode("latin-1"))


@pytest.mark.parametrize("text", ['name\nalice,"open\n', 'name\n"a"b\n'])
def test_invalid_csv_is_rejected(text: str) -> None:
    """The error names the line in which the invalid row begins."""
    with pytest.raises(InvalidValue, match="line 2: is not CSV: "):
        read_rows(text.encode())


def test_file_that_is_too_large_is_rejected() -> None:
    """The error names the limit."""
    with pytest.raises(InvalidValue, match="larger than 3 bytes"):
        read_rows(b"name", max_bytes=3)
