"""A table of people to be added: what its columns may hold, line by line, and every fault at once.

No fault repeats what may be an OpenAI key, whatever column it stands in.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from chatgpt_agent.core.access.model_patterns import check_patterns, parse_patterns
from chatgpt_agent.core.access.settings import MAX_COMMENT, check_openai_key
from chatgpt_agent.core.budget.period import Period, parse_amount
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.names import MAX_NAME, check_name

COLUMNS = ("name", "openai_key", "comment", "budget", "budget_period", "models")
NEEDED = COLUMNS[:2]
MAX_PEOPLE = 5000


class NewUserRow(msgspec.Struct, frozen=True):
    """Somebody to be added. `budget` in USD for each period; `allowed_models` None: all."""

    line: int
    name: str
    upstream_key: str
    comment: str
    budget: Decimal | None
    period: Period
    allowed_models: tuple[str, ...] | None

    def __repr__(self) -> str:
        return f"Newcomer({self.name!r})"  # and never the key


class Result(StrEnum):
    """What became of a line."""

    ADDED = "added"
    WOULD_BE_ADDED = "would be added"
    NOT_ADDED = "not added"  # because another line has a fault
    SKIPPED = "skipped"
    FAULT = "fault"


class ReportLine(msgspec.Struct, frozen=True):
    """A line of the table, by its number in the file, and what became of it."""

    line: int
    name: str
    result: Result
    fault: str | None = None


def read_people(rows: Sequence[tuple[int, Sequence[str]]]) -> tuple[list[NewUserRow], list[ReportLine]]:
    """People out of a table's rows, each with the number of its line, and the faults of the others. The first row names
    the columns. Raises InvalidValue where it does not, or where there are too many."""
    rows = [(line, cells) for line, cells in rows if any(cell.strip() for cell in cells)]
    if not rows:
        raise InvalidValue(f"the file is empty: its first line names the columns, of {', '.join(COLUMNS)}")
    if len(rows) - 1 > MAX_PEOPLE:
        raise InvalidValue(f"the file has over {MAX_PEOPLE} lines: split it")
    columns = _columns(rows[0][1])
    people, faults, lines = [], [], dict[str, int]()
    for line, cells in rows[1:]:
        name = dict(zip(columns, cells, strict=False)).get("name", "").strip()
        try:
            newcomer = _newcomer(line, columns, cells)
            if name in lines:
                raise InvalidValue(f"name: {name!r} stands in line {lines[name]} already")
        except InvalidValue as error:
            faults.append(ReportLine(line, name[:MAX_NAME] if name.isprintable() else "", Result.FAULT, error.message))
        else:
            people.append(newcomer)
        lines.setdefault(name, line)
    return people, faults


def _columns(header: Sequence[str]) -> list[str]:
    columns = [cell.strip().lower().replace(" ", "_") for cell in header]
    # What is no word may be a key, of a file without a header.
    unknown = [column if column.isalpha() and len(column) <= 20 else "(not shown)" for column in columns
               if column not in COLUMNS]  # fmt: skip
    if unknown:
        raise InvalidValue(f"line 1: unknown column {unknown[0]}; allowed: {', '.join(COLUMNS)}")
    if len(set(columns)) < len(columns):
        raise InvalidValue("line 1: a column stands there twice")
    for column in NEEDED:
        if column not in columns:
            raise InvalidValue(f"line 1: the column {column} is missing; allowed: {', '.join(COLUMNS)}")
    return columns


def _newcomer(line: int, columns: Sequence[str], cells: Sequence[str]) -> NewUserRow:
    if len(cells) > len(columns):
        raise InvalidValue(f"{len(cells)} cells, where the first line names {len(columns)} columns")
    found = dict.fromkeys(COLUMNS, "") | {column: cell.strip() for column, cell in zip(columns, cells, strict=False)}
    check_name("name", found["name"])
    check_openai_key(found["openai_key"])
    if found["comment"]:
        check_name("comment", found["comment"], MAX_COMMENT)
    models = parse_patterns(found["models"]) or None
    if models is not None:
        check_patterns(models)
    return NewUserRow(
        line,
        found["name"],
        found["openai_key"],
        found["comment"],
        _budget(found["budget"]),
        _period(found["budget_period"]),
        models,
    )


def _budget(text: str) -> Decimal | None:
    if not text:
        return None
    return parse_amount(text, "budget")


def _period(text: str) -> Period:
    try:
        return Period(text.lower() or Period.MONTH)
    except ValueError:
        raise InvalidValue(f"budget_period: give one of {', '.join(Period)}, or nothing for a month") from None


def report(
    people: Iterable[NewUserRow], faults: Iterable[ReportLine], skipped: Iterable[ReportLine], result: Result
) -> list[ReportLine]:
    """Every line of a table, in its order."""
    lines = [ReportLine(newcomer.line, newcomer.name, result) for newcomer in people]
    return sorted([*lines, *faults, *skipped], key=lambda found: found.line)
