"""CSV files of people, as spreadsheets write them."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core import csv_reader
from chatgpt_agent.core.csv_reader import read_rows
from chatgpt_agent.core.errors import InvalidValue

ROWS = [(1, ["name", "comment"]), (2, ["alice", "Sales"])]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_every_spreadsheets_way_is_read(mark: bytes, end: str, delimiter: str) -> None:
    """With a byte order mark or without, on every system, in every country."""
    text = end.join([f"name{delimiter}comment", f"alice{delimiter}Sales", ""])
    assert read_rows(mark + text.encode()) == ROWS


def test_quoted_cells_hold_what_separates_others() -> None:
    """And lines keep the numbers that an editor shows, though a cell goes over several."""
    data = b'name,comment\nalice,"a ""b"", c\nd"\nbob,x\n'
    assert read_rows(data) == [(1, ["name", "comment"]), (2, ["alice", 'a "b", c\nd']), (4, ["bob", "x"])]


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r")), min_size=2), min_size=1))
def test_what_is_written_is_read(cells: list[list[str]]) -> None:
    """Whatever stands in the cells."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["name", "comment"], *cells])
    assert [row for _, row in read_rows(out.getvalue().encode())] == [["name", "comment"], *cells]


def test_other_encodings_are_told() -> None:
    """With the line, and what to do."""
    with pytest.raises(InvalidValue, match=r"line 3: is not UTF-8 text; save the file as `CSV UTF-8`"):
        read_rows("name\nalice\nJörg\n".encode("latin-1"))


@pytest.mark.parametrize("text", ['name\nalice,"open\n', 'name\n"a"b\n'])
def test_what_is_no_csv_is_told(text: str) -> None:
    """With the line in which it begins."""
    with pytest.raises(InvalidValue, match="line 2: is not CSV: "):
        read_rows(text.encode())


def test_a_file_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be no table of people."""
    monkeypatch.setattr(csv_reader, "MAX_FILE", 3)
    with pytest.raises(InvalidValue, match="larger than 3 bytes"):
        read_rows(b"name")
