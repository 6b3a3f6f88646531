"""Admins: who may use this console and REST, and revoking one. Only commands issue tokens: see admin/admins.py."""

from typing import Any

from chatgpt_agent.admin.admins import AdminRow, Role
from chatgpt_agent.core.errors import NotFound
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.parts import (
    Also,
    Button,
    Code,
    Column,
    Form,
    Kind,
    Link,
    Mark,
    Notice,
    Redirect,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url


async def show_admins(request: ConsoleRequest) -> Result:
    """The admins by name."""
    _ = request._
    admins = await request.administration.admins.list()
    table = Table(
        name="admins",
        title=_("All admins"),
        columns=[
            Column("name", _("Name")),
            Column("role", _("Role")),
            Column("state", _("State")),
            Column("token", _("Token begins with")),
            Column("password_set_at", _("Password set"), Kind.TIME),
            Column("created_at", _("Added"), Kind.TIME),
            Column("revoked_at", _("Revoked"), Kind.TIME),
            Column("", ""),
        ],
        rows=[_row(request, admin) for admin in sorted(admins, key=lambda admin: admin.revoked_at is not None)],
        note=_("With the role admin everything is allowed; a viewer only looks."),
        also=Also(command=command_line("admin", "list"), rest=rest_request("GET", "admins")),
    )
    how = Code(
        title=_("Add an admin, or set a new password"),
        text=command_line("admin", "password", "NAME", "--role", Role.VIEWER),
        note=_(
            "Run it on the machine of the agent. Tokens for REST are issued by `admin token`. The console does "
            "neither: a stolen session could make a token that works longer."
        ),
    )
    up = Link(_("System"), page_url("system"))
    return View(title=_("Admins"), section="system", up=up, parts=[table, how])


def _row(request: ConsoleRequest, admin: AdminRow) -> list[Any]:
    _ = request._
    revoke = Button(_("Revoke"), page_url("admins", admin.name, "revoke"), danger=True)
    roles: dict[str, str] = {Role.ADMIN: _("admin"), Role.VIEWER: _("viewer")}
    return [
        admin.name,
        roles.get(admin.role, admin.role),
        Mark(_("revoked")) if admin.revoked_at else Mark(_("active"), "good"),
        f"{admin.token_prefix}…" if admin.token_prefix else None,
        admin.password_set_at,
        admin.created_at,
        admin.revoked_at,
        "" if admin.revoked_at else revoke,
    ]


async def show_revoke(request: ConsoleRequest) -> Result:
    """Asks for the name, and says what ends."""
    _ = request._
    admin = await _admin(request)
    name = admin.name
    effects = [
        _("The token and the password of %(name)s end, and so does every session.") % {"name": name},
        _("What %(name)s has changed stays, also in the audit log.") % {"name": name},
    ]
    if request.admin.admin.name == name:
        effects.insert(0, _("This is you: you are signed out."))
    form = Form(
        name="revoke",
        action=page_url("admins", name, "revoke"),
        fields=[],
        submit=_("Revoke the admin"),
        danger=True,
        confirm=name,
        effects=effects,
        cancel=page_url("admins"),
        also=Also(command=command_line("admin", "revoke", name), rest=rest_request("POST", "admins", name, "revoke")),
    )
    up = Link(_("Admins"), page_url("admins"))
    return View(title=_("Revoke %(name)s") % {"name": name}, section="system", up=up, parts=[form])


async def _admin(request: ConsoleRequest) -> AdminRow:
    name = request.path["name"]
    for admin in await request.administration.admins.list():
        if admin.name == name:
            return admin
    raise NotFound(f"there is no admin {name!r}")


async def revoke(request: ConsoleRequest) -> Result:
    """Revokes the admin, except the last one."""
    name = request.path["name"]
    request.check_confirmed(name)
    await request.administration.admins.revoke_unless_last(name)
    return Redirect(href=page_url("admins"), notice=Notice(text=request._("%(name)s is revoked.") % {"name": name}))


PAGES = [
    Page(path="/admins", get=show_admins, admins_only=True),
    Page(path="/admins/{name}/revoke", get=show_revoke, post=revoke, admins_only=True),
]
