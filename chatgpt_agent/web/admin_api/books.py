"""Reports, the ledger and the audit log over REST: reading alone."""

from collections.abc import Sequence
from decimal import Context, Decimal
from functools import reduce

from chatgpt_agent.core.errors import InvalidValue, UnknownName
from chatgpt_agent.edges.store.audit import list_audit as read_audit
from chatgpt_agent.edges.store.inspection import agent_states, count_dead_letters, findings, list_rows, rows_by_state
from chatgpt_agent.edges.store.reports import UsageLine, usage_report
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
_COUNTS = ("requests", "not_done", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
_WIDE = Context(prec=100)


async def report_usage(call: Call[Nothing, UsageQuery, None]) -> UsageOut:
    by = list(dict.fromkeys(call.query.by.split(",")))
    since, until = given(call.query.since), given(call.query.until)
    if since and until and until < since:
        raise InvalidValue("until is before since")
    lines = await usage_report(call.api.reports, by, since=since, until=until)
    if len(lines) > MAX_LINES:
        raise InvalidValue(f"the report has {len(lines)} lines, over {MAX_LINES}: ask for fewer days or groups")
    rows = [
        UsageLineOut(
            **{name: getattr(line, name) for name in _COUNTS},
            cost=amount(line.cost),
            group=dict(zip(by, line.group, strict=True)),
        )
        for line in lines
    ]
    return UsageOut(by, rows, _total(lines))


def _total(lines: Sequence[UsageLine]) -> Sums:
    cost = reduce(_WIDE.add, (line.cost for line in lines), Decimal(0))
    return Sums(**{name: sum(getattr(line, name) for line in lines) for name in _COUNTS}, cost=amount(cost))


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
