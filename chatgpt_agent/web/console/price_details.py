"""One model: its price, every price it had and will have, who uses it, and the end of its price."""

from datetime import UTC, datetime
from typing import Any

from chatgpt_agent.admin.model_use import ModelUsers
from chatgpt_agent.core.errors import NotFound
from chatgpt_agent.core.money.kinds import RATE_NAMES
from chatgpt_agent.core.money.pricing import Price
from chatgpt_agent.core.money.surcharges import Surcharge, SurchargeBook
from chatgpt_agent.core.money.tier_syntax import show_tier
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.kind_names import rate_labels
from chatgpt_agent.web.console.parts import (
    Also,
    Button,
    Column,
    Fact,
    Facts,
    Form,
    Kind,
    Link,
    Mark,
    Message,
    Notice,
    Part,
    Redirect,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.price_cells import effective_rate, new_price_url, price_cells, price_columns, price_url
from chatgpt_agent.web.console.price_fields import SINCE, price_values
from chatgpt_agent.web.console.prices import shutdown_message
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url
from chatgpt_agent.web.console.surcharges import amount_cell, kind_names

MAX_NAMED = 10  # users in a sentence
MAX_UNDO = 2000  # characters, which a cookie holds


async def show_model(request: ConsoleRequest) -> Result:
    """The model's page."""
    _ = request._
    model, administration = request.path["model"], request.administration
    history = await administration.prices.history_of(model)
    current = await administration.prices.current(model)
    upcoming = {price.id for price in await administration.prices.upcoming(model)}
    dates = await administration.prices.shutdown_dates()
    users = await administration.model_use.users([model])
    surcharges = await administration.surcharges.history()
    parts: list[Part] = [
        *shutdown_message(request, model, dates.get(model)),
        *_in_force(request, model, current),
        _history(request, history, current, upcoming),
        _surcharges(request, model, surcharges),
        _users(request, users.get(model)),
    ]
    return View(title=model, section="prices", up=Link(_("Prices"), page_url("prices")), parts=parts)


def _in_force(request: ConsoleRequest, model: str, price: Price | None) -> list[Part]:
    _ = request._
    if price is None:
        button = Button(_("Set a price"), new_price_url({"model": model}))
        return [Message(text=_("This model has no price now, so requests for it are refused."), level="warning",
                        button=button)]  # fmt: skip
    facts = [_rate_fact(request, price, name) for name in RATE_NAMES if _is_shown(price, name)]
    facts += [Fact(_("Tier"), show_tier(tier)) for tier in price.tiers]
    facts.append(Fact(_("Since"), price.effective_at, Kind.TIME))
    return [
        Facts(
            title=_("Price per 1,000,000 tokens"),
            facts=facts,
            buttons=[
                Button(_("Set another price"), new_price_url(price_values(price) | {"model": model})),
                Button(_("What if"), page_url("price-what-if", model=model), for_viewers=True),
                Button(_("Requests"), page_url("requests", model=model), for_viewers=True),
                Button(_("Remove the price"), price_url(model, "remove"), danger=True),
            ],
            also=Also(
                command=command_line("price", "list", "--history"),
                rest=rest_request("GET", "price-history", model=model),
            ),
        )
    ]


def _is_shown(price: Price, name: str) -> bool:
    return name in ("input", "cached_input", "output") or price.rates.get(name) is not None


def _rate_fact(request: ConsoleRequest, price: Price, name: str) -> Fact:
    labels = rate_labels(request)
    rate, own = effective_rate(price.rates, name)
    if own == name or rate is None:
        return Fact(labels[name], rate, Kind.EXACT_USD)
    values = {"rate": request.formats.exact_usd(rate), "name": labels[own]}
    return Fact(labels[name], request._("%(rate)s, as %(name)s") % values)


# The prices of other dates.


def _history(request: ConsoleRequest, history: list[Price], current: Price | None, upcoming: set[int]) -> Table:
    _ = request._
    now = datetime.now(UTC)
    model = request.path["model"]
    return Table(
        name="history",
        title=_("All prices"),
        columns=[
            Column("id", _("Id"), Kind.NUMBER),
            Column("effective_at", _("From"), Kind.TIME),
            Column("state", _("State")),
            Column("", ""),
            *price_columns(request),
            Column("created_at", _("Set"), Kind.TIME),
        ],
        rows=[
            [
                price.id,
                price.effective_at,
                _state(request, price, current, now),
                _cancel_button(request, price) if price.id in upcoming else [],
                *price_cells(request, price),
                price.created_at,
            ]
            for price in sorted(history, key=lambda price: (price.effective_at, price.id), reverse=True)
        ],
        also=Also(
            command=command_line("price", "list", "--history"), rest=rest_request("GET", "price-history", model=model)
        ),
    )


def _state(request: ConsoleRequest, price: Price, current: Price | None, now: datetime) -> Mark:
    _ = request._
    if price.cancelled_at is not None:
        return Mark(_("cancelled"))
    if price.effective_at > now:
        return Mark(_("ends then") if price.is_removed else _("to come"), "warning")
    if current is not None and price.id == current.id:
        return Mark(_("in force"), "good")
    return Mark(_("no price") if price.is_removed else _("former"))


def _cancel_button(request: ConsoleRequest, price: Price) -> Button:
    return Button(request._("Cancel"), price_url(price.model, "cancel"), fields={"id": str(price.id)})


async def cancel(request: ConsoleRequest) -> Result:
    """Cancels a price of a later date, which can be set again."""
    model, text = request.path["model"], request.text("id")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound(request._("This is not the id of a price."))
    price = await request.administration.prices.cancel(int(text))
    message = request._("The price of %(model)s from %(since)s is cancelled.") % {
        "model": price.model,
        "since": request.formats.time(price.effective_at),
    }
    undo = {**price_values(price), SINCE: price.effective_at.isoformat()}
    if price.is_removed or len(str(undo)) > MAX_UNDO:
        return Redirect(href=price_url(model), notice=Notice(text=message))
    notice = Notice(text=message, undo=page_url("new-price", "set"), undo_fields=undo)
    return Redirect(href=price_url(model), notice=notice)


# What else a request costs, and who sends them.


def _surcharges(request: ConsoleRequest, model: str, surcharges: list[Surcharge]) -> Table:
    _ = request._
    host = request.services.api.config.openai_host
    applied = SurchargeBook(surcharges, host).at(model, datetime.now(UTC))
    by_id = {each.id: each for each in surcharges}
    names = kind_names(request)
    rows: list[list[Any]] = [
        [
            names[kind],
            amount_cell(request, kind, amount),
            by_id[applied.ids[kind]].model or _("every model"),
            by_id[applied.ids[kind]].effective_at,
        ]
        for kind, amount in applied.amounts.items()
    ]
    return Table(
        name="surcharges",
        title=_("Surcharges in force"),
        columns=[
            Column("kind", _("Kind")),
            Column("amount", _("USD, or factor")),
            Column("model", _("Set for")),
            Column("effective_at", _("Since"), Kind.TIME),
        ],
        rows=rows,
        empty=_("Requests for this model cost their tokens alone; calls of OpenAI's tools have no fee here."),
        empty_button=Button(_("Surcharges"), page_url("surcharges"), for_viewers=True),
        also=Also(command=command_line("price", "surcharge", "list"), rest=rest_request("GET", "surcharges")),
    )


def _users(request: ConsoleRequest, users: ModelUsers | None) -> Table:
    _ = request._
    rows: list[list[Any]] = [
        [Link(each.user, page_url("users", each.user)), each.requests, each.cost, each.tokens]
        for each in (users.top if users else [])
    ]
    return Table(
        name="users",
        title=_("Users in the last 30 days"),
        columns=[
            Column("user", _("User")),
            Column("requests", _("Requests"), Kind.NUMBER),
            Column("cost", _("Cost"), Kind.USD),
            Column("tokens", _("Tokens used"), Kind.NUMBER),
        ],
        rows=rows,
        note=_("The %(n)s with the highest cost, of %(all)s.") % {"n": len(rows), "all": users.users}
        if users and users.users > len(rows)
        else "",
        empty=_("This model was not used in the last 30 days."),
        also=Also(
            command=command_line("usage", "report", "--by", "user", "--model", request.path["model"]),
            rest=rest_request("GET", "usage", by="user", model=request.path["model"]),
        ),
    )


# The end of a price.


async def show_remove(request: ConsoleRequest) -> Result:
    """The form that ends a model's price, with the users that this stops."""
    _ = request._
    model, administration = request.path["model"], request.administration
    current = await administration.prices.current(model)
    upcoming = [price for price in await administration.prices.upcoming(model) if not price.is_removed]
    if current is None and not upcoming:
        raise NotFound(_("The model %(model)s has no price.") % {"model": model})
    stopped = await administration.model_use.stopped_by(model, limit=MAX_NAMED)
    effects = [_stops(request, stopped), _("What was charged stays in the books.")]
    if upcoming:
        text = request.ngettext("%(n)d price of a later date is cancelled, too.",
                                "%(n)d prices of later dates are cancelled, too.", len(upcoming))  # fmt: skip
        effects.append(text % {"n": len(upcoming)})
    form = Form(
        name="remove",
        action=price_url(model, "remove"),
        fields=[],
        submit=_("Remove the price"),
        danger=True,
        confirm=model,
        effects=effects,
        cancel=price_url(model),
        also=Also(command=command_line("price", "remove", model), rest=rest_request("DELETE", "prices", model)),
    )
    title = _("Remove the price of %(model)s") % {"model": model}
    return View(title=title, section="prices", up=Link(model, price_url(model)), parts=[form])


def _stops(request: ConsoleRequest, stopped: ModelUsers | None) -> str:
    _ = request._
    if stopped is None:
        return _("Requests for this model are refused from now on. It was not used in the last 7 days.")
    names = ", ".join(each.user for each in stopped.top) + ("…" if stopped.users > len(stopped.top) else "")
    return _(
        "Requests for this model are refused from now on. In the last 7 days it had %(requests)s requests of %(users)s "
        "users with %(tokens)s tokens: %(names)s"
    ) % {
        "requests": request.formats.number(stopped.requests),
        "users": request.formats.number(stopped.users),
        "tokens": request.formats.number(stopped.tokens),
        "names": names,
    }


async def remove(request: ConsoleRequest) -> Result:
    """Ends a model's price."""
    model = request.path["model"]
    request.check_confirmed(model)
    await request.administration.prices.remove(model)
    text = request._("The price of %(model)s has been removed; requests for it are refused.") % {"model": model}
    return Redirect(href=price_url(model), notice=Notice(text=text))


PAGES = [
    Page(path="/prices/{model}", get=show_model),
    Page(path="/prices/{model}/cancel", post=cancel),
    Page(path="/prices/{model}/remove", get=show_remove, post=remove, admins_only=True),
]
