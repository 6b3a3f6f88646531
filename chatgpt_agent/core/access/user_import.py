"""A table of users to be added: the rules of its columns, checked line by line, with every error reported at once.

No error quotes a text that may be an OpenAI key, in whatever column it stands.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from chatgpt_agent.core.access.model_patterns import check_patterns, parse_patterns
from chatgpt_agent.core.access.settings import MAX_COMMENT, check_openai_key, check_user_name
from chatgpt_agent.core.budget.period import Period, parse_amount
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.names import MAX_NAME, check_name

COLUMNS = ("name", "openai_key", "comment", "budget", "budget_period", "models", "standard_tier_only")
NEEDED = COLUMNS[:2]
MAX_USERS = 5000


class NewUserRow(msgspec.Struct, frozen=True, kw_only=True):
    """A user to be added. `budget` in USD per `period`; `allowed_models` None: all; `standard_tier_only` as in
    `UserSettings`."""

    line: int
    name: str
    upstream_key: str
    comment: str
    budget: Decimal | None
    period: Period
    allowed_models: tuple[str, ...] | None
    standard_tier_only: bool = False

    def __repr__(self) -> str:
        return f"NewUserRow({self.name!r})"  # without the key


class Result(StrEnum):
    """The outcome of a line."""

    ADDED = "added"
    WOULD_BE_ADDED = "would be added"
    NOT_ADDED = "not added"  # because another line has an error
    SKIPPED = "skipped"
    ERROR = "error"


class ReportLine(msgspec.Struct, frozen=True):
    """A line of the table, by its number in the file, and its outcome."""

    line: int
    name: str
    result: Result
    error: str | None = None


def read_users(rows: Sequence[tuple[int, Sequence[str]]]) -> tuple[list[NewUserRow], list[ReportLine]]:
    """Returns the users in a table's rows, which come with their line numbers, and the errors of other rows. Raises
    InvalidValue if the first row does not name the columns, or if there are too many rows."""
    rows = [(line, cells) for line, cells in rows if any(cell.strip() for cell in cells)]
    if not rows:
        raise InvalidValue(f"the file is empty: its first line names the columns, of {', '.join(COLUMNS)}")
    if len(rows) - 1 > MAX_USERS:
        raise InvalidValue(f"the file has over {MAX_USERS} lines: split it")
    columns = _columns(rows[0][1])
    users, errors, lines = [], [], dict[str, int]()
    for line, cells in rows[1:]:
        name = dict(zip(columns, cells, strict=False)).get("name", "").strip()
        try:
            user = _read_user(line, columns, cells)
            if name in lines:
                raise InvalidValue(f"name: duplicate of {name!r} in line {lines[name]}")
        except InvalidValue as error:
            errors.append(ReportLine(line, name[:MAX_NAME] if name.isprintable() else "", Result.ERROR, error.message))
        else:
            users.append(user)
        lines.setdefault(name, line)
    return users, errors


def _columns(header: Sequence[str]) -> list[str]:
    columns = [cell.strip().lower().replace(" ", "_") for cell in header]
    # In a file without a header this may be a key, so only a plain word is quoted.
    unknown = [column if column.isalpha() and len(column) <= 20 else "(not shown)" for column in columns
               if column not in COLUMNS]  # fmt: skip
    if unknown:
        raise InvalidValue(f"line 1: unknown column {unknown[0]}; allowed: {', '.join(COLUMNS)}")
    if len(set(columns)) < len(columns):
        raise InvalidValue("line 1: duplicate column")
    for column in NEEDED:
        if column not in columns:
            raise InvalidValue(f"line 1: the column {column} is missing; allowed: {', '.join(COLUMNS)}")
    return columns


def _read_user(line: int, columns: Sequence[str], cells: Sequence[str]) -> NewUserRow:
    if len(cells) > len(columns):
        raise InvalidValue(f"{len(cells)} cells for {len(columns)} columns")
    values = dict.fromkeys(COLUMNS, "") | {column: cell.strip() for column, cell in zip(columns, cells, strict=False)}
    check_user_name(values["name"])
    check_openai_key(values["openai_key"])
    if values["comment"]:
        check_name("comment", values["comment"], MAX_COMMENT)
    models = parse_patterns(values["models"]) or None
    if models is not None:
        check_patterns(models, "models")
    return NewUserRow(
        line=line,
        name=values["name"],
        upstream_key=values["openai_key"],
        comment=values["comment"],
        budget=_budget(values["budget"]),
        period=_period(values["budget_period"]),
        allowed_models=models,
        standard_tier_only=_yes_or_no("standard_tier_only", values["standard_tier_only"]),
    )


def _budget(text: str) -> Decimal | None:
    if not text:
        return None
    return parse_amount(text, "budget")


def _period(text: str) -> Period:
    try:
        return Period(text.lower() or Period.MONTH)
    except ValueError:
        raise InvalidValue(f"budget_period: give one of {', '.join(Period)}, or nothing for month") from None


_ANSWERS = {"": False, "no": False, "false": False, "0": False, "yes": True, "true": True, "1": True}


def _yes_or_no(column: str, text: str) -> bool:
    try:
        return _ANSWERS[text.lower()]
    except KeyError:
        raise InvalidValue(f"{column}: give yes or no, or nothing for no") from None


def report(
    users: Iterable[NewUserRow], errors: Iterable[ReportLine], skipped: Iterable[ReportLine], result: Result
) -> list[ReportLine]:
    """Returns every line of a table with its outcome, in order."""
    lines = [ReportLine(user.line, user.name, result) for user in users]
    return sorted([*lines, *errors, *skipped], key=lambda line: line.line)
