"""The ledger: the list of requests, with filters."""

import shlex
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from msgspec import UNSET

from chatgpt_agent.admin.ledger import UsageRow
from chatgpt_agent.core.archive import show_month
from chatgpt_agent.core.http.endpoints import METERED
from chatgpt_agent.core.ledger import State
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.ledger import RowQuery, rows_of
from chatgpt_agent.web.admin.schemas import or_none
from chatgpt_agent.web.console.parts import (
    Also,
    Button,
    Buttons,
    Column,
    Field,
    Form,
    Input,
    Kind,
    Link,
    Mark,
    Message,
    Part,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.requests_export import export_requests
from chatgpt_agent.web.console.routing import PAGE_SIZE, ConsoleRequest, Page, page_url

LEVELS = {
    State.DONE: "good",
    State.USAGE_UNKNOWN: "warning",
    State.INCOMPLETE: "warning",
    State.UNKNOWN: "bad",
    State.UPSTREAM_ERROR: "bad",
    State.NOT_SENT: "plain",
    State.CORRECTION: "plain",
    State.IMPORTED: "plain",
}


async def show_requests(request: ConsoleRequest) -> Result:
    """The rows, the newest first."""
    _ = request._
    query = request.filter(RowQuery)
    rows = await rows_of(request.administration, query, after=cursors.row_of(query.after), limit=PAGE_SIZE + 1)
    page = cursors.page(rows, PAGE_SIZE, lambda row: cursors.row_cursor(row.started_at, row.request_id))
    filtered = any(getattr(query, name) not in (UNSET, ()) for name in ("state", "user", "token", "model", "endpoint"))
    table = Table(
        name="rows",
        title=_("Rows of the ledger"),
        columns=row_columns(request),
        rows=[row_cells(request, row) for row in page.data],
        empty=_("No request matches.") if filtered else _("No request has been recorded in this time."),
        next=request.with_query(after=page.next) if page.next else None,
        file=page_url("requests.csv", **{name: value for name, value in request.query.items() if name != "after"}),
        also=Also(command=_command(request), rest=_rest(request)),
    )
    parts: list[Part] = [_filter(request), _spans(request), table]
    if not page.next:
        parts += await _archived(request, query)
    return View(title=_("Requests"), section="requests", parts=parts)


async def _archived(request: ConsoleRequest, query: RowQuery) -> list[Part]:
    """What to say at the end of the list, where rows are archived."""
    archives = await request.administration.archives.between(or_none(query.since), or_none(query.until))
    if not archives:
        return []
    text = request._("The rows of these months are archived in files: %(months)s.") % {
        "months": ", ".join(show_month(each.month) for each in archives)
    }
    return [
        Message(
            text=text, button=Button(request._("Archived months"), page_url("books") + "#archives", for_viewers=True)
        )
    ]


def row_columns(request: ConsoleRequest) -> list[Column]:
    """Returns the columns of a list of rows."""
    _ = request._
    return [
        Column("started_at", _("Time"), Kind.TIME),
        Column("user", _("User")),
        Column("token", _("Token")),
        Column("model", _("Model")),
        Column("endpoint", _("Endpoint")),
        Column("state", _("State")),
        Column("input_tokens", _("Input"), Kind.NUMBER),
        Column("output_tokens", _("Output"), Kind.NUMBER),
        Column("cost", _("Cost"), Kind.USD),
        Column("uncertain_cost", _("Uncertain"), Kind.USD),
    ]


def row_cells(request: ConsoleRequest, row: UsageRow) -> list[Any]:
    """Returns the cells of a row in a list. Token counts that are not known are no 0."""
    return [
        Link(row.started_at, page_url("requests", row.request_id)),
        Link(row.user, page_url("users", row.user)),
        row.token,
        row.model,
        row.endpoint.removeprefix("/v1/"),
        state_mark(request, row.state),
        row.input_tokens,
        row.output_tokens,
        row.cost,
        row.uncertain_cost or None,
    ]


def state_mark(request: ConsoleRequest, state: State) -> Mark:
    """Returns a state as a word that stands out."""
    return Mark(state_names(request)[state], LEVELS[state])


def state_names(request: ConsoleRequest) -> dict[State, str]:
    """Returns the names of the states."""
    _ = request._
    return {
        State.DONE: _("done"),
        State.USAGE_UNKNOWN: _("usage unknown"),
        State.UPSTREAM_ERROR: _("OpenAI's error"),
        State.INCOMPLETE: _("incomplete"),
        State.NOT_SENT: _("not sent"),
        State.UNKNOWN: _("unknown"),
        State.CORRECTION: _("correction"),
        State.IMPORTED: _("imported"),
    }


def _filter(request: ConsoleRequest) -> Form:
    _ = request._
    value = request.query.get
    fields = [
        Field(name="since", label=_("From"), input=Input.TIME, value=value("since")),
        Field(name="until", label=_("Until"), input=Input.TIME, value=value("until")),
        Field(name="user", label=_("User"), value=value("user")),
        Field(name="token", label=_("Token id"), input=Input.NUMBER, value=value("token")),
        Field(name="model", label=_("Model"), value=value("model")),
        Field(
            name="endpoint",
            label=_("Endpoint"),
            input=Input.CHOICE,
            value=value("endpoint"),
            choices={"": _("all"), **{endpoint.path: endpoint.path for endpoint in METERED}},
        ),
        Field(
            name="state",
            label=_("State"),
            input=Input.CHOICE,
            value=value("state"),
            choices={"": _("all"), **{state.value: name for state, name in state_names(request).items()}},
        ),
    ]
    return Form(name="filter", action=page_url("requests"), get=True, fields=fields, submit=_("Filter"))


def _spans(request: ConsoleRequest) -> Buttons:
    """Links to spans of time that are often asked for."""
    _ = request._
    now = datetime.now(UTC).astimezone(ZoneInfo(request.zone))
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    spans = {
        _("Today"): midnight,
        _("24 hours"): now - timedelta(hours=24),
        _("7 days"): now - timedelta(days=7),
        _("This month"): midnight.replace(day=1),
    }
    buttons = [
        Button(label, request.with_query(since=f"{since:%Y-%m-%dT%H:%M}", until=None, after=None), for_viewers=True)
        for label, since in spans.items()
    ]
    return Buttons(buttons=[*buttons, Button(_("All"), page_url("requests"), for_viewers=True)])


def _command(request: ConsoleRequest) -> str:
    options = [f"--{name} {shlex.quote(value)}" for name, value in request.exact_query.items() if name in _OPTIONS]
    return " ".join(["chatgpt-agent ledger list", *options])


def _rest(request: ConsoleRequest) -> str:
    query = urlencode({name: value for name, value in request.exact_query.items() if name != "after"})
    return f"GET /api/v1/ledger/rows?{query}" if query else "GET /api/v1/ledger/rows"


_OPTIONS = ("since", "until", "user", "token", "model", "endpoint", "state")

PAGES = [
    Page(path="/requests", get=show_requests),
    Page(path="/requests.csv", get=export_requests),
]
