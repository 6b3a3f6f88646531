"""Reports and the ledger over REST."""

import asyncio
from datetime import date
from typing import Any, cast

import msgspec

from chatgpt_agent.adapters.cooperative import map_cooperatively
from chatgpt_agent.adapters.postgres.agents import agent_states
from chatgpt_agent.adapters.postgres.reports import COUNTS, UsageGroup
from chatgpt_agent.adapters.postgres.reports import Sums as StoredSums
from chatgpt_agent.adapters.postgres.usage import count_dead_letters
from chatgpt_agent.adapters.postgres.usage_rows import UsageRow, list_rows, rows_by_state
from chatgpt_agent.admin.ledger import verify
from chatgpt_agent.admin.reconcile import Reconciler
from chatgpt_agent.admin.reports import parse_groups, report
from chatgpt_agent.core.csv_reader import trimmed
from chatgpt_agent.core.errors import InvalidValue, NotFound
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.core.openai_export import read_figures
from chatgpt_agent.core.openai_usage import Figures, merge
from chatgpt_agent.core.usage import Usage
from chatgpt_agent.web.admin import cursors as pages
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.outcome_schemas import CorrectedOut, ReconciledOut, corrected, reconciled
from chatgpt_agent.web.admin.request_schemas import (
    ByRequest,
    Correction,
    FigureQuery,
    FindingQuery,
    Nothing,
    RowQuery,
    UsageQuery,
    given,
)
from chatgpt_agent.web.admin.response_schemas import (
    AgentOut,
    FindingOut,
    FindingsOut,
    LedgerOut,
    RowOut,
    StateOut,
    Sums,
    UsageLineOut,
    UsageOut,
    same,
)
from chatgpt_agent.web.admin.routing import Call

MAX_LINES = 10_000  # of a report: more would hold the event loop up while they are written


async def report_usage(call: Call[Nothing, UsageQuery, None]) -> UsageOut:
    query = call.query
    found = await report(
        call.api.stores.reports,
        parse_groups(query.by),
        since=given(query.since),
        until=given(query.until),
        user=given(query.user),
        token_id=given(query.token),
        model=given(query.model),
        most=MAX_LINES,
    )

    def written(line: UsageGroup) -> UsageLineOut:
        group = dict(zip(found.by, line.group, strict=True))
        shown = UsageLineOut(**_sums(line), group=group, token_id=line.token_id)
        # As JSON already: written all at once, 10,000 of them would hold the event loop up.
        return cast(UsageLineOut, msgspec.Raw(msgspec.json.encode(shown)))

    return UsageOut(list(found.by), await map_cooperatively(written, found.lines), Sums(**_sums(found.total)))


def _sums(sums: StoredSums) -> dict[str, Any]:
    counts = {name: getattr(sums, name) for name in COUNTS}
    return {**counts, "cost": format_usd(sums.cost), "uncertain_cost": format_usd(sums.uncertain_cost)}


async def list_ledger(call: Call[Nothing, RowQuery, None]) -> Page[RowOut]:
    query = call.query
    state = given(query.state)
    rows = await list_rows(
        call.api.stores.reports,
        states=[state] if state else [],
        since=given(query.since),
        until=given(query.until),
        user=given(query.user),
        after=pages.row_of(query.after),
        limit=query.limit + 1,
    )
    found = [_row(row) for row in rows]
    return pages.page(found, query.limit, lambda row: pages.row_cursor(row.started_at, row.request_id))


async def get_row(call: Call[ByRequest, Nothing, None]) -> RowOut:
    found = await list_rows(call.api.stores.reports, request_id=call.path.request_id, limit=1)
    if not found:
        raise NotFound(f"there is no row of request {call.path.request_id}")
    return _row(found[0])


def _row(row: UsageRow) -> RowOut:
    return same(row, RowOut, cost=format_usd(row.cost), uncertain_cost=format_usd(row.uncertain_cost))


async def ledger_status(call: Call[Nothing, Nothing, None]) -> LedgerOut:
    store = call.api.stores.reports
    states = [StateOut(line.state, line.rows, format_usd(line.cost)) for line in await rows_by_state(store, None)]
    agents = [same(agent, AgentOut) for agent in await agent_states(store)]
    return LedgerOut(states, agents, await count_dead_letters(store))


async def verify_ledger(call: Call[Nothing, FindingQuery, None]) -> FindingsOut:
    found = await verify(call.api.stores.proofs, limit=call.query.limit, waiting=call.query.waiting)
    return FindingsOut([same(finding, FindingOut) for finding in found])


async def correct_row(call: Call[ByRequest, Nothing, Correction]) -> CorrectedOut:
    body = call.body
    usage = Usage(input=body.input, output=body.output, cached=body.cached)
    return corrected(
        await Reconciler(call.api.stores.changes, call.actor).correct(call.path.request_id, usage, body.reason)
    )


async def reconcile(call: Call[Nothing, FigureQuery, bytes]) -> ReconciledOut:
    keys: dict[str, str] = {}
    for text in call.query.key:
        key, _, user = text.partition("=")
        if key in keys:
            raise InvalidValue(f"the key {key!r} is named twice")
        keys[key] = user

    def read() -> Figures:
        return merge(read_figures(trimmed(call.body, "the body"), "the body"))

    month = given(call.query.month)
    first = None if month is None else date.fromisoformat(f"{month}-01")
    figures = await asyncio.to_thread(read)  # a month of many keys would else hold clients up
    return reconciled(await Reconciler(call.api.stores.proofs, call.actor).reconcile(figures, month=first, keys=keys))
