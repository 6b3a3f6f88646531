"""A token that has just been issued: shown once, with what its user needs to begin."""

from chatgpt_agent.admin.users import IssuedToken
from chatgpt_agent.web.console.parts import Code, Link, Message, View
from chatgpt_agent.web.console.recipes import recipes
from chatgpt_agent.web.console.routing import ConsoleRequest, page_url


def issued_view(request: ConsoleRequest, issued: IssuedToken, title: str, note: str = "") -> View:
    """Returns the page that shows a new token. It can be printed as a sheet for the user. `note`: for the admin."""
    _ = request._
    return View(
        title=title,
        section="users",
        up=Link(issued.user, page_url("users", issued.user)),
        parts=[
            Message(
                text=_("Copy the token now, or print this page for the user: it cannot be shown again."),
                items=[note] if note else [],
                level="warning",
            ),
            Code(title=_("Token of %(name)s") % {"name": issued.user}, text=issued.token, secret=True),
            *recipes(request, issued.token),
        ],
    )
