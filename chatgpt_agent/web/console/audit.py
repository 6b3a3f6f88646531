"""The audit log: who changed what, and when."""

from typing import Any

from chatgpt_agent.admin.audit import OBJECTS, AuditRow
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.audit import AuditQuery
from chatgpt_agent.web.admin.schemas import or_none
from chatgpt_agent.web.console.parts import Also, Column, Field, Form, Input, Kind, Link, Result, Table, View
from chatgpt_agent.web.console.routing import PAGE_SIZE, ConsoleRequest, Page, page_url


async def show_audit(request: ConsoleRequest) -> Result:
    """The changes, the newest first."""
    _ = request._
    query = request.filter(AuditQuery)
    rows = await request.administration.audit.list(
        since=or_none(query.since),
        actor=or_none(query.actor),
        object=or_none(query.object),
        object_id=or_none(query.object_id),
        before_id=cursors.id_of(query.after),
        limit=PAGE_SIZE + 1,
    )
    page = cursors.page(rows, PAGE_SIZE, lambda row: cursors.id_cursor(row.id))
    table = Table(
        name="changes",
        title=_("Changes"),
        columns=[
            Column("at", _("Time"), Kind.TIME),
            Column("actor", _("By")),
            Column("via", _("Through")),
            Column("address", _("Address")),
            Column("action", _("Action")),
            Column("object", _("Object")),
            Column("object_id", _("Id")),
            Column("changes", _("What changed")),
        ],
        rows=[_row(row, _terms(request)) for row in page.data],
        empty=_("No change matches. Every change by command, REST, console or in PostgreSQL is listed here."),
        next=request.with_query(after=page.next) if page.next else None,
        also=Also(command="chatgpt-agent audit list", rest="GET /api/v1/audit"),
    )
    return View(title=_("Audit"), section="audit", parts=[_filter(request), table])


def _filter(request: ConsoleRequest) -> Form:
    _ = request._
    value = request.query.get
    fields = [
        Field(name="since", label=_("Since"), input=Input.TIME, value=value("since")),
        Field(name="actor", label=_("By"), value=value("actor")),
        Field(
            name="object",
            label=_("Object"),
            input=Input.CHOICE,
            value=value("object"),
            choices={"": _("all"), **{name: _terms(request)[name] for name in OBJECTS}},
        ),
        Field(name="object_id", label=_("Id"), input=Input.NUMBER, value=value("object_id")),
    ]
    return Form(name="filter", action=page_url("audit"), get=True, fields=fields, submit=_("Filter"))


def _terms(request: ConsoleRequest) -> dict[str, str]:
    """Returns the names of interfaces, actions and objects; columns keep the names that they have in the database."""
    _ = request._
    return {
        "command": _("command"),
        "rest": _("rest"),
        "console": _("console"),
        "own_token": _("own_token"),
        "sql": _("sql"),
        "insert": _("insert"),
        "update": _("update"),
        "delete": _("delete"),
        "users": _("users"),
        "tokens": _("tokens"),
        "prices": _("prices"),
        "surcharges": _("surcharges"),
        "budgets": _("budgets"),
        "admins": _("admins"),
        "usage": _("usage"),
        "settings": _("settings"),
        "archived_months": _("archived_months"),
    }


def _row(row: AuditRow, terms: dict[str, str]) -> list[Any]:
    return [
        row.at,
        Link(row.actor, page_url("audit", actor=row.actor)),
        terms.get(row.via, row.via),
        row.address,
        terms.get(row.action, row.action),
        terms.get(row.object, row.object),
        Link(row.object_id, page_url("audit", object=row.object, object_id=row.object_id)),
        _difference(row),
    ]


def _difference(row: AuditRow) -> str:
    """What is not the same before and after, such as `rpm: 10 → 20`."""
    before, after = row.before or {}, row.after or {}
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if row.before is None or row.after is None:
        return "; ".join(f"{name}: {_text((after or before)[name])}" for name in names)
    return "; ".join(f"{name}: {_text(before.get(name))} → {_text(after.get(name))}" for name in names)


def _text(value: object) -> str:
    return "–" if value is None or value == "" else str(value)


PAGES = [Page(path="/audit", get=show_audit)]
