"""Reads files as spreadsheets and other programs write them: bytes to text, and text to the rows of CSV."""

import csv
import io

from chatgpt_agent.core.errors import InvalidValue

MAX_FILE = 16 * 1024 * 1024  # bytes of a table of users


class NotCsv(InvalidValue):
    """A text that is not CSV. `reason` says why without the line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: is not CSV: {reason}")
        self.reason = reason


def trimmed(data: bytes, name: str) -> bytes:
    """Returns a file's content without a byte order mark and without white space at its ends. Raises InvalidValue with
    the file's name where nothing is left."""
    data = data.removeprefix(b"\xef\xbb\xbf").strip()
    if not data:
        raise InvalidValue(f"{name}: is empty")
    return data


def csv_rows(text: str, delimiter: str = ",") -> list[tuple[int, list[str]]]:
    """Returns the rows, each with the number of the line in which it begins. Raises NotCsv."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    first_line = 1
    try:
        for cells in reader:
            rows.append((first_line, cells))
            first_line = reader.line_num + 1
    except csv.Error as error:
        raise NotCsv(first_line, str(error)) from None
    return rows


def read_rows(data: bytes, *, max_bytes: int = MAX_FILE) -> list[tuple[int, list[str]]]:
    """Returns the rows of a spreadsheet's CSV: UTF-8 with or without a byte order mark, separated by commas or
    semicolons. Raises InvalidValue."""
    if len(data) > max_bytes:
        raise InvalidValue(f"the file is larger than {max_bytes} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InvalidValue(f"line {line}: is not UTF-8 text; save the file as `CSV UTF-8`") from None
    header = text.lstrip().partition("\n")[0]
    return csv_rows(text, ";" if header.count(";") > header.count(",") else ",")
