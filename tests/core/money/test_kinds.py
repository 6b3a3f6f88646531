"""The table of token kinds, and what is derived from it."""

from pathlib import Path
from typing import Any

import pytest

import chatgpt_agent
from chatgpt_agent.core.money.kinds import (
    CALL_COLUMNS,
    COUNT_COLUMNS,
    RATE_NAMES,
    TIME_COLUMN,
    TIME_RATE,
    TOKEN_KINDS,
    FullRateTable,
    Rates,
    TokenKind,
    UsageCounts,
)
from chatgpt_agent.core.usage import Usage

PACKAGE = Path(chatgpt_agent.__file__).parent
MIGRATIONS = PACKAGE.parent / "migrations"
MIGRATION = 1  # file, which adds the columns of a kind
COMPARED = {"openai_pages.py", "openai_usage.py", "reconciled.py"}  # with OpenAI's usage reports, where they have it
TRACED = {"otel_names.py"}  # names for spans, where OpenTelemetry's conventions have one


def files_with(name: str) -> list[str]:
    """The Python files of the package in which a name occurs, without those of names that others have chosen."""
    files = {path.name for path in PACKAGE.rglob("*.py") if name in path.read_text("utf-8")}
    return sorted(files - COMPARED - TRACED)


@pytest.mark.parametrize("kind", [kind for kind in TOKEN_KINDS if kind.is_rare], ids=lambda kind: kind.name)
def test_a_kind_of_token_is_named_in_at_most_three_files(kind: TokenKind) -> None:
    """A new kind that is charged touches its row in the table, the struct of an answer's usage, and a migration."""
    assert files_with(kind.name) == ["kinds.py", "usage.py"]
    assert len(files_with(kind.name)) + MIGRATION <= 3
    assert any(kind.column in path.read_text("utf-8") for path in MIGRATIONS.glob("*.sql"))


def test_a_usage_has_a_count_of_every_kind() -> None:
    """The fields of `Usage` and of `UsageCounts` are the kinds of the tables."""
    others = {*CALL_COLUMNS.values(), TIME_COLUMN, "image_tool", "uncertain_reason"}
    assert set(Usage.__struct_fields__) == {kind.name for kind in TOKEN_KINDS} | others
    assert UsageCounts.__struct_fields__ == COUNT_COLUMNS


def test_the_rates_are_those_of_the_table() -> None:
    """The structs with a field for every rate agree with the table."""
    assert {*RATE_NAMES} == {TIME_RATE, *(kind.rate for kind in TOKEN_KINDS if kind.rate)}
    assert Rates.__struct_fields__ == FullRateTable.__struct_fields__ == RATE_NAMES


@pytest.mark.parametrize("kind", TOKEN_KINDS, ids=lambda kind: kind.name)
def test_a_usage_is_text_unless_it_has_tokens_of_a_rare_kind(kind: TokenKind) -> None:
    """The short computation of a cost is taken where no rare kind has a count."""
    counts: dict[str, Any] = {"input": 1, "output": 1, kind.name: 1}
    usage = Usage(**counts)
    assert usage.is_text is not kind.is_rare
