"""Prices over REST. A price is never changed, only superseded: two administrators who set one lose nothing."""

import asyncio

import msgspec

from chatgpt_agent.admin import price_import
from chatgpt_agent.admin.price_import_result import PriceImportResult, import_result
from chatgpt_agent.admin.price_what_if import WhatIfQuery, WhatIfReport
from chatgpt_agent.admin.prices import ListedPrice, PriceRecord, listed_price, price_record
from chatgpt_agent.core.csv_writer import csv_text
from chatgpt_agent.core.money.price_csv import COLUMNS, csv_cells
from chatgpt_agent.core.money.pricing import NewPrice
from chatgpt_agent.core.plain_json import encode
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.price_schemas import (
    ByModel,
    ExportQuery,
    HistoryQuery,
    PriceBody,
    PriceListQuery,
    WhatIfBody,
    rates,
    tiers,
)
from chatgpt_agent.web.admin.routing import CSV_FILE, MAX_FILE, AdminRequest, Route
from chatgpt_agent.web.admin.schemas import Empty, IdPath, TextPage, or_none

MAX_ROWS = 10_000  # of a what-if: more would take the event loop too long to write


async def list_prices(request: AdminRequest[Empty, TextPage, None]) -> Page[ListedPrice]:
    limit, after = request.query.limit, cursors.text_of(request.query.after) or ""
    use_case = request.administration.prices
    prices = [price for price in await use_case.in_force() if price.model > after][: limit + 1]
    dates = await use_case.shutdown_dates()
    return cursors.page(
        [listed_price(price, dates) for price in prices], limit, lambda price: cursors.text_cursor(price.model)
    )


async def list_history(request: AdminRequest[Empty, HistoryQuery, None]) -> Page[PriceRecord]:
    limit, after, model = request.query.limit, cursors.id_of(request.query.after) or 0, or_none(request.query.model)
    use_case = request.administration.prices
    history = await (use_case.history() if model is None else use_case.history_of(model))
    if request.query.upcoming:
        history = await use_case.upcoming(model)
    prices = sorted((price for price in history if price.id > after), key=lambda price: price.id)
    return cursors.page(
        [price_record(price) for price in prices[: limit + 1]], limit, lambda price: cursors.id_cursor(price.id)
    )


async def set_price(request: AdminRequest[Empty, Empty, PriceBody]) -> PriceRecord:
    body = request.body
    price = await request.administration.prices.set(body.model, rates(body), tiers(body), since=body.effective_at)
    return price_record(price)


async def remove_price(request: AdminRequest[ByModel, Empty, None]) -> None:
    await request.administration.prices.remove(request.path.model)


async def cancel_price(request: AdminRequest[IdPath, Empty, None]) -> PriceRecord:
    return price_record(await request.administration.prices.cancel(request.path.id))


async def import_prices(request: AdminRequest[Empty, PriceListQuery, bytes]) -> PriceImportResult | msgspec.Raw:
    since = or_none(request.query.since)
    file = await price_import.read_body(request.body, request.query.only)
    use_case = request.administration.price_import
    changes = await use_case.compare(file, since=since, region=or_none(request.query.region))
    if request.query.apply:
        await use_case.apply(changes)

    def write() -> msgspec.Raw:
        return msgspec.Raw(encode(import_result(changes, file, applied=request.query.apply)))

    return await asyncio.to_thread(write)  # thousands of prices would delay requests


async def export_prices(request: AdminRequest[Empty, ExportQuery, None]) -> bytes:
    prices = await request.administration.prices.export(history=request.query.history)
    return (await asyncio.to_thread(csv_text, COLUMNS, map(csv_cells, prices))).encode()


async def what_if(request: AdminRequest[Empty, Empty, WhatIfBody]) -> WhatIfReport | msgspec.Raw:
    body = request.body
    price = None if body.price is None else NewPrice(body.model or "", rates(body.price), tiers(body.price))
    query = WhatIfQuery(
        by=body.by, since=body.since, until=body.until, model=body.model, price=price, as_model=body.as_model
    )
    report = await request.administration.what_if.report(query, max_rows=MAX_ROWS)
    return msgspec.Raw(await asyncio.to_thread(encode, report))


_PRICE_LIST = {**CSV_FILE, "application/json": {"type": "object", "description": "LiteLLM's list of prices."}}

ROUTES = [
    Route(
        method="GET", path="/prices", handler=list_prices, summary="List the prices in force by model",
        query=TextPage, answer=Page[ListedPrice], tag="prices",
    ),
    Route(
        method="POST", path="/prices", handler=set_price,
        summary="Set a model's price, which supersedes the one before",
        body=PriceBody, answer=PriceRecord, status=201, tag="prices",
    ),
    Route(
        method="POST", path="/price-import", handler=import_prices,
        summary="Show what a list of prices would change, and set the prices with `apply`",
        query=PriceListQuery, body=bytes, files=_PRICE_LIST, max_body=MAX_FILE, answer=PriceImportResult, tag="prices",
    ),
    Route(
        method="GET", path="/price-export", handler=export_prices, summary="Show the prices as CSV",
        query=ExportQuery, answer=bytes, tag="prices",
    ),
    Route(
        method="POST", path="/price-what-if", handler=what_if,
        summary="Show what past requests would have cost at other prices; nothing is changed",
        body=WhatIfBody, answer=WhatIfReport, read_only=True, tag="prices",
    ),
    Route(
        method="DELETE", path="/prices/{model}", handler=remove_price,
        summary="End a model's price now, and cancel those of later dates",
        path_params=ByModel, status=204, tag="prices",
    ),
    Route(
        method="POST", path="/prices/{id}/cancel", handler=cancel_price, summary="Cancel a price of a later date",
        path_params=IdPath, answer=PriceRecord, tag="prices",
    ),
    Route(
        method="GET", path="/price-history", handler=list_history, summary="List every price that was ever set",
        query=HistoryQuery, answer=Page[PriceRecord], tag="prices",
    ),
]  # fmt: skip
