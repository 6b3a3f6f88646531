"""Reports on what was used. Every face (commands, REST, a token's holder) calls these."""

from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.cooperative import batches, map_cooperatively
from chatgpt_agent.adapters.postgres import export as exports
from chatgpt_agent.adapters.postgres import reports, tokens, usage_rows, users
from chatgpt_agent.adapters.postgres.connection import SqlRow, Store
from chatgpt_agent.adapters.postgres.export import EXPORT_COLUMNS
from chatgpt_agent.adapters.postgres.reports import COUNTS, GROUPS, SUMMED, Sums, UsageFilter, UsageGroup
from chatgpt_agent.adapters.postgres.tokens import TokenDetails
from chatgpt_agent.admin import groups
from chatgpt_agent.core.errors import InvalidValue, NotFound
from chatgpt_agent.core.money.exact import exact_sum, format_usd

PAGE = 5000  # rows that are read at once
RECORDED = (*COUNTS, "cost_usd", "uncertain_cost_usd")  # the names of sums in CSV and JSON


class Report(msgspec.Struct, frozen=True):
    """Sums by groups, and of them all. They add up: `total` is the sum of the lines, to the last digit."""

    by: tuple[str, ...]
    lines: list[UsageGroup]
    total: Sums


async def report(
    store: Store,
    by: Sequence[str],
    *,
    since: date | None = None,
    until: date | None = None,
    user: str | None = None,
    token_id: int | None = None,
    model: str | None = None,
    user_id: int | None = None,
    most: int | None = None,
) -> Report:
    """Sums for the days (of the books' time zone) from `since` to `until`, both included, of one user (by name or
    id), token or model where they are named. With more lines than `most` it is refused: a part would not add up.
    Raises InvalidValue, NotFound."""
    groups.check_groups(by, GROUPS)
    choice = await chosen(store, UsageFilter(since, until, user, token_id, model, user_id))
    lines = await reports.usage_report(store, by, choice, limit=None if most is None else most + 1)
    if most is not None and len(lines) > most:
        raise InvalidValue(f"the report has more than {most} lines: ask for fewer days or groups")
    return Report(tuple(by), lines, await _total(lines))


async def chosen(store: Store, choice: UsageFilter) -> UsageFilter:
    """The choice. Raises InvalidValue where it ends before it begins, NotFound where its user or token never was: an
    empty report would look like no usage."""
    if choice.since and choice.until and choice.until < choice.since:
        raise InvalidValue("the last day is before the first")
    if choice.user is not None and await users.find_user(store, choice.user) is None:
        raise NotFound(f"there is no user {choice.user!r}")
    if choice.token_id and not await tokens.has_token(store, choice.token_id):
        raise NotFound(f"there is no token {choice.token_id}")
    return choice


def parse_groups(text: str) -> list[str]:
    """Groups of a report out of a comma-separated list. Raises InvalidValue."""
    return groups.parse_groups(text, GROUPS)


def line_record(by: Sequence[str], line: UsageGroup) -> dict[str, object]:
    """A line as CSV and JSON have it: its groups by name (a token with its id), its sums."""
    record: dict[str, object] = dict(zip(by, line.group, strict=True))
    if "token" in record:
        record["token_id"] = line.token_id
    return record | sums_record(line)


async def encode_lines(report: Report) -> list[msgspec.Raw]:
    """Returns the lines as JSON objects. Thousands take milliseconds, in which other tasks run, too."""
    return await map_cooperatively(
        lambda line: msgspec.Raw(msgspec.json.encode(line_record(report.by, line))), report.lines
    )


def sums_record(sums: Sums) -> dict[str, object]:
    """Sums as CSV and JSON have them; amounts as texts, which no reader rounds."""
    counts = {name: getattr(sums, name) for name in COUNTS}
    return counts | {"cost_usd": format_usd(sums.cost), "uncertain_cost_usd": format_usd(sums.uncertain_cost)}


async def _total(lines: Sequence[UsageGroup]) -> Sums:
    total = _sum_of([])
    async for part in batches(lines):
        total = _sum_of([total, *part])
    return total


def _sum_of(lines: Sequence[Sums]) -> Sums:
    counts = {name: sum(getattr(line, name) for line in lines) for name in COUNTS}
    cost, uncertain_cost = (exact_sum(getattr(line, name) for line in lines) for name in SUMMED[len(COUNTS) :])
    return Sums(**counts, cost=cost, uncertain_cost=uncertain_cost)


# Single rows.


async def count_rows(store: Store, choice: UsageFilter) -> int:
    """About how many rows `export` has: corrections are not counted, and rows may come meanwhile."""
    return sum(count for _, count in await exports.export_months(store, choice))


async def export(store: Store, choice: UsageFilter) -> AsyncIterator[list[SqlRow]]:
    """Every row of a choice, in pages, by month (of UTC) and request id; columns as in `EXPORT_COLUMNS`."""
    for month, _ in await exports.export_months(store, choice):
        after: UUID | None = None
        while page := await exports.export_page(store, choice, month, after=after, limit=PAGE):
            yield page
            after = UUID(str(page[-1][0]))
            if len(page) < PAGE:
                break


def export_record(line: SqlRow) -> dict[str, object]:
    """A row as CSV and JSON have it; amounts as texts."""
    record = dict(zip(EXPORT_COLUMNS, line, strict=True))
    return record | {name: format_usd(record[name]) for name in ("cost_usd", "uncertain_cost_usd")}


# What a user sees with a token.


async def token_details(store: Store, token_id: int) -> TokenDetails | None:
    """Returns what the database knows of a token beside what the directory holds, or None if it does not exist."""
    return await tokens.token_details(store, token_id)


async def token_rows(store: Store, token_id: int, *, since: datetime, limit: int) -> str:
    """Returns the newest rows of a token, oldest first, in the original program's JSON."""
    return await usage_rows.recent_rows_json(store, token_id, since, limit=limit)
