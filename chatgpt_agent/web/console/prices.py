"""Prices: the list of those in force, and the models that were asked for without one."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from msgspec import UNSET, UnsetType

from chatgpt_agent.admin.model_use import ModelUse, UnpricedModel
from chatgpt_agent.core.access.settings import Name
from chatgpt_agent.core.csv_writer import csv_text
from chatgpt_agent.core.money.price_csv import COLUMNS, csv_cells
from chatgpt_agent.core.money.pricing import Price
from chatgpt_agent.core.money.shutdowns import is_soon
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.price_schemas import ExportQuery
from chatgpt_agent.web.admin.schemas import Strict, TextCursor, or_none
from chatgpt_agent.web.console.also import command_line, rest_request
from chatgpt_agent.web.console.parts import (
    Also,
    Button,
    Buttons,
    Column,
    Download,
    Field,
    Form,
    Kind,
    Link,
    Mark,
    Message,
    Part,
    Result,
    Table,
    View,
)
from chatgpt_agent.web.console.price_cells import MAIN, new_price_url, price_cells, price_columns, price_url, since_cell
from chatgpt_agent.web.console.routing import PAGE_SIZE, ConsoleRequest, Page, page_url

MAX_UNPRICED = 20  # models that are listed


class PriceFilter(Strict, frozen=True, kw_only=True):
    """`search`: a part of the name. `after`: the page before."""

    search: Name | UnsetType = UNSET
    after: TextCursor | UnsetType = UNSET


async def show_prices(request: ConsoleRequest) -> Result:
    """The prices in force by model."""
    _ = request._
    query = request.filter(PriceFilter)
    administration = request.administration
    used = await administration.model_use.used()
    unpriced = await administration.model_use.unpriced(used)
    listed = await administration.prices.in_force()
    search = (or_none(query.search) or "").casefold()
    after = cursors.text_of(query.after) or ""
    matches = [price for price in listed if search in price.model.casefold() and price.model > after]
    page = cursors.page(matches[: PAGE_SIZE + 1], PAGE_SIZE, lambda price: cursors.text_cursor(price.model))
    dates = await administration.prices.shutdown_dates()
    parts: list[Part] = [_buttons(request), *_unpriced(request, unpriced), _filter(request)]
    rows = [price_row(request, price, used.get(price.model), dates) for price in page.data]
    parts.append(_table(request, rows, page.next))
    return View(title=_("Prices"), section="prices", parts=parts, subtitle=_("USD per 1,000,000 tokens"))


def _buttons(request: ConsoleRequest) -> Buttons:
    _ = request._
    return Buttons(
        buttons=[
            Button(_("Set a price"), page_url("new-price")),
            Button(_("Import a list"), page_url("price-import")),
            Button(_("What if"), page_url("price-what-if"), for_viewers=True),
            Button(_("Surcharges"), page_url("surcharges"), for_viewers=True),
            Button(_("Shutdown calendar"), page_url("shutdowns"), for_viewers=True),
            Button(_("Export"), page_url("price-export"), for_viewers=True),
            Button(_("Export with history"), page_url("price-export", history="true"), for_viewers=True),
        ]
    )


def _filter(request: ConsoleRequest) -> Form:
    _ = request._
    search = Field(name="search", label=_("Part of the name"), value=request.query.get("search"))
    return Form(name="filter", action=page_url("prices"), get=True, fields=[search], submit=_("Search"))


def _unpriced(request: ConsoleRequest, unpriced: list[UnpricedModel]) -> list[Part]:
    _ = request._
    if not unpriced:
        return []
    table = Table(
        name="unpriced",
        title=_("Without a price"),
        note=_("Requests for these models are refused until they have a price."),
        columns=[
            Column("model", _("Model")),
            Column("refused", _("Refused requests"), Kind.NUMBER),
            Column("requests", _("Requests, 30 days"), Kind.NUMBER),
            Column("cost", _("Cost, 30 days"), Kind.USD),
            Column("", ""),
        ],
        rows=[_unpriced_row(request, each) for each in unpriced[:MAX_UNPRICED]],
        also=Also(command=command_line("ledger", "status"), rest=rest_request("GET", "ledger", "status")),
    )
    return [table]


def _unpriced_row(request: ConsoleRequest, each: UnpricedModel) -> list[Any]:
    button = Button(request._("Set a price"), new_price_url({"model": each.model}))
    requests, cost = (each.use.requests, each.use.cost) if each.use else (0, None)
    return [each.model, each.refused, requests, cost, button]


def _table(request: ConsoleRequest, rows: list[list[Any]], after: str | None) -> Table:
    _ = request._
    columns = price_columns(request)
    rates, others = columns[: len(MAIN)], columns[len(MAIN) :]
    searched = bool(request.query.get("search"))
    return Table(
        name="prices",
        title=_("In force"),
        note=_("Requests and cost are those of the last 30 days."),
        columns=[
            Column("model", _("Model")),
            *rates,
            Column("requests", _("Requests"), Kind.NUMBER),
            Column("cost", _("Cost"), Kind.USD),
            Column("shutdown", _("Shutdown"), Kind.DAY),
            *others,
            Column("effective_at", _("Since")),
        ],
        rows=rows,
        empty=_("No model with a price matches.") if searched else _("No model has a price yet."),
        empty_button=None if searched else Button(_("Import a list"), page_url("price-import")),
        next=request.with_query(after=after) if after else None,
        also=Also(command=command_line("price", "list"), rest=rest_request("GET", "prices")),
    )


def price_row(request: ConsoleRequest, price: Price, use: ModelUse | None, dates: Mapping[str, date]) -> list[Any]:
    """Returns the cells of a price in force."""
    cells = price_cells(request, price)
    return [
        Link(price.model, price_url(price.model)),
        *cells[: len(MAIN)],
        use.requests if use else 0,
        use.cost if use else None,
        shutdown_cell(dates.get(price.model)),
        *cells[len(MAIN) :],
        since_cell(request, price),
    ]


def shutdown_cell(day: date | None) -> Any:
    """Returns the day of a shutdown, which stands out if it is near or past."""
    today = datetime.now(UTC).date()
    if day is None or not is_soon(day, today):
        return day
    return Mark(day, "bad" if day <= today else "warning")


def shutdown_message(request: ConsoleRequest, model: str, day: date | None) -> list[Part]:
    """Returns a warning about a model that ends soon, or has ended."""
    today = datetime.now(UTC).date()
    if day is None or not is_soon(day, today):
        return []
    texts = {"model": model, "day": request.formats.day(day)}
    if day <= today:
        return [Message(text=request._("OpenAI has shut %(model)s down on %(day)s.") % texts, level="bad")]
    return [Message(text=request._("OpenAI shuts %(model)s down on %(day)s.") % texts, level="warning")]


async def export(request: ConsoleRequest) -> Result:
    """The prices as the CSV that an import reads."""
    query = request.filter(ExportQuery)
    listed = await request.administration.prices.export(history=query.history)
    # In a thread: thousands of prices take long enough to delay requests.
    text = await asyncio.to_thread(csv_text, COLUMNS, map(csv_cells, listed))
    return Download(name="prices.csv", content=text.encode())


PAGES = [Page(path="/prices", get=show_prices), Page(path="/price-export", get=export)]
