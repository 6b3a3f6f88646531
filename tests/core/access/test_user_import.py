"""A table of users to be added: its columns, and the errors of its lines."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.access.user_import import COLUMNS, NewUserRow, Result, read_users
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.errors import InvalidValue

KEY = "sk-made-up-canary"


def read(
    *lines: str, header: str = "name,openai_key,comment,budget,budget_period,models,standard_tier_only"
) -> tuple[list[NewUserRow], list[Any]]:
    """Returns the users and the errors of lines without quotes."""
    return read_users([(at, line.split(",")) for at, line in enumerate([header, *lines], 1)])


def error(line: str) -> str:
    """Returns the only error of a line."""
    users, errors = read(line)
    [reported] = errors
    assert users == []
    assert (reported.line, reported.result) == (2, Result.ERROR)
    return reported.error or ""


def test_line_becomes_a_user() -> None:
    """All columns of the line are read."""
    users, errors = read(f"alice,{KEY},Sales,12.50,week,gpt-6* gpt-5.5")
    assert users == [
        NewUserRow(
            line=2,
            name="alice",
            upstream_key=KEY,
            comment="Sales",
            budget=Decimal("12.50"),
            period=Period.WEEK,
            allowed_models=("gpt-6*", "gpt-5.5"),
        )
    ]
    assert errors == []


def test_empty_cells_set_no_limits() -> None:
    """Without values there is no budget, every model is allowed, and the period is a month."""
    [alice], _ = read(f"alice,{KEY},,,,")
    assert (alice.budget, alice.period, alice.allowed_models, alice.comment) == (None, Period.MONTH, None, "")


@pytest.mark.parametrize(
    ("text", "value"), [("", False), ("no", False), ("FALSE", False), ("Yes", True), ("true", True)]
)
def test_standard_tier_only_is_yes_or_no(text: str, value: bool) -> None:
    """Spreadsheets write truth values as TRUE and FALSE."""
    [alice], _ = read(f"alice,{KEY},,,,,{text}")
    assert alice.standard_tier_only is value


def test_short_line_has_empty_cells_at_its_end() -> None:
    """Spreadsheets omit empty cells at the end of a line."""
    [alice], _ = read(f"alice,{KEY}")
    assert alice.name == "alice"


def test_columns_are_found_in_any_order() -> None:
    """Upper case and spaces in the names of columns are accepted."""
    [alice], _ = read(f"{KEY},alice", header=" OpenAI Key , NAME")
    assert (alice.name, alice.upstream_key) == ("alice", KEY)


def test_empty_lines_are_skipped() -> None:
    """Other lines keep their numbers."""
    users, _ = read(",,,,,", f"alice,{KEY}", "", f"bob,{KEY}")
    assert [user.line for user in users] == [3, 5]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f",{KEY}", "name: "),
        (f"alice,{KEY},,,,,maybe", "standard_tier_only: give yes or no, or nothing for no"),
        ("alice,", "the OpenAI key must be"),
        ("alice,sk two", "the OpenAI key must be"),
        (f"alice,{KEY},a\x1bb", "comment: "),
        (f"alice,{KEY},,fifty", "budget: give USD as a number, such as 50 or 12.50"),
        (f"alice,{KEY},,NaN", "budget: "),
        (f"alice,{KEY},,-1", "budget: "),
        (f"alice,{KEY},,1e99", "budget: "),
        (f"alice,{KEY},,1,year", "budget_period: give one of day, week, month, total"),
        (f"alice,{KEY},,,,{'x' * 129}", "models: "),
        (f"alice,{KEY},,,,,,more", "8 cells for 7 columns"),
    ],
)
def test_fault_states_what_is_allowed(line: str, expected: str) -> None:
    """A line with an error adds no user."""
    assert expected in error(line)


def test_duplicate_name_is_a_fault() -> None:
    """The error names both lines."""
    users, [reported] = read(f"alice,{KEY}", f"bob,{KEY}", f"alice,{KEY}")
    assert [user.name for user in users] == ["alice", "bob"]
    assert (reported.line, reported.error) == (4, "name: duplicate of 'alice' in line 2")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("name,openai_key,colour", "line 1: unknown column colour; allowed: name, openai_key, comment"),
        ("name,comment", "line 1: the column openai_key is missing"),
        ("name,name,openai_key", "line 1: duplicate column"),
        (f"alice,{KEY}", "line 1: unknown column alice"),
        (f"{KEY},alice", "line 1: unknown column (not shown)"),
    ],
)
def test_file_without_header_is_rejected(header: str, expected: str) -> None:
    """The first line may hold a user with a key, so it is not quoted."""
    with pytest.raises(InvalidValue) as caught:
        read(f"alice,{KEY}", header=header)
    assert expected in str(caught.value)
    assert KEY not in str(caught.value)


def test_empty_table_is_rejected() -> None:
    """The error states what the first line must be."""
    with pytest.raises(InvalidValue, match="the file is empty: its first line names the columns, of name, openai_key"):
        read_users([(1, [""])])


def test_key_is_not_in_the_representation() -> None:
    """A traceback cannot show the key."""
    [alice], _ = read(f"alice,{KEY}")
    assert KEY not in repr(alice)


@given(st.lists(st.lists(st.text(max_size=20), max_size=8), max_size=8))
def test_any_line_is_a_user_a_fault_or_empty(cells: list[list[str]]) -> None:
    """No content of a table raises another error."""
    rows = [(1, list(COLUMNS)), *enumerate(cells, 2)]
    users, errors = read_users(rows)
    assert len(users) + len(errors) == sum(any(cell.strip() for cell in line) for line in cells)
