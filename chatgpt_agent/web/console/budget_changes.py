"""What can be done with a budget: change, raise for a time, remove."""

from decimal import Decimal

from msgspec import Struct

from chatgpt_agent.admin.budgets import BudgetRow
from chatgpt_agent.core.access.settings import Moment
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.errors import NotFound
from chatgpt_agent.web.admin.budgets import BudgetText
from chatgpt_agent.web.console.forms import VERSION
from chatgpt_agent.web.console.languages import Translator
from chatgpt_agent.web.console.parts import Also, Field, Form, Input, Link, Notice, Redirect, Result, View
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url


class Amount(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another amount."""

    amount: BudgetText


class Raise(Amount, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A higher amount for a time."""

    until: Moment


def periods(request: Translator) -> dict[str, str]:
    """Returns the names of the periods."""
    _ = request._
    return {
        Period.DAY: _("a day"),
        Period.WEEK: _("a week"),
        Period.MONTH: _("a month"),
        Period.TOTAL: _("in total"),
    }


def budget_url(id_: int, *names: str) -> str:
    """Returns the address of a budget, or of an action on it."""
    return page_url("budgets", id_, *names)


async def budget_of(request: ConsoleRequest) -> BudgetRow:
    """Returns the budget that the address names. Raises NotFound."""
    text = request.path["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound(request._("This is not the id of a budget."))
    return await request.administration.budgets.get(int(text))


def _version(budget: BudgetRow) -> Field:
    return Field(name=VERSION, input=Input.HIDDEN, value=budget.version)


def _amount(request: ConsoleRequest, value: Decimal | None) -> Field:
    return Field(name="amount", label=request._("USD"), input=Input.USD, value=value, required=True)


def change_form(request: ConsoleRequest, budget: BudgetRow) -> Form:
    """Returns the form that sets another amount."""
    _ = request._
    owner = f"users/{budget.user}" if budget.token_id is None else f"tokens/{budget.token_id}"
    option = f"--user {budget.user}" if budget.token_id is None else f"--token {budget.token_id}"
    return Form(
        name="change",
        action=budget_url(budget.id, "change"),
        title=_("Change the amount"),
        folded=True,
        fields=[_amount(request, budget.amount), _version(budget)],
        submit=_("Change"),
        effects=[_("This ends the raise.")] if budget.raised_until is not None else [],
        also=Also(
            command=f"chatgpt-agent budget set 20 {option} --period {budget.period}",
            rest=f"PUT /api/v1/{owner}/budgets/{budget.period}",
        ),
    )


def raise_form(request: ConsoleRequest, budget: BudgetRow) -> Form:
    """Returns the form that raises a budget for a time."""
    _ = request._
    until = Field(
        name="until",
        label=_("Until"),
        input=Input.TIME,
        required=True,
        value=budget.raised_until,
        hint=_("In %(zone)s. Then the budget is %(amount)s again, by itself.")
        % {"zone": request.zone, "amount": request.formats.usd(budget.amount)},
    )
    return Form(
        name="raise",
        action=budget_url(budget.id, "raise"),
        title=_("Raise it for a time"),
        folded=True,
        fields=[_amount(request, budget.raised_amount), until, _version(budget)],
        submit=_("Raise"),
        also=Also(
            command=f"chatgpt-agent budget raise {budget.id} 50 --until 2026-12-24",
            rest=f"PUT /api/v1/budgets/{budget.id}/raise",
        ),
    )


def _page(request: ConsoleRequest, budget: BudgetRow, form: Form) -> View:
    up = Link(request._("Budget of %(owner)s") % {"owner": budget.user}, budget_url(budget.id))
    return View(title=form.title, section="budgets", up=up, parts=[form])


async def show_change(request: ConsoleRequest) -> Result:
    """The form alone, with its error."""
    budget = await budget_of(request)
    return _page(request, budget, change_form(request, budget))


async def change(request: ConsoleRequest) -> Result:
    """Sets another amount."""
    budget = await budget_of(request)
    new = request.read([_amount(request, None)], Amount)
    changed = await request.administration.budgets.set(
        user=budget.user if budget.token_id is None else None,
        token_id=budget.token_id,
        period=budget.period,
        amount=Decimal(new.amount),
        version=request.version,
    )
    text = request._("The budget is %(amount)s now.") % {"amount": request.formats.usd(changed.amount)}
    undo = {"amount": f"{budget.amount:f}", VERSION: str(changed.version)}
    notice = Notice(text=text, undo=budget_url(budget.id, "change"), undo_fields=undo)
    return Redirect(href=budget_url(budget.id), notice=notice)


async def show_raise(request: ConsoleRequest) -> Result:
    """The form alone, with its error."""
    budget = await budget_of(request)
    return _page(request, budget, raise_form(request, budget))


async def raise_until(request: ConsoleRequest) -> Result:
    """Raises the budget for a time."""
    budget = await budget_of(request)
    form = raise_form(request, budget)
    new = request.read([field for field in form.fields if field.name != VERSION], Raise)
    raised = await request.administration.budgets.raise_until(
        budget.id, amount=Decimal(new.amount), until=new.until, version=request.version
    )
    assert raised.raised_amount is not None
    assert raised.raised_until is not None
    text = request._("The budget is %(amount)s until %(until)s.") % {
        "amount": request.formats.usd(raised.raised_amount),
        "until": request.formats.time(raised.raised_until),
    }
    undo = {VERSION: str(raised.version)}
    notice = Notice(text=text, undo=budget_url(budget.id, "end-raise"), undo_fields=undo)
    return Redirect(href=budget_url(budget.id), notice=notice)


async def end_raise(request: ConsoleRequest) -> Result:
    """Ends a raise."""
    budget = await budget_of(request)
    ended = await request.administration.budgets.end_raise(budget.id, version=request.version)
    text = request._("The budget is %(amount)s again.") % {"amount": request.formats.usd(ended.amount)}
    return Redirect(href=budget_url(budget.id), notice=Notice(text=text))


async def show_remove(request: ConsoleRequest) -> Result:
    """The form that removes a budget."""
    _ = request._
    budget = await budget_of(request)
    others = await request.administration.budgets.list(user=budget.user)
    left = len(others) - 1
    effects = [
        _("Nothing limits the spending of %(user)s any more.") % {"user": budget.user}
        if left == 0
        else request.ngettext("%(n)d other budget stays in force.", "%(n)d other budgets stay in force.", left)
        % {"n": left},
        _("What was spent of it stays in the books: %(amount)s") % {"amount": request.formats.usd(budget.spent)},
    ]
    form = Form(
        name="remove",
        action=budget_url(budget.id, "remove"),
        title=_("Remove the budget"),
        fields=[_version(budget)],
        submit=_("Remove"),
        danger=True,
        confirm=budget.user,
        effects=effects,
        cancel=budget_url(budget.id),
        also=Also(command=f"chatgpt-agent budget remove {budget.id}", rest=f"DELETE /api/v1/budgets/{budget.id}"),
    )
    return _page(request, budget, form)


async def remove(request: ConsoleRequest) -> Result:
    """Removes a budget."""
    budget = await budget_of(request)
    request.check_confirmed(budget.user)
    await request.administration.budgets.remove(budget.id, version=request.version)
    text = request._("The budget of %(user)s has been removed.") % {"user": budget.user}
    return Redirect(href=page_url("budgets"), notice=Notice(text=text))


PAGES = [
    Page(path="/budgets/{id}/change", get=show_change, post=change, admins_only=True),
    Page(path="/budgets/{id}/raise", get=show_raise, post=raise_until, admins_only=True),
    Page(path="/budgets/{id}/end-raise", post=end_raise),
    Page(path="/budgets/{id}/remove", get=show_remove, post=remove, admins_only=True),
]
