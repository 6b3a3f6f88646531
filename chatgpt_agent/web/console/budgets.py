"""Budgets, all on one page: what may be spent, what is spent, what is left, and how long it lasts."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from chatgpt_agent.admin.budgets import BudgetRow
from chatgpt_agent.core.access.settings import Name
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.errors import InvalidRequest
from chatgpt_agent.web.admin.budgets import BudgetText
from chatgpt_agent.web.admin.schemas import Id, Strict, or_none
from chatgpt_agent.web.console.budget_changes import budget_of, budget_url, change_form, periods, raise_form
from chatgpt_agent.web.console.parts import (
    Also,
    Bar,
    Button,
    Buttons,
    Column,
    Fact,
    Facts,
    Field,
    Form,
    Input,
    Kind,
    Link,
    Mark,
    Notice,
    Part,
    Redirect,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.routing import PAGE_SIZE, ConsoleRequest, Page, page_url

NEARLY = Decimal("0.8")  # of a budget: it is nearly spent
SOON_DAYS = 6  # in which the name of a day says more than its date


class BudgetFilter(Strict, frozen=True, kw_only=True):
    """`level`: those that are nearly spent. `after`: budgets that were listed before."""

    user: Name | UnsetType = UNSET
    token: Id | UnsetType = UNSET
    level: str = ""
    after: Id | UnsetType = UNSET


class NewBudget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of a new budget: of a user, or of a token."""

    amount: BudgetText
    period: Period
    user: Name | UnsetType = UNSET
    token: Id | UnsetType = UNSET


def in_force(budget: BudgetRow) -> Decimal:
    """Returns the USD that may be spent now."""
    return budget.amount if budget.raised_amount is None else budget.raised_amount


def level(budget: BudgetRow) -> str:
    """Returns how much of a budget is spent, as the level of a bar."""
    return spent_level(budget.spent, in_force(budget), budget.left)


def spent_level(spent: Decimal, amount: Decimal, left: Decimal) -> str:
    """Returns how much of an amount is spent, as the level of a bar. USD."""
    if left <= 0:
        return "bad"
    return "warning" if spent >= NEARLY * amount else "good"


async def show_budgets(request: ConsoleRequest) -> Result:
    """The list, and the form of a new budget."""
    _ = request._
    query = request.filter(BudgetFilter)
    rows = await request.administration.budgets.list(user=or_none(query.user), token_id=or_none(query.token))
    rows = sorted(rows, key=lambda row: (row.user, row.token_id or 0, row.period))
    if query.level:
        rows = [row for row in rows if level(row) != "good"]
    offset, size = or_none(query.after) or 0, len(rows) if "csv" in request.query else PAGE_SIZE
    more = len(rows) > offset + size
    table = Table(
        name="budgets",
        title=_("Budgets of users and tokens"),
        columns=_columns(request),
        rows=[_cells(request, row) for row in rows[offset : offset + size]],
        empty=_("No budget matches.") if request.query else _("There are no budgets: nothing limits the spending."),
        next=request.with_query(after=str(offset + size)) if more else None,
        also=Also(command="chatgpt-agent budget list", rest="GET /api/v1/budgets"),
    )
    return View(title=_("Budgets"), section="budgets", parts=[_filter(request), table, _new_form(request)])


def _columns(request: ConsoleRequest) -> list[Column]:
    _ = request._
    return [
        Column("user", _("User")),
        Column("token_id", _("Token")),
        Column("period", _("Period")),
        Column("amount", _("Budget"), Kind.USD),
        Column("spent", _("Spent"), Kind.USD),
        Column("reserved", _("Reserved"), Kind.USD),
        Column("left", _("Left"), Kind.USD),
        Column("resets_at", _("Resets at"), Kind.TIME),
        Column("pace", _("At this week's pace")),
        Column("state", _("State")),
        Column("", ""),
    ]


def _cells(request: ConsoleRequest, row: BudgetRow) -> list[Any]:
    _ = request._
    return [
        Link(row.user, page_url("users", row.user)),
        None if row.token_id is None else row.token_id,
        periods(request)[row.period],
        in_force(row),
        Bar(row.spent, in_force(row), level(row)),
        row.reserved,
        row.left,
        row.resets_at,
        pace(request, row),
        _state(request, row),
        [Button(_("Open"), budget_url(row.id), for_viewers=True)],
    ]


def pace(request: ConsoleRequest, row: BudgetRow) -> str:
    """Returns how long a budget lasts if as much is spent as in the last seven days."""
    _ = request._
    if row.left <= 0:
        return _("empty")
    if row.empty_at is None:
        return _("lasts") if row.resets_at is not None else _("not used this week")
    near = (row.empty_at - datetime.now(UTC)).days < SOON_DAYS
    formats = request.formats
    if near:
        return _("empty on %(weekday)s") % {"weekday": formats.weekday(row.empty_at)}
    return _("empty on %(day)s") % {"day": formats.day(row.empty_at.astimezone(formats.zone).date())}


def _state(request: ConsoleRequest, row: BudgetRow) -> Mark:
    _ = request._
    if row.left <= 0:
        return Mark(_("spent"), "bad")
    if row.raised_until is not None:
        return Mark(_("raised"), "warning")
    return Mark(_("nearly spent"), "warning") if level(row) == "warning" else Mark(_("open"), "good")


def _filter(request: ConsoleRequest) -> Form:
    _ = request._
    value = request.query.get
    fields = [
        Field(name="user", label=_("User"), value=value("user")),
        Field(name="token", label=_("Token id"), input=Input.NUMBER, value=value("token")),
        Field(
            name="level",
            label=_("Spent"),
            input=Input.CHOICE,
            value=value("level"),
            choices={"": _("all"), "nearly": _("80 % or more")},
        ),
    ]
    return Form(name="filter", action=page_url("budgets"), get=True, fields=fields, submit=_("Filter"))


def _new_fields(request: ConsoleRequest) -> list[Field]:
    _ = request._
    return [
        Field(name="user", label=_("User"), value=request.query.get("user")),
        Field(
            name="token",
            label=_("Token id"),
            input=Input.NUMBER,
            hint=_("Instead of the user: the budget of one token alone."),
        ),
        Field(name="period", label=_("Period"), input=Input.CHOICE, value="month", choices=periods(request)),
        Field(name="amount", label=_("USD"), input=Input.USD, required=True),
    ]


def _new_form(request: ConsoleRequest) -> Form:
    _ = request._
    return Form(
        name="new",
        action=page_url("budgets"),
        title=_("Set a budget"),
        folded=True,
        fields=_new_fields(request),
        submit=_("Set the budget"),
        effects=[_("A budget that exists for this period gets the new amount.")],
        also=Also(
            command="chatgpt-agent budget set 20 --user NAME --period month",
            rest="PUT /api/v1/users/NAME/budgets/month",
        ),
    )


async def set_budget(request: ConsoleRequest) -> Result:
    """Sets the budget of a user or of a token."""
    _ = request._
    filled = [field for field in _new_fields(request) if field.required or request.sent.get(field.name, "").strip()]
    new = request.read(filled, NewBudget)
    user, token = or_none(new.user), or_none(new.token)
    if (user is None) is (token is None):
        raise InvalidRequest(_("Give a user, or the id of a token."), param="user")
    budget = await request.administration.budgets.set(
        user=user, token_id=token, period=new.period, amount=Decimal(new.amount)
    )
    text = _("%(user)s may spend %(amount)s in this period: %(period)s.") % {
        "user": budget.user,
        "amount": request.formats.usd(budget.amount),
        "period": periods(request)[budget.period],
    }
    return Redirect(href=page_url("budgets"), notice=Notice(text=text))


async def show_budget(request: ConsoleRequest) -> Result:
    """One budget, with everything that can be done."""
    _ = request._
    budget = await budget_of(request)
    owner = (
        budget.user
        if budget.token_id is None
        else _("token %(id)d of %(user)s")
        % {
            "id": budget.token_id,
            "user": budget.user,
        }
    )
    facts = [
        Fact(_("User"), Link(budget.user, page_url("users", budget.user))),
        Fact(_("Token"), budget.token_id),
        Fact(_("Period"), periods(request)[budget.period]),
        Fact(_("Budget"), budget.amount, Kind.USD),
        Fact(_("Raised to"), budget.raised_amount, Kind.USD),
        Fact(_("Raised until"), budget.raised_until, Kind.TIME),
        Fact(_("Spent"), Bar(budget.spent, in_force(budget), level(budget)), Kind.USD),
        Fact(_("Reserved for requests in progress"), budget.reserved, Kind.USD),
        Fact(_("Left"), budget.left, Kind.USD),
        Fact(_("Spent in the last 7 days"), budget.week_spent, Kind.USD),
        Fact(_("At this week's pace"), pace(request, budget)),
        Fact(_("Resets at"), budget.resets_at, Kind.TIME),
    ]
    parts: list[Part] = [
        Facts(
            facts=[fact for fact in facts if fact.value is not None],
            also=Also(
                command=f"chatgpt-agent budget list --user {budget.user}", rest=f"GET /api/v1/budgets/{budget.id}"
            ),
        ),
        change_form(request, budget),
        raise_form(request, budget),
        Buttons(buttons=_buttons(request, budget)),
    ]
    title = _("Budget of %(owner)s") % {"owner": owner}
    return View(title=title, section="budgets", up=Link(_("Budgets"), page_url("budgets")), parts=parts)


def _buttons(request: ConsoleRequest, budget: BudgetRow) -> list[Button]:
    _ = request._
    end = Button(_("End the raise"), budget_url(budget.id, "end-raise"), fields={"version": str(budget.version)})
    remove = Button(_("Remove the budget"), budget_url(budget.id, "remove"), danger=True)
    return [*([end] if budget.raised_until is not None else []), remove]


PAGES = [
    Page(path="/budgets", get=show_budgets, post=set_budget),
    Page(path="/budgets/{id}", get=show_budget),
]
