"""Prices in bulk over REST: files as the commands take them. They are read in a thread of their own: the
list that LiteLLM publishes would else hold clients up."""

import asyncio
from datetime import datetime

from chatgpt_agent.admin.prices import Prices, total
from chatgpt_agent.core.csv_reader import trimmed
from chatgpt_agent.core.csv_writer import csv_text
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.price_csv import COLUMNS, csv_cells
from chatgpt_agent.core.money.price_files import PriceFile, read_prices, select_models
from chatgpt_agent.core.money.pricing import NewPrice
from chatgpt_agent.web.admin.ledger import MAX_LINES
from chatgpt_agent.web.admin.outcome_schemas import (
    PricesImportedOut,
    WhatIfOut,
    prices_imported,
    what_if_line,
)
from chatgpt_agent.web.admin.request_schemas import (
    ExportQuery,
    Nothing,
    PriceListQuery,
    WhatIf,
    rates_of,
    tiers_of,
)
from chatgpt_agent.web.admin.response_schemas import utc
from chatgpt_agent.web.admin.routing import Call

_FILE = "the file"


async def import_prices(call: Call[Nothing, PriceListQuery, bytes]) -> PricesImportedOut:
    def read() -> PriceFile:
        return read_prices(trimmed(call.body, _FILE), _FILE, select_models(call.query.only))

    try:
        since = utc(call.query.since) if isinstance(call.query.since, datetime) else None
    except OverflowError:
        raise InvalidValue("from: there is no such time in UTC") from None
    file = await asyncio.to_thread(read)
    found = await call.administration.prices.compare(file.prices, since=since)
    if call.query.apply:
        await call.administration.prices.apply(found)
    return await asyncio.to_thread(prices_imported, found, file.skipped, applied=call.query.apply)


async def export_prices(call: Call[Nothing, ExportQuery, None]) -> bytes:
    found = await call.administration.prices.export(history=call.query.history)
    return (await asyncio.to_thread(csv_text, COLUMNS, map(csv_cells, found))).encode()


async def what_if(call: Call[Nothing, Nothing, WhatIf]) -> WhatIfOut:
    body, by = call.body, call.body.by
    if body.until is not None and body.until < body.since:
        raise InvalidValue("until: it is before since")
    if body.price is not None and body.as_model is not None:
        raise InvalidValue("give as_model or a price, not both")
    at = None
    if body.price is not None:
        at = NewPrice(body.model or "", rates_of(body.price), tuple(tiers_of(body.price)))
    # It may go through the whole ledger, as its proof does.
    prices = Prices(call.api.stores.proofs, call.actor)
    lines = await prices.reprice(
        by, since=body.since, until=body.until, model=body.model, at=at, as_model=body.as_model
    )
    if len(lines) > MAX_LINES:
        raise InvalidValue(f"there are over {MAX_LINES} lines: ask for fewer days, or sum up by less")
    return WhatIfOut([*by], [what_if_line(by, line) for line in lines], what_if_line(by, total(lines)))
