"""The ledger over REST: its rows, its status, its checks, corrections, and the comparison with OpenAI's figures."""

import asyncio
from datetime import date, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chatgpt_agent.admin import reconcile as reconcile_use_case
from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.archives import Archive
from chatgpt_agent.admin.corrections import Correction
from chatgpt_agent.admin.ledger import MAX_WAITING, Findings, LedgerStatus, UsageRow
from chatgpt_agent.admin.reconciled import ReconciledLine, notes, reconciled_line, reconciled_total
from chatgpt_agent.core.access.settings import Moment, Name
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.moments import A_MONTH
from chatgpt_agent.core.money.kinds import RightCounts
from chatgpt_agent.core.openai_usage import Kind, Span
from chatgpt_agent.core.plain_json import encode
from chatgpt_agent.core.reconcile.lines import Reconciliation
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.routing import CSV_FILE, MAX_FILE, AdminRequest, Route
from chatgpt_agent.web.admin.schemas import MAX_ID, Empty, Id, PageSize, RowCursor, Strict, or_none

Month = Annotated[
    str,
    Meta(pattern="^20[0-9]{2}-(0[1-9]|1[0-2])$", description="In UTC: `2026-11`.", extra={"words": A_MONTH}),
]
EndpointPath = Annotated[
    str,
    Meta(
        pattern="^/[ -~]{1,99}$",
        description="`/v1/responses`.",
        extra={"words": "the path of an endpoint", "example": "/v1/responses"},
    ),
]
KeyOwner = Annotated[
    str,
    Meta(
        pattern="^[!-<>-~]{1,128}=[^\n]{1,128}$",
        description="`key_abc=alice`.",
        extra={"words": "the id of an OpenAI key or project, an equals sign and a user", "example": "key_abc=alice"},
    ),
]


class ByRequest(Strict, frozen=True, kw_only=True):
    request_id: UUID


class RowQuery(Strict, frozen=True, kw_only=True):
    """`state`: any of these; `until` is not included."""

    limit: PageSize = 100
    after: RowCursor | UnsetType = UNSET
    state: tuple[State, ...] = ()
    user: Name | UnsetType = UNSET
    token: Id | UnsetType = UNSET
    model: Name | UnsetType = UNSET
    endpoint: EndpointPath | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET


class StatusQuery(Strict, frozen=True, kw_only=True):
    """`since`: count rows from this time on."""

    since: Moment | UnsetType = UNSET


class FindingQuery(Strict, frozen=True, kw_only=True):
    """`limit`: findings of each check; `waiting`: seconds that a row may wait to be shipped."""

    limit: PageSize = 100
    waiting: Annotated[int, Meta(ge=1, le=MAX_ID)] = MAX_WAITING


class FigureQuery(Strict, frozen=True, kw_only=True):
    """`key`: the id of an OpenAI key or project and its user; `month`: compare all of it."""

    month: Month | UnsetType = UNSET
    key: tuple[KeyOwner, ...] = ()


class CorrectionBody(RightCounts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The right counts of the row; `input` and `output` include all their parts. A missing one stays as it was, as far
    as the counts of which it is a part leave room. `image_tool_…`: tokens of the model that drew for the tool
    image_generation."""

    reason: Annotated[str, Meta(min_length=1, max_length=500)]


class Archives(msgspec.Struct, frozen=True):
    """The archived months, the oldest first. `month` is its first day in UTC; `sums` are those of its rows."""

    archives: list[Archive]


class Days(msgspec.Struct, frozen=True):
    """Both are included."""

    first: date
    last: date


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """What differs, the largest amount first; `equal`: nothing does. The days are in UTC; null: not compared. `kinds`:
    the usage that was compared. `notes`: what is not compared, in words. `left_out`: requests of which there are no
    figures, by endpoint; `unavailable`: kinds of usage that OpenAI's API does not have; `unused_keys`: ids of keys
    without figures."""

    equal: bool
    usage_days: Days | None
    cost_days: Days | None
    kinds: list[Kind]
    lines: list[ReconciledLine]
    total: ReconciledLine
    notes: list[str]
    left_out: dict[str, int]
    unavailable: list[Kind]
    unused_keys: list[str]


async def rows_of(
    administration: Administration, query: RowQuery, *, after: tuple[datetime, UUID] | None, limit: int
) -> list[UsageRow]:
    """Returns the rows that a query matches, the newest first, behind the row with the time and id of `after`. Raises
    NotFound for a user, token or model that never existed."""
    return await administration.ledger.rows(
        states=query.state,
        since=or_none(query.since),
        until=or_none(query.until),
        user=or_none(query.user),
        token_id=or_none(query.token),
        model=or_none(query.model),
        endpoint=or_none(query.endpoint),
        after=after,
        limit=limit,
    )


async def list_rows(request: AdminRequest[Empty, RowQuery, None]) -> Page[UsageRow]:
    query = request.query
    rows = await rows_of(request.administration, query, after=cursors.row_of(query.after), limit=query.limit + 1)
    return cursors.page(rows, query.limit, lambda row: cursors.row_cursor(row.started_at, row.request_id))


async def get_row(request: AdminRequest[ByRequest, Empty, None]) -> UsageRow:
    return await request.administration.ledger.row(request.path.request_id)


async def ledger_status(request: AdminRequest[Empty, StatusQuery, None]) -> LedgerStatus:
    return await request.administration.ledger.status(since=or_none(request.query.since))


async def verify_ledger(request: AdminRequest[Empty, FindingQuery, None]) -> Findings:
    query = request.query
    keyring = request.api.authenticator.keyring
    ledger = request.administration.ledger
    return Findings(await ledger.verify(limit=query.limit, waiting=query.waiting, keyring=keyring))


async def correct_row(request: AdminRequest[ByRequest, Empty, CorrectionBody]) -> Correction:
    body = request.body
    return await request.administration.corrections.correct(request.path.request_id, body, body.reason)


async def reconcile(request: AdminRequest[Empty, FigureQuery, bytes]) -> Reconciled | msgspec.Raw:
    keys = reconcile_use_case.parse_keys(request.query.key)
    month = or_none(request.query.month)
    first = None if month is None else date.fromisoformat(f"{month}-01")
    figures = await reconcile_use_case.read_body(request.body)
    result = await request.administration.reconciler.reconcile(figures, month=first, keys=keys)
    # In a thread: thousands of lines take long enough to delay requests.
    return msgspec.Raw(await asyncio.to_thread(lambda: encode(_reconciled(result))))


def _reconciled(result: Reconciliation) -> Reconciled:
    return Reconciled(
        equal=result.equal,
        usage_days=_days(result.usage_days),
        cost_days=_days(result.cost_days),
        kinds=result.kinds,
        lines=[reconciled_line(line) for line in result.lines],
        total=reconciled_total(result.total),
        notes=list(notes(result)),
        left_out=result.left_out,
        unavailable=result.unavailable,
        unused_keys=result.unused_keys,
    )


def _days(span: Span | None) -> Days | None:
    return None if span is None else Days(*span)


_FIGURES = {
    **CSV_FILE,
    "application/json": {"type": ["object", "array"], "description": "OpenAI's page, or a list of them."},
}


async def list_archives(request: AdminRequest[Empty, Empty, None]) -> Archives:
    return Archives(await request.administration.archives.between(None, None))


ROUTES = [
    Route(
        method="GET", path="/ledger/rows", handler=list_rows, summary="List rows, the newest first",
        query=RowQuery, answer=Page[UsageRow], tag="ledger",
    ),
    Route(
        method="GET", path="/ledger/rows/{request_id}", handler=get_row, summary="Show the row of a request",
        path_params=ByRequest, answer=UsageRow, tag="ledger",
    ),
    Route(
        method="POST", path="/ledger/rows/{request_id}/correction", handler=correct_row,
        summary="Correct a row's counts and cost, once, by adding a row",
        path_params=ByRequest, body=CorrectionBody, answer=Correction, status=201, tag="ledger",
    ),
    Route(
        method="POST", path="/ledger/reconcile", handler=reconcile,
        summary="Compare the ledger with OpenAI's figures; nothing is changed",
        query=FigureQuery, body=bytes, files=_FIGURES, max_body=MAX_FILE, answer=Reconciled, read_only=True,
        tag="ledger",
    ),
    Route(
        method="GET", path="/ledger/status", handler=ledger_status,
        summary="Show rows by state, the agents and the dead letters",
        query=StatusQuery, answer=LedgerStatus, tag="ledger",
    ),
    Route(
        method="GET", path="/ledger/findings", handler=verify_ledger,
        summary="Check the ledger and list everything that is wrong",
        query=FindingQuery, answer=Findings, tag="ledger",
    ),
    Route(
        method="GET", path="/ledger/archives", handler=list_archives,
        summary="List the months whose rows are archived in files",
        answer=Archives, tag="ledger",
    ),
]  # fmt: skip
