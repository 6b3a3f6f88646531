"""Reports on usage over REST."""

from datetime import date
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from chatgpt_agent.admin.reports import EXACT_NUMBERS, GROUPS, Sums, UsageFilter, UsageGroup, encode_rows, parse_groups
from chatgpt_agent.core.access.settings import Name
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.web.admin.price_schemas import LastDay
from chatgpt_agent.web.admin.routing import AdminRequest, Route
from chatgpt_agent.web.admin.schemas import MAX_ID, Empty, Strict, or_none

MAX_ROWS = 10_000  # of a report: more would take the event loop too long to write

_ANY = "|".join(GROUPS)
Groups = Annotated[
    str,
    Meta(
        pattern=f"^({_ANY})(,({_ANY}))*$",
        description="What to group by: a list with commas.",
        extra={"words": f"a list with commas of {', '.join(GROUPS)}", "example": "user,model"},
    ),
]
TokenId = Annotated[int, Meta(ge=0, le=MAX_ID, description="0: rows that were imported without a token.")]


class UsageQuery(Strict, frozen=True, kw_only=True):
    by: Groups = "user,model"
    since: date | UnsetType = UNSET
    until: LastDay | UnsetType = UNSET
    user: Name | UnsetType = UNSET
    token: TokenId | UnsetType = UNSET
    model: Name | UnsetType = UNSET


class UsageSums(Sums, frozen=True, kw_only=True):
    """`group`: its names, by what was grouped by. `token_id`: of a group of `token`."""

    group: dict[str, str]
    token_id: int | None = None


class UsageReport(Struct, frozen=True, kw_only=True):
    """The sums by groups, and their total."""

    by: list[str]
    rows: list[UsageSums]
    total: Sums


async def report_usage(request: AdminRequest[Empty, UsageQuery, None]) -> UsageReport | dict[str, object]:
    query = request.query
    usage_filter = UsageFilter(
        since=or_none(query.since),
        until=or_none(query.until),
        user=or_none(query.user),
        token_id=or_none(query.token),
        model=or_none(query.model),
    )
    by = parse_groups(query.by)
    reports = request.administration.reports
    report = await reports.report(by, await reports.until_today(usage_filter), max_rows=MAX_ROWS)

    def record(row: UsageGroup) -> dict[str, object]:
        exact = {name: format_usd(getattr(row, name)) for name in EXACT_NUMBERS}
        return {**msgspec.structs.asdict(row), **exact, "group": dict(zip(by, row.group, strict=True))}

    return {"by": by, "rows": await encode_rows(report.rows, record), "total": report.total}


ROUTES = [
    Route(
        method="GET", path="/usage", handler=report_usage, summary="Sum up requests, token counts and cost",
        query=UsageQuery, answer=UsageReport, tag="usage",
    ),
]  # fmt: skip
