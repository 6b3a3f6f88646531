"""What past requests would have cost: at given rates, as another model, or at the prices of now."""

from datetime import date

from msgspec import UNSET, UnsetType

from chatgpt_agent.admin.groups import parse_groups
from chatgpt_agent.admin.model_use import MONTH
from chatgpt_agent.admin.price_what_if import GROUPS, WhatIfQuery
from chatgpt_agent.core.access.settings import Name
from chatgpt_agent.core.errors import AgentError, InvalidRequest, InvalidValue, NotFound
from chatgpt_agent.core.money.kinds import RateTable
from chatgpt_agent.core.money.pricing import NewPrice
from chatgpt_agent.web.admin.price_schemas import LastDay
from chatgpt_agent.web.admin.schemas import Strict, or_none
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.forms import with_error
from chatgpt_agent.web.console.parts import Also, Field, Form, Input, Link, Message, Part, Result, View
from chatgpt_agent.web.console.price_fields import has_rates, rate_fields, typed_rates
from chatgpt_agent.web.console.price_preview import figures, too_long, what_if, what_if_table
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url

BY = ("model", "user", "model,user", "day", "month")


class WhatIfFilter(Strict, RateTable[str], frozen=True, kw_only=True):
    """What the address asks for. Rates are read as in the form that sets a price."""

    first: date | UnsetType = UNSET
    last: LastDay | UnsetType = UNSET
    model: Name | UnsetType = UNSET
    as_model: Name | UnsetType = UNSET
    by: str = "model"
    tiers: str = ""


async def show_what_if(request: ConsoleRequest) -> Result:
    """The form, and the report if it was sent."""
    form = await _form(request)
    if "first" not in request.query:
        return _view(request, [form])
    try:
        return _view(request, [form, *await _report(request)])
    except (InvalidRequest, InvalidValue, NotFound) as error:
        return _view(request, [with_error(form, error, request.message(error.message))], error)


def _view(request: ConsoleRequest, parts: list[Part], error: AgentError | None = None) -> View:
    _ = request._
    return View(
        title=_("What if"),
        subtitle=_("What past requests would have cost at other prices. Nothing is changed."),
        section="prices",
        up=Link(_("Prices"), page_url("prices")),
        parts=parts,
        status=200 if error is None else error.status,
    )


async def _form(request: ConsoleRequest) -> Form:
    _ = request._
    administration = request.administration
    value = request.query.get
    priced = [price.model for price in await administration.prices.in_force()]
    since = await administration.model_use.since(MONTH)
    names = {"model": _("model"), "user": _("user"), "day": _("day"), "month": _("month")}
    fields = [
        Field(
            name="model",
            label=_("Requests for"),
            value=value("model"),
            suggestions=priced,
            hint=_("Empty: every model."),
        ),
        Field(name="first", label=_("First day"), input=Input.DAY, value=value("first") or str(since)),
        Field(name="last", label=_("Last day"), input=Input.DAY, value=value("last")),
        Field(
            name="as_model",
            label=_("As this model"),
            value=value("as_model"),
            suggestions=priced,
            hint=_("Empty: the prices of now."),
        ),
        Field(
            name="by",
            label=_("Group by"),
            input=Input.CHOICE,
            value=value("by"),
            choices={each: ", ".join(names[name] for name in each.split(",")) for each in BY},
        ),
        *rate_fields(request, request.query, required=False, always=False),
    ]
    return Form(
        name="filter",
        action=page_url("price-what-if"),
        get=True,
        fields=fields,
        more=_("At these rates, in USD per 1,000,000 tokens"),
        submit=_("Compute"),
    )


async def _report(request: ConsoleRequest) -> list[Part]:
    _ = request._
    values = request.filter(WhatIfFilter)
    since, model, as_model = or_none(values.first), or_none(values.model), or_none(values.as_model)
    if since is None:
        raise InvalidRequest(_("Choose the first day."), param="first")
    price = NewPrice(model or "", *typed_rates(request.query)) if has_rates(request.query) else None
    query = WhatIfQuery(
        by=parse_groups(values.by, GROUPS),
        since=since,
        until=or_none(values.last),
        model=model,
        price=price,
        as_model=as_model,
    )
    report = await what_if(request, query)
    if report is None:
        return [too_long(request, _("What if"))]
    options = ["--model", model] if model else ["--all"]
    also = Also(
        command=command_line(
            "price", "what-if", *options, "--since", str(since), *(["--as-model", as_model] if as_model else []),
            "--by", values.by,
        ),
        rest=rest_request("POST", "price-what-if"),
    )  # fmt: skip
    parts: list[Part] = [figures(request, report.total, title=_("All of them")), what_if_table(request, report, also)]
    if as_model is not None and report.price_model != as_model:
        names = {"model": as_model, "other": report.price_model}
        text = _("%(model)s has no price of its own: this is the price of %(other)s.") % names
        parts.insert(0, Message(text=text))
    return parts


PAGES = [Page(path="/price-what-if", get=show_what_if)]
