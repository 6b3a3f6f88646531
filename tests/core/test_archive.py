"""What a file of archived rows adds up to."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from chatgpt_agent.core.archive import archive_name, differences, sums_of
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.ids import time_of, uuid7

HEADER = ["request_id", "state", "input_tokens", "cost", "uncertain_cost", "seconds"]


def test_sums_are_exact() -> None:
    """Nothing is rounded, an empty cell is 0, and a correction is no request."""
    tiny = "0." + "0" * 40 + "1"
    lines = [HEADER, ["a", "done", "5", "1000000000000", "0", "1.5"], ["b", "correction", "-2", tiny, "", ""]]
    sums = sums_of(lines)
    assert (sums.rows, sums.requests) == (2, 1)
    assert sums.cost == Decimal("1000000000000." + tiny[2:])
    assert (sums.counts["input_tokens"], sums.counts["seconds"]) == (3, Decimal("1.5"))


def test_columns_of_other_versions_are_no_difference() -> None:
    """A file from before a kind of tokens was added has none of them."""
    [recorded, file] = [sums_of([HEADER]), sums_of([[name for name in HEADER if name != "seconds"]])]
    assert differences(recorded, file) == []
    assert differences(sums_of([HEADER, ["a", "done", "1", "2", "0", ""]]), file) == [
        "rows: 0 instead of 1", "requests: 0 instead of 1", "cost: 0 instead of 2", "input_tokens: 0 instead of 1",
    ]  # fmt: skip


@pytest.mark.parametrize(("lines", "message"), [
    ([], "the column request_id is missing"),
    ([HEADER[:3]], "the column cost is missing"),
    ([HEADER, ["a", "done"]], "line 2 has 2 columns, the first has 6"),
    ([HEADER, ["a", "done", "many", "0", "0", ""]], "line 2: 'many' is not a number"),
])  # fmt: skip
def test_damaged_file_is_refused(lines: list[list[str]], message: str) -> None:
    """The message names the line."""
    with pytest.raises(InvalidValue, match=message):
        sums_of(lines)


def test_files_of_two_ledgers_have_different_names() -> None:
    """One folder may hold the files of several databases."""
    assert archive_name(date(2026, 1, 1), "0123456789abcdef") == "usage-2026-01-01234567.csv.gz"


def test_time_of_a_request_id() -> None:
    """To the millisecond; other UUIDs have none, and neither do times outside of the calendar."""
    moment = datetime(2026, 1, 31, 23, 59, 59, 999000, tzinfo=UTC)
    assert time_of(uuid7(int(moment.timestamp() * 1000), bytes(10))) == moment
    assert time_of(UUID(int=0)) is None
    assert time_of(uuid7(2**48 - 1, bytes(10))) is None
