"""Users: the list, and adding one."""

from typing import Any

from chatgpt_agent.admin.users import UserRow
from chatgpt_agent.core.access.settings import NewUser
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.schemas import TextPage
from chatgpt_agent.web.console.issued import issued_view
from chatgpt_agent.web.console.parts import (
    Also,
    Button,
    Buttons,
    Column,
    Form,
    Kind,
    Link,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.routing import PAGE_SIZE, ConsoleRequest, Page, page_url
from chatgpt_agent.web.console.user import user_mark
from chatgpt_agent.web.console.user_fields import new_user_fields


async def show_users(request: ConsoleRequest) -> Result:
    """The users by name."""
    _ = request._
    query = request.filter(TextPage)
    rows = await request.administration.users.list(after=cursors.text_of(query.after), limit=PAGE_SIZE + 1)
    page = cursors.page(rows, PAGE_SIZE, lambda user: cursors.text_cursor(user.name))
    add = Button(_("Add a user"), page_url("new-user"))
    table = Table(
        name="users",
        title=_("All users"),
        columns=[
            Column("name", _("Name")),
            Column("state", _("State")),
            Column("tokens", _("Tokens"), Kind.NUMBER),
            Column("created_at", _("Added"), Kind.TIME),
            Column("comment", _("Comment")),
        ],
        rows=[_row(request, user) for user in page.data],
        empty=_("There are no users yet."),
        empty_button=add,
        next=request.with_query(after=page.next) if page.next else None,
        also=Also(command="chatgpt-agent user list", rest="GET /api/v1/users"),
    )
    return View(title=_("Users"), section="users", parts=[Buttons(buttons=[add]), table])


def _row(request: ConsoleRequest, user: UserRow) -> list[Any]:
    return [
        Link(user.name, page_url("users", user.name)),
        user_mark(request, user),
        user.tokens,
        user.created_at,
        user.comment,
    ]


async def show_new_user(request: ConsoleRequest) -> Result:
    """The form that adds a user."""
    _ = request._
    form = Form(
        name="new",
        action=page_url("new-user"),
        fields=new_user_fields(request),
        submit=_("Add the user"),
        cancel=page_url("users"),
        also=Also(command="chatgpt-agent user add NAME", rest="POST /api/v1/users"),
    )
    return View(title=_("Add a user"), section="users", up=Link(_("Users"), page_url("users")), parts=[form])


async def add_user(request: ConsoleRequest) -> Result:
    """Adds a user, and shows the first token."""
    new = request.read(new_user_fields(request), NewUser)
    issued = await request.administration.users.add(new)
    return issued_view(request, issued, request._("%(name)s has been added") % {"name": issued.user})


PAGES = [
    Page(path="/users", get=show_users),
    Page(path="/new-user", get=show_new_user, post=add_user, admins_only=True),
]
