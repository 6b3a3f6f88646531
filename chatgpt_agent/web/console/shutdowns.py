"""The shutdown calendar: which models OpenAI ends, when, and who uses them."""

from datetime import UTC, date, datetime
from typing import Any

from chatgpt_agent.admin.model_use import ModelUsers
from chatgpt_agent.web.admin.schemas import Strict
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.parts import Also, Button, Column, Field, Form, Input, Kind, Link, Result, Table, View
from chatgpt_agent.web.console.price_cells import price_url
from chatgpt_agent.web.console.prices import shutdown_cell
from chatgpt_agent.web.console.routing import ConsoleRequest, Page, page_url

MAX_NAMED = 5  # users in a cell


class CalendarFilter(Strict, frozen=True, kw_only=True):
    """`all`: also models that have no price here and are not used."""

    all: bool = False


async def show_calendar(request: ConsoleRequest) -> Result:
    """The models that end, the soonest first."""
    _ = request._
    show_all = request.filter(CalendarFilter).all
    administration = request.administration
    dates = await administration.prices.shutdown_dates()
    priced = {price.model for price in await administration.prices.in_force()}
    users = await administration.model_use.users(list(dates), limit=MAX_NAMED)
    models = [model for model in dates if show_all or model in priced or model in users]
    models.sort(key=lambda model: (dates[model], model))
    table = Table(
        name="shutdowns",
        title=_("Models that end"),
        note=_("As the list of prices has it that was imported last. Use is that of the last 30 days."),
        columns=[
            Column("shutdown", _("Shutdown"), Kind.DAY),
            Column("days", _("Days left"), Kind.NUMBER),
            Column("model", _("Model")),
            Column("priced", _("Has a price"), Kind.FLAG),
            Column("users", _("Users"), Kind.NUMBER),
            Column("names", _("Names")),
            Column("requests", _("Requests"), Kind.NUMBER),
            Column("cost", _("Cost"), Kind.USD),
        ],
        rows=[_row(request, model, dates[model], model in priced, users.get(model)) for model in models],
        empty=_("No model in use ends on a known day."),
        empty_button=Button(_("Import a list"), page_url("price-import")),
        also=Also(command=command_line("price", "list", "--json"), rest=rest_request("GET", "prices")),
    )
    flag = Field(
        name="all", label=_("Also models that are not in use"), input=Input.FLAG, value="true" if show_all else ""
    )
    form = Form(name="filter", action=page_url("shutdowns"), get=True, fields=[flag], submit=_("Show"))
    return View(
        title=_("Shutdown calendar"),
        section="prices",
        up=Link(_("Prices"), page_url("prices")),
        parts=[form, table],
    )


def _row(request: ConsoleRequest, model: str, day: date, priced: bool, users: ModelUsers | None) -> list[Any]:
    names: list[Any] = [Link(each.user, page_url("users", each.user)) for each in (users.top if users else [])]
    names += ["…"] if users and users.users > len(users.top) else []
    return [
        shutdown_cell(day),
        (day - datetime.now(UTC).date()).days,
        Link(model, price_url(model)) if priced else model,
        priced,
        users.users if users else 0,
        names or None,
        users.requests if users else 0,
        users.cost if users else None,
    ]


PAGES = [Page(path="/shutdowns", get=show_calendar)]
