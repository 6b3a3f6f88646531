"""A table of people: what it may hold, and how its faults are told."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.access.user_import import COLUMNS, NewUserRow, Result, read_people
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.errors import InvalidValue

KEY = "sk-made-up-canary"


def read(
    *lines: str, header: str = "name,openai_key,comment,budget,budget_period,models"
) -> tuple[list[NewUserRow], ...]:
    """The people and the faults of lines that hold no quotes."""
    return read_people([(at, line.split(",")) for at, line in enumerate([header, *lines], 1)])  # type: ignore[return-value]


def fault(line: str) -> str:
    """The one fault of a line."""
    people, faults = read(line)
    [found] = faults
    assert people == []
    assert (found.line, found.result) == (2, Result.FAULT)
    return found.fault or ""


def test_a_line_becomes_somebody() -> None:
    """With all that it says."""
    people, faults = read(f"alice,{KEY},Sales,12.50,week,gpt-4o* o3")
    assert people == [NewUserRow(2, "alice", KEY, "Sales", Decimal("12.50"), Period.WEEK, ("gpt-4o*", "o3"))]
    assert faults == []


def test_what_is_not_said_is_not_limited() -> None:
    """No budget, all models; a budget is a month's."""
    [alice], _ = read(f"alice,{KEY},,,,")
    assert (alice.budget, alice.period, alice.allowed_models, alice.comment) == (None, Period.MONTH, None, "")


def test_a_short_line_lacks_what_is_behind() -> None:
    """Spreadsheets leave empty cells at the end away."""
    [alice], _ = read(f"alice,{KEY}")
    assert alice.name == "alice"


def test_columns_stand_in_any_order() -> None:
    """In any case, with spaces."""
    [alice], _ = read(f"{KEY},alice", header=" OpenAI Key , NAME")
    assert (alice.name, alice.upstream_key) == ("alice", KEY)


def test_empty_lines_are_passed_over() -> None:
    """The others keep their numbers."""
    people, _ = read(",,,,,", f"alice,{KEY}", "", f"bob,{KEY}")
    assert [newcomer.line for newcomer in people] == [3, 5]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f",{KEY}", "name: "),
        ("alice,", "the OpenAI key must be"),
        ("alice,sk two", "the OpenAI key must be"),
        (f"alice,{KEY},a\x1bb", "comment: "),
        (f"alice,{KEY},,fifty", "budget: give USD as a number, such as 50 or 12.50"),
        (f"alice,{KEY},,NaN", "budget: "),
        (f"alice,{KEY},,-1", "budget: "),
        (f"alice,{KEY},,1e99", "budget: "),
        (f"alice,{KEY},,1,year", "budget_period: give one of day, week, month, total"),
        (f"alice,{KEY},,,,{'x' * 129}", "models: "),
        (f"alice,{KEY},,,,,more", "7 cells, where the first line names 6 columns"),
    ],
)
def test_a_fault_says_what_is_allowed(line: str, words: str) -> None:
    """And nobody is made of that line."""
    assert words in fault(line)


def test_a_name_that_stands_twice_is_a_fault() -> None:
    """With both lines."""
    people, [found] = read(f"alice,{KEY}", f"bob,{KEY}", f"alice,{KEY}")
    assert [newcomer.name for newcomer in people] == ["alice", "bob"]
    assert (found.line, found.fault) == (4, "name: 'alice' stands in line 2 already")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("name,openai_key,colour", "line 1: unknown column colour; allowed: name, openai_key, comment"),
        ("name,comment", "line 1: the column openai_key is missing"),
        ("name,name,openai_key", "line 1: a column stands there twice"),
        (f"alice,{KEY}", "line 1: unknown column alice"),
        (f"{KEY},alice", "line 1: unknown column (not shown)"),
    ],
)
def test_a_first_line_that_names_no_columns_is_refused(header: str, words: str) -> None:
    """It may be somebody, with a key: that is not repeated."""
    with pytest.raises(InvalidValue) as caught:
        read(f"alice,{KEY}", header=header)
    assert words in str(caught.value)
    assert KEY not in str(caught.value)


def test_an_empty_table_is_refused() -> None:
    """With what the first line should be."""
    with pytest.raises(InvalidValue, match="the file is empty: its first line names the columns, of name, openai_key"):
        read_people([(1, [""])])


def test_a_newcomer_shows_no_key() -> None:
    """In no traceback."""
    [alice], _ = read(f"alice,{KEY}")
    assert KEY not in repr(alice)


@given(st.lists(st.lists(st.text(max_size=20), max_size=8), max_size=8))
def test_no_table_breaks_the_reader(cells: list[list[str]]) -> None:
    """Every line is somebody, or a fault, or empty."""
    rows = [(1, list(COLUMNS)), *enumerate(cells, 2)]
    people, faults = read_people(rows)
    assert len(people) + len(faults) == sum(any(cell.strip() for cell in line) for line in cells)
