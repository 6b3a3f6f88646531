"""Reports on usage: sums by groups, and single rows for accounting."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.cooperative import batches, map_cooperatively
from chatgpt_agent.adapters.postgres import export as exports
from chatgpt_agent.adapters.postgres import reports, tokens, usage_rows
from chatgpt_agent.adapters.postgres.connection import AnyStore, SqlRow, Store
from chatgpt_agent.adapters.postgres.export import EXPORT_COLUMNS
from chatgpt_agent.adapters.postgres.reports import COUNTS, GROUPS, SUMMED, Sums, UsageFilter, UsageGroup
from chatgpt_agent.adapters.postgres.settings import read_zone
from chatgpt_agent.adapters.postgres.tokens import TokenDetails
from chatgpt_agent.admin import groups
from chatgpt_agent.admin.archives import check_days_not_archived
from chatgpt_agent.admin.lookups import check_model, check_token, check_user
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import exact_sum, format_usd
from chatgpt_agent.core.money.kinds import LATER_COLUMNS, TIME_COLUMN

__all__ = ["COUNTS", "EXPORT_COLUMNS", "GROUPS", "SUMMED", "Report", "Reports", "Sums", "UsageFilter", "UsageGroup"]

PAGE = 5000  # rows that are read at once
AMOUNTS = ("cost", "uncertain_cost")  # USD
EXACT_NUMBERS = (*AMOUNTS, TIME_COLUMN)  # numbers that may have decimal places: text in JSON
# The names of sums in CSV and JSON. Columns of former versions keep their places.
RECORDED = (*(name for name in COUNTS if name not in LATER_COLUMNS), *AMOUNTS, *LATER_COLUMNS)
# Amounts that JSON had with `_usd` at their ends in version 0.1, where it has them until version 0.3.
_RENAMED = (*AMOUNTS, "what_if", "difference", "ledger_cost", "openai_cost")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Sums by groups, and of them all: `total` is the sum of `rows`, to the last digit."""

    by: tuple[str, ...]
    rows: list[UsageGroup]
    total: Sums


class Reports:
    """Use cases on usage. They change nothing."""

    def __init__(self, store: Store, *, page: int = PAGE) -> None:
        self._store = store
        self._page = page

    async def report(
        self, by: Sequence[str], usage_filter: UsageFilter = UsageFilter(), *, max_rows: int | None = None
    ) -> Report:
        """Sums by these groups. A report of more than `max_rows` rows is refused: a part of it would not add up.
        Raises InvalidValue, NotFound."""
        groups.check_groups(by, GROUPS)
        await self.check_filter(usage_filter)
        limit = None if max_rows is None else max_rows + 1
        rows = await reports.usage_report(self._store, by, usage_filter, limit=limit)
        if max_rows is not None and len(rows) > max_rows:
            raise InvalidValue(f"the report has over {max_rows} rows: choose fewer days or groups")
        return Report(by=tuple(by), rows=rows, total=await _total(rows))

    async def check_filter(self, usage_filter: UsageFilter) -> None:
        """Raises InvalidValue for days that end before they begin, NotFound for a user, token or model that never
        existed: an empty report would look like no usage."""
        if usage_filter.since and usage_filter.until and usage_filter.until < usage_filter.since:
            raise InvalidValue("the last day is before the first")
        await check_user(self._store, usage_filter.user)
        await check_token(self._store, usage_filter.token_id)
        await check_model(self._store, usage_filter.model)

    async def check_export(self, usage_filter: UsageFilter) -> None:
        """As `check_filter`, for rows. Raises Conflict if some of them are archived."""
        await self.check_filter(usage_filter)
        await check_days_not_archived(self._store, usage_filter.since, usage_filter.until)

    async def until_today(self, usage_filter: UsageFilter) -> UsageFilter:
        """Returns a filter that ends today if it has a first day and no last one: an agent whose clock is ahead may
        have written rows of a later day."""
        if usage_filter.since is None or usage_filter.until is not None:
            return usage_filter
        return msgspec.structs.replace(usage_filter, until=max(await today(self._store), usage_filter.since))

    async def count_rows(self, usage_filter: UsageFilter) -> int:
        """About how many rows `export` returns: corrections are not counted, and rows may be added meanwhile."""
        return sum(count for _, count in await exports.export_months(self._store, usage_filter))

    async def export(self, usage_filter: UsageFilter) -> AsyncIterator[list[SqlRow]]:
        """Returns the rows of a filter in pages, by month (UTC) and request id; columns as in `EXPORT_COLUMNS`."""
        for month, _ in await exports.export_months(self._store, usage_filter):
            after: UUID | None = None
            while page := await exports.export_page(self._store, usage_filter, month, after=after, limit=self._page):
                yield page
                after = UUID(str(page[-1][0]))
                if len(page) < self._page:
                    break


async def today(store: AnyStore) -> date:
    """Returns the day of today in the time zone of reports."""
    return datetime.now(await read_zone(store)).date()


def parse_groups(text: str) -> list[str]:
    """Returns the groups of a report in a comma-separated list. Raises InvalidValue."""
    return groups.parse_groups(text, GROUPS)


def row_record(by: Sequence[str], row: UsageGroup) -> dict[str, object]:
    """A row of a report as CSV and JSON have it: its groups by name (a token with its id), and its sums."""
    record: dict[str, object] = dict(zip(by, row.group, strict=True))
    if "token" in record:
        record["token_id"] = row.token_id
    return record | sums_record(row)


async def encode_rows(rows: Sequence[UsageGroup], record: Callable[[UsageGroup], object]) -> list[msgspec.Raw]:
    """The JSON of each row's record, whose amounts are text. Thousands of rows take milliseconds, in which other tasks
    run, too."""
    return await map_cooperatively(lambda row: msgspec.Raw(msgspec.json.encode(record(row))), rows)


def sums_record(sums: Sums) -> dict[str, object]:
    """Sums as CSV and JSON have them; amounts are text, which no reader rounds."""
    record: dict[str, object] = {name: getattr(sums, name) for name in RECORDED}
    return with_former_names(record | {name: format_usd(getattr(sums, name)) for name in EXACT_NUMBERS})


def with_former_names(record: Mapping[str, object]) -> dict[str, object]:
    """Returns a record for JSON that has its amounts under their former names, too."""
    return {**record, **{f"{name}_usd": record[name] for name in _RENAMED if name in record}}


def export_record(row: SqlRow) -> dict[str, object]:
    """An exported row as JSON has it; amounts are text."""
    record = dict(zip(EXPORT_COLUMNS, row, strict=True))
    exact = {name: format_usd(record[name]) for name in EXACT_NUMBERS if record[name] is not None}
    return with_former_names(record | exact)


def surcharges_text(amounts: Mapping[str, Decimal | str]) -> str:
    """Returns the surcharges of a row as CSV and tables have them: `multiplier=1.1; web_search=0.01`."""
    texts = {kind: amount if isinstance(amount, str) else format_usd(amount) for kind, amount in amounts.items()}
    return "; ".join(f"{kind}={text}" for kind, text in texts.items())


async def _total(rows: Sequence[UsageGroup]) -> Sums:
    total = _sum_of([])
    async for batch in batches(rows):
        total = _sum_of([total, *batch])
    return total


def _sum_of(rows: Sequence[Sums]) -> Sums:
    sums: dict[str, Any] = {
        name: (exact_sum if name in EXACT_NUMBERS else sum)(getattr(row, name) for row in rows) for name in SUMMED
    }
    return Sums(**sums)


# What a user sees with a token.


async def token_details(store: Store, token_id: int) -> TokenDetails | None:
    """Returns what the database knows of a token beside what the directory holds, or None if it does not exist."""
    return await tokens.token_details(store, token_id)


async def token_rows(store: Store, token_id: int, *, since: datetime, until: datetime, limit: int) -> str:
    """Returns the newest rows of a token between two moments, oldest first, in the original program's JSON."""
    return await usage_rows.recent_rows_json(store, token_id, since=since, until=until, limit=limit)
