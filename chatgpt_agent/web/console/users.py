"""Users: the list, with the figures of this month, and adding one."""

from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chatgpt_agent.admin.user_list import ListedUser, UserFilter, UserOrder, UserState
from chatgpt_agent.core.access.settings import NewUser
from chatgpt_agent.core.names import MAX_NAME
from chatgpt_agent.web.admin.schemas import Id, Strict, or_none
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.budgets import NEARLY
from chatgpt_agent.web.console.issued import issued_view
from chatgpt_agent.web.console.parts import (
    Also,
    Bar,
    Button,
    Buttons,
    Column,
    Field,
    Form,
    Input,
    Kind,
    Link,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.routing import PAGE_SIZE, ConsoleRequest, Page, page_url
from chatgpt_agent.web.console.user import user_mark, users_link
from chatgpt_agent.web.console.user_fields import new_user_fields

MAX_COMMENT = 40  # characters in the list
MAX_FILE_ROWS = 100_000  # of a list as CSV


class UserListQuery(Strict, frozen=True, kw_only=True):
    """`search`: a part of the name. `after`: how many users were listed before."""

    search: Annotated[str, Meta(max_length=MAX_NAME)] | UnsetType = UNSET
    state: UserState | UnsetType = UNSET
    order: UserOrder = UserOrder.NAME
    after: Id | UnsetType = UNSET


async def show_users(request: ConsoleRequest) -> Result:
    """The users that match, each with spend and budget of this month."""
    _ = request._
    query = request.filter(UserListQuery)
    matching = UserFilter(search=or_none(query.search), state=or_none(query.state))
    offset, whole = or_none(query.after) or 0, "csv" in request.query
    listed = await request.administration.user_list.list(
        matching, query.order, limit=MAX_FILE_ROWS if whole else PAGE_SIZE, offset=offset
    )
    following = offset + len(listed.users)
    add = Button(_("Add a user"), page_url("new-user"))
    count = request.ngettext("%(n)s user", "%(n)s users", listed.total) % {"n": request.formats.number(listed.total)}
    filtered = matching != UserFilter()
    table = Table(
        name="users",
        title=_("Users that match") if filtered else _("All users"),
        note=_("%(users)s. Spend, budget and requests are those of this month.") % {"users": count}
        if listed.total
        else "",
        columns=_columns(request),
        rows=[_row(request, user, whole=whole) for user in listed.users],
        empty=_("No user matches.") if filtered else _("There are no users yet. Add one, with their own OpenAI key."),
        empty_button=None if filtered else add,
        next=request.with_query(after=str(following)) if following < listed.total else None,
        also=Also(command=command_line("user", "list"), rest=rest_request("GET", "users")),
    )
    buttons = [
        add,
        Button(_("Import users"), page_url("user-import")),
        Button(_("Import OpenAI keys"), page_url("key-import")),
    ]
    return View(title=_("Users"), section="users", parts=[Buttons(buttons=buttons), _filter(request, query), table])


def _filter(request: ConsoleRequest, query: UserListQuery) -> Form:
    _ = request._
    states = {UserState.ACTIVE: _("active"), UserState.DISABLED: _("disabled"), UserState.REMOVED: _("removed")}
    orders = {
        UserOrder.NAME: _("name"),
        UserOrder.COST: _("spend this month"),
        UserOrder.LAST_USED: _("last used"),
        UserOrder.CREATED: _("added"),
    }
    fields = [
        Field(name="search", label=_("Part of the name"), value=or_none(query.search)),
        Field(
            name="state",
            label=_("State"),
            input=Input.CHOICE,
            value=or_none(query.state),
            choices={"": _("all"), **{state.value: label for state, label in states.items()}},
        ),
        Field(
            name="order",
            label=_("Sorted by"),
            input=Input.CHOICE,
            value=query.order,
            choices={order.value: label for order, label in orders.items()},
        ),
    ]
    return Form(name="filter", action=page_url("users"), get=True, fields=fields, submit=_("Show"))


def _columns(request: ConsoleRequest) -> list[Column]:
    _ = request._

    def sort(order: UserOrder) -> str:
        return request.with_query(order=order.value, after=None)

    return [
        Column("name", _("Name"), sort=sort(UserOrder.NAME)),
        Column("state", _("State")),
        Column("cost", _("Spend"), Kind.USD, sort=sort(UserOrder.COST)),
        Column("budget", _("Budget"), Kind.USD),
        Column("requests", _("Requests"), Kind.NUMBER),
        Column("last_used_at", _("Last used"), Kind.TIME, sort=sort(UserOrder.LAST_USED)),
        Column("tokens", _("Tokens"), Kind.NUMBER),
        Column("created_at", _("Added"), Kind.DAY, sort=sort(UserOrder.CREATED)),
        Column("comment", _("Comment")),
    ]


def _row(request: ConsoleRequest, user: ListedUser, *, whole: bool) -> list[Any]:
    comment = user.comment if whole else shorten(user.comment)
    return [
        Link(user.name, page_url("users", user.name)),
        user_mark(request, user),
        user.cost if user.budget is None else _bar(user, user.budget),
        user.budget,
        user.requests,
        user.last_used_at,
        user.tokens,
        user.created_at.astimezone(request.formats.zone),
        comment or None,
    ]


def shorten(text: str) -> str:
    """Returns the beginning of a comment: the whole of it is on the user's page, and in the file."""
    return text if len(text) <= MAX_COMMENT else f"{text[: MAX_COMMENT - 1]}…"


def _bar(user: ListedUser, budget: Decimal) -> Bar:
    """What is spent of the budget. As in budgets, what is uncertain counts as spent for its level."""
    spent = user.cost + user.uncertain_cost
    return Bar(user.cost, budget, "bad" if spent >= budget else "warning" if spent >= NEARLY * budget else "good")


async def show_new_user(request: ConsoleRequest) -> Result:
    """The form that adds a user."""
    _ = request._
    form = Form(
        name="new",
        action=page_url("new-user"),
        fields=new_user_fields(request),
        submit=_("Add the user"),
        cancel=page_url("users"),
        also=Also(command=command_line("user", "add", "NAME"), rest=rest_request("POST", "users")),
    )
    return View(title=_("Add a user"), section="users", up=users_link(request), parts=[form])


async def add_user(request: ConsoleRequest) -> Result:
    """Adds a user, and shows the first token."""
    new = request.read(new_user_fields(request), NewUser)
    issued = await request.administration.users.add(new)
    view = await issued_view(request, issued, request._("%(name)s has been added") % {"name": issued.user})
    if await request.administration.ledger.rows(limit=1):
        return view
    guide = Buttons(buttons=[Button(request._("Go on with the guide"), page_url("setup"))])
    return msgspec.structs.replace(view, parts=[*view.parts[:2], guide, *view.parts[2:]])


PAGES = [
    Page(path="/users", get=show_users),
    Page(path="/new-user", get=show_new_user, post=add_user, admins_only=True),
]
