"""Files with OpenAI's figures: JSON pages of its API, or CSV exports of its dashboard."""

import csv
import io
from pathlib import Path

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.openai_usage import Page, read_pages, read_table

MAX_FILE = 256 * 1024 * 1024  # bytes


def read_bytes(path: Path, limit: int) -> bytes:
    """What a file holds, without a byte order mark and space around it. Raises InvalidValue with the file's name: it
    cannot be read, is empty, or larger than so many bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InvalidValue(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise InvalidValue(f"{path}: is larger than {limit} bytes")
    return trimmed(data, str(path))


def trimmed(data: bytes, name: str) -> bytes:
    """What a file holds, without a byte order mark and space around it. Raises InvalidValue: nothing."""
    data = data.removeprefix(b"\xef\xbb\xbf").strip()
    if not data:
        raise InvalidValue(f"{name}: is empty")
    return data


def read_export(path: Path) -> list[Page]:
    """The figures in a file. Raises InvalidValue with the file's name: it cannot be read, or is something else."""
    return read_figures(read_bytes(path, MAX_FILE), str(path))


def read_figures(data: bytes, name: str) -> list[Page]:
    """The figures in what `trimmed` has left of a file. Raises InvalidValue with its name: it is something else."""
    if data[:1] in b"{[":
        return read_pages(data, name)
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))
    except UnicodeDecodeError:
        raise InvalidValue(f"{name}: is neither JSON nor CSV: it is not UTF-8 text") from None
    except csv.Error as error:
        raise InvalidValue(f"{name}: is neither JSON nor CSV: {error}") from None
    return [read_table(rows, name)]
