"""Tokens of users: show, issue, change, rotate, revoke."""

from datetime import UTC, datetime, timedelta

from chatgpt_agent.admin.reports import UsageFilter
from chatgpt_agent.admin.tokens import GRACE, TokenRow
from chatgpt_agent.core.access.settings import TokenSettings
from chatgpt_agent.web.admin.parameters import to_struct
from chatgpt_agent.web.admin.schemas import IdPath
from chatgpt_agent.web.admin.tokens import Rotation
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.issued import issued_view
from chatgpt_agent.web.console.parts import (
    Also,
    Button,
    Buttons,
    Fact,
    Facts,
    Field,
    Form,
    Input,
    Kind,
    Link,
    Message,
    Notice,
    Part,
    Redirect,
    Result,
    View,
)
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url
from chatgpt_agent.web.console.user_changes import requests_of_week, user_url
from chatgpt_agent.web.console.user_fields import list_text, setting_facts, token_fields, undo_fields, version_field
from chatgpt_agent.web.console.user_parts import is_in_force, token_mark, token_name

HOUR = 3600  # seconds


def token_url(id: int, *action: str) -> str:
    """Returns the address of a token's page, or of an action on it."""
    return page_url("tokens", id, *action)


def _id(request: ConsoleRequest) -> int:
    path: IdPath = to_struct(request.path.items(), IdPath)
    return path.id


async def _token(request: ConsoleRequest) -> TokenRow:
    return await request.administration.tokens.get(_id(request))


def _view(request: ConsoleRequest, title: str, token: TokenRow, *parts: Part) -> View:
    name = {"name": token_name(token)}
    return View(title=title % name, section="users", up=Link(token.user, user_url(token.user)), parts=parts)


# Issue.


async def show_new(request: ConsoleRequest) -> Result:
    """The form for one more token."""
    _ = request._
    user = await request.administration.users.check_changeable(request.path["name"])
    form = Form(
        name="new",
        action=user_url(user.name, "new-token"),
        fields=token_fields(request, None),
        submit=_("Issue the token"),
        cancel=user_url(user.name),
        also=Also(
            command=command_line("token", "issue", user.name, "--label", "laptop", "--expires", "90d"),
            rest=rest_request("POST", "users", user.name, "tokens"),
        ),
    )
    title = _("Issue a token for %(name)s") % {"name": user.name}
    return View(title=title, section="users", up=Link(user.name, user_url(user.name)), parts=[form])


async def issue(request: ConsoleRequest) -> Result:
    """Issues the token, and shows it."""
    settings = request.read(token_fields(request, None), TokenSettings)
    issued = await request.administration.tokens.issue(request.path["name"], settings)
    return await issued_view(request, issued, request._("New token of %(name)s") % {"name": issued.user})


# Show and change.


async def show_token(request: ConsoleRequest) -> Result:
    """A token, and the form with its settings."""
    _ = request._
    token = await _token(request)
    parts: list[Part] = [_facts(request, token)]
    if token.revoked_at is None:
        parts.append(_settings_form(request, token))
    more = [
        Button(_("Requests with this token"), page_url("requests", token=token.id), for_viewers=True),
        Button(_("Changes of this token"), page_url("audit", object="tokens", object_id=token.id), for_viewers=True),
    ]
    return _view(request, _("Token %(name)s"), token, *parts, Buttons(buttons=more))


def _facts(request: ConsoleRequest, token: TokenRow) -> Facts:
    _ = request._
    facts = [
        Fact(_("State"), token_mark(request, token)),
        Fact(_("User"), Link(token.user, user_url(token.user))),
        Fact(_("Begins with"), f"{token.token_prefix}…" if token.token_prefix else None),
        Fact(_("Id"), token.id, Kind.CODE),
        Fact(_("Issued"), token.created_at, Kind.TIME),
        Fact(_("Expires"), token.expires_at or _("never"), Kind.TIME if token.expires_at else Kind.TEXT),
        Fact(_("Last used"), token.last_used_at, Kind.TIME),
        *setting_facts(request, token),
        Fact(_("Allowed networks"), list_text(token.allowed_networks, _("every network"))),
    ]
    if token.revoked_at:
        facts.append(Fact(_("Revoked"), token.revoked_at, Kind.TIME))
    if token.replaces is not None:
        facts.append(Fact(_("Replaces"), Link(token.replaces, token_url(token.replaces))))
    if token.replaced_by is not None:
        facts.append(Fact(_("Replaced by"), Link(token.replaced_by, token_url(token.replaced_by))))
    buttons = []
    if is_in_force(token) and token.replaced_by is None:
        buttons.append(Button(_("Rotate"), token_url(token.id, "rotate")))
    if token.revoked_at is None:
        buttons.append(Button(_("Revoke"), token_url(token.id, "revoke"), danger=True))
    also = Also(command=command_line("token", "list", token.user), rest=rest_request("GET", "tokens", token.id))
    return Facts(facts=facts, buttons=buttons, also=also)


def _settings_form(request: ConsoleRequest, token: TokenRow) -> Form:
    _ = request._
    return Form(
        name="settings",
        title=_("Change this token"),
        action=token_url(token.id),
        fields=[*token_fields(request, token), version_field(token.version)],
        submit=_("Save"),
        folded=True,
        also=Also(
            command=command_line("token", "set", token.id, "--networks", "192.0.2.0/24", "--expires", ""),
            rest=rest_request("PATCH", "tokens", token.id),
        ),
    )


async def change(request: ConsoleRequest) -> Result:
    """Changes the settings that are not as they were."""
    _ = request._
    before = await _token(request)
    version = request.version or before.version
    fields = token_fields(request, before)
    changes = request.read_changes(fields, TokenSettings)
    if changes == TokenSettings() and version == before.version:
        notice = Notice(text=_("Nothing was different, so nothing has been changed."), level="plain")
        return Redirect(href=token_url(before.id), notice=notice)
    after = await request.administration.tokens.change(before.id, changes, version=version)
    notice = Notice(
        text=_("The token has been changed."),
        undo=token_url(after.id),
        undo_fields=undo_fields(request, "settings", fields, after.version),
    )
    return Redirect(href=token_url(after.id), notice=notice)


# Rotate.


async def show_rotate(request: ConsoleRequest) -> Result:
    """The form with the grace period."""
    _ = request._
    token = await _token(request)
    choices = {
        "0": _("ends at once"),
        str(HOUR): _("works for 1 hour"),
        str(24 * HOUR): _("works for 24 hours"),
        str(7 * 24 * HOUR): _("works for 7 days"),
        str(30 * 24 * HOUR): _("works for 30 days"),
    }
    form = Form(
        name="rotate",
        action=token_url(token.id, "rotate"),
        fields=[
            Field(
                name="grace_seconds",
                label=_("The old token"),
                input=Input.CHOICE,
                value=str(int(GRACE.total_seconds())),
                choices=choices,
                required=True,
            )
        ],
        submit=_("Issue the new token"),
        cancel=token_url(token.id),
        also=Also(
            command=command_line("token", "rotate", token.id, "--grace", "24h"),
            rest=rest_request("POST", "tokens", token.id, "rotate"),
        ),
    )
    text = _(
        "The new token has the same settings and budgets. The old one works for a while, so that clients can change."
    )
    return _view(request, _("Rotate token %(name)s"), token, Message(text=text), form)


async def rotate(request: ConsoleRequest) -> Result:
    """Issues the new token, and shows it."""
    _ = request._
    seconds = request.read([Field(name="grace_seconds", input=Input.NUMBER)], Rotation).grace_seconds
    old, grace = await _token(request), timedelta(seconds=seconds)
    issued = await request.administration.tokens.rotate(old.id, grace=grace)
    end = datetime.now(UTC) + grace
    until = end if old.expires_at is None else min(old.expires_at, end)
    values = {"name": token_name(old), "time": request.formats.time(until)}
    note = _("The old token, %(name)s, works until %(time)s.") % values
    return await issued_view(request, issued, _("New token of %(name)s") % {"name": issued.user}, note)


# Revoke.


async def show_revoke(request: ConsoleRequest) -> Result:
    """Asks for the name of the token, and says who used it last."""
    _ = request._
    token = await _token(request)
    form = Form(
        name="revoke",
        action=token_url(token.id, "revoke"),
        fields=[version_field(token.version)],
        submit=_("Revoke the token"),
        danger=True,
        confirm=_confirmation(token),
        effects=await _effects(request, token),
        cancel=token_url(token.id),
        also=Also(
            command=command_line("token", "revoke", token.id), rest=rest_request("POST", "tokens", token.id, "revoke")
        ),
    )
    return _view(request, _("Revoke token %(name)s"), token, form)


def _confirmation(token: TokenRow) -> str:
    return token.token_prefix or str(token.id)


async def _effects(request: ConsoleRequest, token: TokenRow) -> list[str]:
    _ = request._
    count = await requests_of_week(request, UsageFilter(token_id=token.id))
    requests = request.ngettext(
        "There was %(n)s request in the last 7 days.", "There were %(n)s requests in the last 7 days.", count
    )
    used = (
        _("It was last used at %(time)s.") % {"time": request.formats.time(token.last_used_at)}
        if token.last_used_at
        else _("It has not been used yet.")
    )
    end = _("Clients with this token of %(user)s are refused from then on. This cannot be undone.")
    return [used, requests % {"n": request.formats.number(count)}, end % {"user": token.user}]


async def revoke(request: ConsoleRequest) -> Result:
    """Revokes the token."""
    _ = request._
    tokens, token = request.administration.tokens, await _token(request)
    request.check_confirmed(_confirmation(token))
    token = await tokens.revoke(token.id, version=request.version)
    text = _("The token %(name)s has been revoked.") % {"name": token_name(token)}
    old = None if token.replaces is None else await tokens.get(token.replaces)
    if old is not None and is_in_force(old):
        text += " " + _("Token %(name)s, which it replaced, still works.") % {"name": token_name(old)}
    return Redirect(href=user_url(token.user), notice=Notice(text=text))


PAGES = [
    Page(path="/users/{name}/new-token", get=show_new, post=issue, admins_only=True),
    Page(path="/tokens/{id}", get=show_token, post=change),
    Page(path="/tokens/{id}/rotate", get=show_rotate, post=rotate, admins_only=True),
    Page(path="/tokens/{id}/revoke", get=show_revoke, post=revoke, admins_only=True),
]
