"""Setting a price: it is typed, then shown with what it changes and what past requests would have cost, then set."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from chatgpt_agent.admin.model_use import MONTH
from chatgpt_agent.admin.price_what_if import WhatIfQuery
from chatgpt_agent.core.money.kinds import RATE_NAMES
from chatgpt_agent.core.money.pricing import NewPrice, Price
from chatgpt_agent.core.money.tier_syntax import kind_name, show_tier
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.parts import (
    Also,
    Column,
    Fact,
    Facts,
    Field,
    Form,
    Input,
    Kind,
    Link,
    Notice,
    Part,
    Redirect,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.price_cells import (
    changed_rates,
    changed_tiers,
    new_price_url,
    price_cells,
    price_columns,
    price_url,
)
from chatgpt_agent.web.console.price_fields import (
    SINCE,
    TIERS,
    price_values,
    rate_fields,
    subject_fields,
    typed_price,
)
from chatgpt_agent.web.console.price_preview import preview
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url

NAMES = ("model", SINCE, *RATE_NAMES, TIERS)


async def show_new_price(request: ConsoleRequest) -> Result:
    """The form, with the values in the address."""
    _ = request._
    administration = request.administration
    unpriced = await administration.model_use.unpriced(await administration.model_use.used())
    models = [*(each.model for each in unpriced), *(price.model for price in await administration.prices.in_force())]
    form = Form(
        name="price",
        action=page_url("new-price"),
        fields=[
            *subject_fields(request, request.query, models),
            *rate_fields(request, request.query, required=True),
        ],
        more=_("Other kinds of tokens, and tiers"),
        submit=_("Show what it changes"),
        cancel=page_url("prices"),
        also=Also(command="chatgpt-agent price set MODEL --input 2.50 --output 10", rest="POST /api/v1/prices"),
    )
    return _view(request, [form])


def _view(request: ConsoleRequest, parts: list[Part]) -> View:
    _ = request._
    up = Link(_("Prices"), page_url("prices"))
    return View(title=_("Set a price"), section="prices", up=up, parts=parts)


async def preview_price(request: ConsoleRequest) -> Result:
    """What the price would change. Nothing is set yet."""
    _ = request._
    new = typed_price(request)
    use_case = request.administration.prices
    use_case.check(new)
    current = await use_case.current(new.model)
    since = await request.administration.model_use.since(MONTH)
    query = WhatIfQuery(by=["model"], since=since, model=new.model, price=new)
    parts = [
        _facts(request, new, current),
        _changes(request, new, current),
        await preview(
            request,
            query,
            title=_("The requests of the last 30 days for this model"),
            also=_what_if_command(request, new, str(since)),
        ),
        await _confirm(request, new),
    ]
    return _view(request, parts)


def _facts(request: ConsoleRequest, new: NewPrice, current: Price | None) -> Facts:
    _ = request._
    facts = [Fact(_("Model"), new.model)]
    if new.effective_at is None:
        facts.append(Fact(_("From"), _("now")))
    else:
        facts.append(Fact(_("From"), new.effective_at, Kind.TIME))
    if current is None:
        facts.append(Fact(_("Until now"), _("no price: requests are refused")))
    elif current.model != new.model:
        facts.append(Fact(_("Until now"), _("the price of %(model)s") % {"model": current.model}))
    return Facts(title=_("The price"), facts=facts)


def _changes(request: ConsoleRequest, new: NewPrice, current: Price | None) -> Table:
    _ = request._
    if current is None:
        return Table(
            name="rates",
            title=_("Rates"),
            columns=price_columns(request),
            rows=[price_cells(request, new)],
        )
    rows: list[list[Any]] = [list(change) for change in changed_rates(request, current, new)]
    rows += [
        [_("Tier: %(tier)s") % {"tier": tier}, None, None, None] for tier in changed_tiers(current.tiers, new.tiers)
    ]
    return Table(
        name="changes",
        title=_("What changes"),
        columns=[
            Column("rate", _("Rate")),
            Column("before", _("Now"), Kind.EXACT_USD),
            Column("after", _("Then"), Kind.EXACT_USD),
            Column("change", _("Change, %"), Kind.CHANGE),
        ],
        rows=rows,
        empty=_("Nothing: this is the price in force."),
    )


async def _confirm(request: ConsoleRequest, new: NewPrice) -> Form:
    _ = request._
    typed = {name: text for name in NAMES if (text := request.sent.get(name, "").strip())}
    effects = [_("Recorded requests keep the cost that they were charged.")]
    now = datetime.now(UTC)
    for other in await request.administration.prices.upcoming(new.model):
        if other.effective_at > (new.effective_at or now):
            values = {"since": request.formats.time(other.effective_at)}
            effects.append(
                _("From %(since)s on, the model has no price, as it was set before.") % values
                if other.is_removed
                else _("From %(since)s on, another price takes its place, as it was set before.") % values
            )
            break
    return Form(
        name="price",
        action=page_url("new-price", "set"),
        fields=[Field(name=name, input=Input.HIDDEN, value=text) for name, text in typed.items()],
        submit=_("Set it"),
        effects=effects,
        cancel=new_price_url(typed),
        also=Also(command=command_line(*_command(new)), rest=rest_request("POST", "prices")),
    )


def _command(new: NewPrice) -> list[str]:
    since = ["--from", new.effective_at.isoformat()] if new.effective_at else []
    return ["price", "set", new.model, *_options(new), *since]


def _options(new: NewPrice) -> list[str]:
    values: Mapping[str, str] = price_values(new)
    options = [text for name in RATE_NAMES if name in values for text in (f"--{kind_name(name)}", values[name])]
    return [*options, *(text for tier in new.tiers for text in ("--tier", show_tier(tier)))]


def _what_if_command(request: ConsoleRequest, new: NewPrice, since: str) -> Also:
    command = command_line("price", "what-if", "--model", new.model, "--since", since, *_options(new))
    return Also(command=command, rest=rest_request("POST", "price-what-if"))


async def set_price(request: ConsoleRequest) -> Result:
    """Sets the price."""
    _ = request._
    new = typed_price(request)
    price = await request.administration.prices.set(new.model, new.rates, new.tiers, since=new.effective_at)
    text = _("The price of %(model)s is set from %(since)s on.") % {
        "model": price.model,
        "since": request.formats.time(price.effective_at),
    }
    return Redirect(href=price_url(price.model), notice=Notice(text=text))


PAGES = [
    Page(path="/new-price", get=show_new_price, post=preview_price, admins_only=True),
    Page(path="/new-price/set", get=show_new_price, post=set_price, admins_only=True),
]
