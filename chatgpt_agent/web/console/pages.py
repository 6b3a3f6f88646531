"""Pages about the sign-in, and preferences."""

from urllib.parse import parse_qsl, urlencode, urlsplit

from chatgpt_agent.core.errors import InvalidCredentials, InvalidRequest, InvalidValue
from chatgpt_agent.web.console import cookies, languages
from chatgpt_agent.web.console.forms import FORM
from chatgpt_agent.web.console.parts import (
    Also,
    Field,
    Form,
    Input,
    Link,
    Message,
    Notice,
    Part,
    Redirect,
    Result,
    View,
)
from chatgpt_agent.web.console.passwords import password_fields, typed_password
from chatgpt_agent.web.console.rendering import THEMES
from chatgpt_agent.web.console.routing import PREFIX, ConsoleRequest, Page

DRAFT = "draft"  # the fields of a form that was sent after the session had ended
MAX_DRAFT = 64 * 1024  # characters


async def show_login(request: ConsoleRequest) -> Result:
    """The form to sign in with."""
    if request.signed_in is not None and not request.sent:
        return Redirect(href=next_page(request))
    _ = request._
    hint = _(
        "No admin has a password yet. Open the link that `chatgpt-agent serve` has written to its log, or run "
        "`chatgpt-agent admin password NAME`."
    )
    needs_first_run = await request.services.access.needs_first_run()
    return _login_view(request, request.sent.get(DRAFT, ""), hint if needs_first_run else "")


def _login_view(request: ConsoleRequest, draft: str, text: str = "") -> View:
    _ = request._
    fields = [
        Field(name="name", label=_("Name"), required=True, autocomplete="username"),
        Field(
            name="password",
            label=_("Password"),
            input=Input.SECRET,
            required=True,
            autocomplete="current-password",
        ),
        Field(name="next", input=Input.HIDDEN, value=next_page(request)),
        Field(name=DRAFT, input=Input.HIDDEN, value=draft),
    ]
    form = Form(name="login", action=f"{PREFIX}/login", fields=fields, submit=_("Sign in"), for_viewers=True)
    parts: list[Part] = [Message(text=text, level="warning")] if text else []
    return View(title=_("Sign in"), parts=[*parts, form], bare=True)


def signed_out(request: ConsoleRequest) -> View:
    """The answer to a form that was sent after the session had ended: what was typed is sent again after the
    sign-in. Files are not kept."""
    draft = urlencode({name: text for name, text in request.sent.items() if name != "_xsrf"})
    text = request._("Your session has ended. Sign in, and what you typed can be sent again.")
    view = _login_view(request, draft if len(draft) <= MAX_DRAFT else "", text)
    return View(title=view.title, parts=view.parts, bare=True, status=401)


async def log_in(request: ConsoleRequest) -> Result:
    """Signs an admin in. A form that waited is shown, to be sent again."""
    name, password = request.text("name"), request.sent.get("password", "")
    session = await request.services.access.log_in(name, password, request.address)
    draft = request.sent.get(DRAFT, "")
    if not draft:
        return Redirect(href=next_page(request), session=session.secret)
    return _send_again(request, draft, session.secret)


def _send_again(request: ConsoleRequest, draft: str, secret: str) -> View:
    """The form that waited for the sign-in. It is not sent by itself: some time may have passed."""
    _ = request._
    values = dict(_pairs(draft))
    fields = [
        Field(name=name, input=Input.HIDDEN, value=value)
        for name, value in values.items()
        if name not in (FORM, "_xsrf")
    ]
    form = Form(
        name=values.get(FORM, "again"),
        action=next_page(request),
        fields=fields,
        submit=_("Send it now"),
        for_viewers=True,
        cancel=PREFIX,
    )
    text = _("You are signed in again. What you typed before has not been sent yet.")
    return View(title=_("Welcome back"), parts=[Message(text=text), form], bare=True, session=secret)


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError:
        raise InvalidRequest("The form cannot be read.") from None


def next_page(request: ConsoleRequest) -> str:
    """Returns the page to go on with: one of this console, whatever the address says."""
    url = request.sent.get("next") or request.query.get("next") or (PREFIX if _is_login(request) else request.url)
    parts = urlsplit(url)
    own = not parts.scheme and not parts.netloc and (parts.path + "/").startswith(f"{PREFIX}/")
    return url if own and not url.startswith("//") and url.isprintable() else PREFIX


def _is_login(request: ConsoleRequest) -> bool:
    return urlsplit(request.url).path == f"{PREFIX}/login"


async def log_out(request: ConsoleRequest) -> Result:
    """Ends the session."""
    await request.services.access.log_out(request.secret)
    return Redirect(href=f"{PREFIX}/login", session="", notice=Notice(text=request._("You are signed out.")))


async def set_preferences(request: ConsoleRequest) -> Result:
    """Keeps a language and colors in the browser."""
    preferences = {}
    if (language := request.sent.get("language")) in languages.LANGUAGES:
        preferences[cookies.LANGUAGE] = str(language)
    if (theme := request.sent.get("theme")) in THEMES:
        preferences[cookies.THEME] = str(theme)
    return Redirect(href=next_page(request), preferences=preferences)


# The admin's own password.


async def show_password(request: ConsoleRequest) -> Result:
    """The form that sets another password."""
    _ = request._
    current = Field(
        name="current",
        label=_("Present password"),
        input=Input.SECRET,
        required=True,
        autocomplete="current-password",
    )
    name = request.admin.admin.name
    form = Form(
        name="password",
        action=f"{PREFIX}/password",
        fields=[current, *password_fields(request)],
        submit=_("Change the password"),
        effects=[_("Other browsers in which you are signed in are signed out.")],
        for_viewers=True,
        also=Also(command=f"chatgpt-agent admin password {name}"),
    )
    return View(title=_("Password of %(name)s") % {"name": name}, parts=[form], up=Link(_("Overview"), PREFIX))


async def change_password(request: ConsoleRequest) -> Result:
    """Sets another password; this browser stays signed in."""
    access, name = request.services.access, request.admin.admin.name
    new = typed_password(request)
    try:
        session = await access.log_in(name, request.sent.get("current", ""), request.address)
    except InvalidCredentials:
        raise InvalidValue(request._("This is not your present password."), param="current") from None
    await access.log_out(session.secret)
    await request.administration.admins.set_password(name, new)
    session = await access.log_in(name, new, request.address)
    return Redirect(
        href=PREFIX, session=session.secret, notice=Notice(text=request._("Your password has been changed."))
    )


PAGES = [
    Page(path="/password", get=show_password, post=change_password, read_only=True),
    Page(path="/login", get=show_login, post=log_in, public=True),
    Page(path="/logout", post=log_out, read_only=True, public=True),
    Page(path="/preferences", post=set_preferences, public=True),
]
