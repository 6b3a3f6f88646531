"""A CSV file of people, as spreadsheets write them: UTF-8 with or without a mark, commas or semicolons."""

import csv
import io

from chatgpt_agent.core.errors import InvalidValue

MAX_FILE = 16 * 1024 * 1024  # bytes


def read_rows(data: bytes) -> list[tuple[int, list[str]]]:
    """The rows of a file's content, each with the number of the line that it begins in. Raises InvalidValue."""
    if len(data) > MAX_FILE:
        raise InvalidValue(f"the file is larger than {MAX_FILE} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InvalidValue(f"line {line}: is not UTF-8 text; save the file as `CSV UTF-8`") from None
    header = text.lstrip().partition("\n")[0]
    delimiter = ";" if header.count(";") > header.count(",") else ","
    reader, rows, begins = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [], 1
    try:
        for cells in reader:
            rows.append((begins, cells))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise InvalidValue(f"line {begins}: is not CSV: {error}") from None
    return rows
