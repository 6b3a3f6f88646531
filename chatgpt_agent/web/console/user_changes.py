"""Changes of one user: settings, name, OpenAI key, state, removal."""

from datetime import timedelta

from chatgpt_agent.admin.reports import UsageFilter
from chatgpt_agent.admin.users import UserRow
from chatgpt_agent.core.access.settings import UserChanges
from chatgpt_agent.web.admin.users import NewKey, NewName
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.parts import Also, Field, Form, Link, Message, Notice, Part, Redirect, Result, View
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url
from chatgpt_agent.web.console.user_fields import key_field, undo_fields, user_fields, version_field
from chatgpt_agent.web.console.user_parts import last_days

WEEK = 7  # days of which the requests are counted before something is destroyed


def user_url(name: str, *action: str) -> str:
    """Returns the address of a user's page, or of an action on it."""
    return page_url("users", name, *action)


def _view(request: ConsoleRequest, title: str, *parts: Part) -> View:
    name = request.path["name"]
    return View(title=title % {"name": name}, section="users", up=Link(name, user_url(name)), parts=parts)


async def _user(request: ConsoleRequest) -> UserRow:
    """The user of the page, as the form showed it. Raises NotFound, VersionMismatch."""
    return await request.administration.users.check_changeable(request.path["name"], request.version)


async def _newest(request: ConsoleRequest) -> UserRow:
    return await request.administration.users.check_changeable(request.path["name"])


# Settings.


async def show_change(request: ConsoleRequest) -> Result:
    """The form with the settings."""
    _ = request._
    user = await _newest(request)
    form = Form(
        name="settings",
        action=user_url(user.name, "change"),
        fields=[*user_fields(request, user), version_field(user.version)],
        submit=_("Save"),
        cancel=user_url(user.name),
        also=Also(
            command=command_line("user", "set", user.name, "--models", "gpt-6*,gpt-5.5", "--rpm", 60),
            rest=rest_request("PATCH", "users", user.name),
        ),
    )
    return _view(request, _("Change %(name)s"), form)


async def change(request: ConsoleRequest) -> Result:
    """Changes the settings that are not as they were."""
    _ = request._
    before = await _user(request)
    fields = user_fields(request, before)
    changes = request.read_changes(fields, UserChanges)
    if changes == UserChanges():
        notice = Notice(text=_("Nothing was different, so nothing has been changed."), level="plain")
        return Redirect(href=user_url(before.name), notice=notice)
    after = await request.administration.users.change(before.name, changes, version=before.version)
    notice = Notice(
        text=_("%(name)s has been changed.") % {"name": after.name},
        undo=user_url(after.name, "change"),
        undo_fields=undo_fields(request, "settings", fields, after.version),
    )
    return Redirect(href=user_url(after.name), notice=notice)


# Name.


async def show_rename(request: ConsoleRequest) -> Result:
    """The form with the name."""
    _ = request._
    user = await request.administration.users.get(request.path["name"])
    form = Form(
        name="rename",
        action=user_url(user.name, "rename"),
        fields=[Field(name="name", label=_("New name"), value=user.name, required=True), version_field(user.version)],
        submit=_("Rename"),
        cancel=user_url(user.name),
        also=Also(
            command=command_line("user", "rename", user.name, "NEW_NAME"),
            rest=rest_request("POST", "users", user.name, "rename"),
        ),
    )
    text = _("Tokens, budgets and recorded requests stay theirs; clients notice nothing.")
    return _view(request, _("Rename %(name)s"), Message(text=text), form)


async def rename(request: ConsoleRequest) -> Result:
    """Gives the user another name."""
    _ = request._
    name = request.path["name"]
    new = request.read([Field(name="name", required=True)], NewName).name
    after = await request.administration.users.rename(name, new, version=request.version)
    notice = Notice(
        text=_("%(name)s is now %(new)s.") % {"name": name, "new": new},
        undo=user_url(new, "rename"),
        undo_fields=undo_fields(request, "rename", [Field(name="name", value=name)], after.version),
    )
    return Redirect(href=user_url(new), notice=notice)


# OpenAI key.


async def show_key(request: ConsoleRequest) -> Result:
    """The form for another OpenAI key."""
    _ = request._
    user = await _newest(request)
    form = Form(
        name="key",
        action=user_url(user.name, "key"),
        fields=[key_field(request)],
        submit=_("Replace the key"),
        cancel=user_url(user.name),
        also=Also(
            command=command_line("user", "set-key", user.name), rest=rest_request("PUT", "users", user.name, "key")
        ),
    )
    text = _("Requests in progress end with the present key. It cannot be brought back afterwards.")
    return _view(request, _("Replace the OpenAI key of %(name)s"), Message(text=text), form)


async def replace_key(request: ConsoleRequest) -> Result:
    """Replaces the OpenAI key."""
    key = request.read([key_field(request)], NewKey).openai_key
    user = await request.administration.users.set_openai_key(request.path["name"], key)
    text = request._("The OpenAI key of %(name)s has been replaced.") % {"name": user.name}
    return Redirect(href=user_url(user.name), notice=Notice(text=text))


# State.


async def set_state(request: ConsoleRequest) -> Result:
    """Disables or enables the user."""
    _ = request._
    disabled = request.text("disabled") == "true"
    user = await request.administration.users.change(request.path["name"], UserChanges(disabled=disabled))
    text = (
        _("%(name)s has been disabled: their tokens are refused from now on.")
        if disabled
        else _("%(name)s has been enabled: their tokens are accepted again.")
    )
    notice = Notice(
        text=text % {"name": user.name},
        undo=user_url(user.name, "state"),
        undo_fields={"disabled": "false" if disabled else "true"},
    )
    return Redirect(href=user_url(user.name), notice=notice)


# Removal.


async def show_remove(request: ConsoleRequest) -> Result:
    """Asks for the name, and says what stops."""
    _ = request._
    user = await _newest(request)
    form = Form(
        name="remove",
        action=user_url(user.name, "remove"),
        fields=[version_field(user.version)],
        submit=_("Remove the user"),
        danger=True,
        confirm=user.name,
        effects=[*await _effects(request, user), *_lasting_effects(request)],
        cancel=user_url(user.name),
        also=Also(
            command=command_line("user", "remove", user.name), rest=rest_request("POST", "users", user.name, "remove")
        ),
    )
    return _view(request, _("Remove %(name)s"), form)


async def _effects(request: ConsoleRequest, user: UserRow) -> list[str]:
    tokens = request.ngettext(
        "%(n)s token in force is revoked: its clients are refused.",
        "%(n)s tokens in force are revoked: their clients are refused.",
        user.tokens,
    )
    count = await requests_of_week(request, UsageFilter(user=user.name))
    requests = request.ngettext(
        "There was %(n)s request in the last 7 days.", "There were %(n)s requests in the last 7 days.", count
    )
    number = request.formats.number
    return [tokens % {"n": number(user.tokens)}, requests % {"n": number(count)}]


async def requests_of_week(request: ConsoleRequest, usage: UsageFilter) -> int:
    """Returns how many requests there were in the last 7 days, today included."""
    today = last_days(request)[1]
    filter_ = UsageFilter(user=usage.user, token_id=usage.token_id, since=today - timedelta(days=WEEK - 1), until=today)
    report = await request.administration.reports.report(("month",), filter_)
    return report.total.requests


def _lasting_effects(request: ConsoleRequest) -> list[str]:
    _ = request._
    return [
        _("The OpenAI key is destroyed. This cannot be undone."),
        _("The recorded requests stay in the ledger. The name stays taken, unless you rename the removed user."),
    ]


async def remove(request: ConsoleRequest) -> Result:
    """Removes the user."""
    name = request.path["name"]
    request.check_confirmed(name)
    await request.administration.users.remove(name, version=request.version)
    text = request._("%(name)s has been removed, and the tokens are revoked.") % {"name": name}
    return Redirect(href=user_url(name), notice=Notice(text=text))


PAGES = [
    Page(path="/users/{name}/change", get=show_change, post=change, admins_only=True),
    Page(path="/users/{name}/rename", get=show_rename, post=rename, admins_only=True),
    Page(path="/users/{name}/key", get=show_key, post=replace_key, admins_only=True),
    Page(path="/users/{name}/state", post=set_state),
    Page(path="/users/{name}/remove", get=show_remove, post=remove, admins_only=True),
]
