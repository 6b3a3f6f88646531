"""Reports, the ledger and the audit log over REST: reading alone."""

from typing import Any

from chatgpt_agent.core.errors import UnknownName
from chatgpt_agent.edges.store.audit import list_audit as read_audit
from chatgpt_agent.edges.store.inspection import agent_states, count_dead_letters, findings, list_rows, rows_by_state
from chatgpt_agent.edges.store.reports import COUNTS, UsageLine
from chatgpt_agent.edges.store.reports import Sums as StoredSums
from chatgpt_agent.edges.turns import made_of
from chatgpt_agent.services.reports import report
from chatgpt_agent.web.admin_api import pages
from chatgpt_agent.web.admin_api.answered import (
    AgentOut,
    AuditOut,
    FindingOut,
    FindingsOut,
    LedgerOut,
    RowOut,
    StateOut,
    Sums,
    UsageLineOut,
    UsageOut,
    amount,
    same,
)
from chatgpt_agent.web.admin_api.asked import AuditQuery, ByRequest, FindingQuery, Nothing, RowQuery, UsageQuery, given
from chatgpt_agent.web.admin_api.pages import Page
from chatgpt_agent.web.admin_api.route import Call

MAX_LINES = 10_000  # of a report: more would hold the event loop up while they are written


async def report_usage(call: Call[Nothing, UsageQuery, None]) -> UsageOut:
    query = call.query
    found = await report(
        call.api.reports,
        list(dict.fromkeys(query.by.split(","))),
        since=given(query.since),
        until=given(query.until),
        user=given(query.user),
        token_id=given(query.token),
        model=given(query.model),
        most=MAX_LINES,
    )

    def made(line: UsageLine) -> UsageLineOut:
        return UsageLineOut(**_sums(line), group=dict(zip(found.by, line.group, strict=True)), token_id=line.token_id)

    return UsageOut(list(found.by), await made_of(made, found.lines), Sums(**_sums(found.total)))


def _sums(sums: StoredSums) -> dict[str, Any]:
    counts = {name: getattr(sums, name) for name in COUNTS}
    return {**counts, "cost": amount(sums.cost), "uncertain": amount(sums.reserved)}


async def list_ledger(call: Call[Nothing, RowQuery, None]) -> Page[RowOut]:
    query = call.query
    state = given(query.state)
    rows = await list_rows(
        call.api.reports,
        states=[state] if state else [],
        since=given(query.since),
        until=given(query.until),
        user=given(query.user),
        after=pages.row_of(query.after),
        limit=query.limit + 1,
    )
    found = [same(row, RowOut, cost=amount(row.cost)) for row in rows]
    return pages.page(found, query.limit, lambda row: pages.row_cursor(row.started_at, row.request_id))


async def get_row(call: Call[ByRequest, Nothing, None]) -> RowOut:
    found = await list_rows(call.api.reports, request_id=call.path.request_id, limit=1)
    if not found:
        raise UnknownName(f"there is no row of request {call.path.request_id}")
    return same(found[0], RowOut, cost=amount(found[0].cost))


async def ledger_status(call: Call[Nothing, Nothing, None]) -> LedgerOut:
    store = call.api.reports
    states = [StateOut(line.state, line.rows, amount(line.cost)) for line in await rows_by_state(store, None)]
    agents = [same(agent, AgentOut) for agent in await agent_states(store)]
    return LedgerOut(states, agents, await count_dead_letters(store))


async def verify_ledger(call: Call[Nothing, FindingQuery, None]) -> FindingsOut:
    found = await findings(call.api.proofs, call.query.limit)
    return FindingsOut([same(finding, FindingOut) for finding in found])


async def list_audit(call: Call[Nothing, AuditQuery, None]) -> Page[AuditOut]:
    query = call.query
    lines = await read_audit(
        call.api.reports,
        since=given(query.since),
        actor=given(query.actor),
        object=given(query.object),
        object_id=given(query.object_id),
        before_id=pages.id_of(query.after),
        limit=query.limit + 1,
    )
    return pages.page([same(line, AuditOut) for line in lines], query.limit, lambda line: pages.id_cursor(line.id))
