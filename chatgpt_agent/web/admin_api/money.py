"""Prices over REST. They are never changed, only followed by others: two who set one at once lose nothing."""

from datetime import UTC, datetime

from chatgpt_agent.core.pricing import PriceBook, Rates
from chatgpt_agent.web.admin_api import pages
from chatgpt_agent.web.admin_api.answered import PriceOut, price_out
from chatgpt_agent.web.admin_api.asked import (
    ByModel,
    HistoryQuery,
    NewPrice,
    Nothing,
    TextPage,
    given,
    rates_of,
    tiers_of,
)
from chatgpt_agent.web.admin_api.pages import Page
from chatgpt_agent.web.admin_api.route import Call


async def list_prices(call: Call[Nothing, TextPage, None]) -> Page[PriceOut]:
    after = pages.text_of(call.query.after) or ""
    in_force = PriceBook(await call.accounts.prices()).models(datetime.now(UTC))
    behind = [price_out(price) for price in in_force if price.model > after]
    return pages.page(behind, call.query.limit, lambda price: pages.text_cursor(price.model))


async def list_history(call: Call[Nothing, HistoryQuery, None]) -> Page[PriceOut]:
    after, model = pages.id_of(call.query.after) or 0, given(call.query.model)
    every = sorted(await call.accounts.prices(), key=lambda price: price.id)
    behind = [price_out(price) for price in every if price.id > after and model in (None, price.model)]
    return pages.page(behind, call.query.limit, lambda price: pages.id_cursor(price.id))


async def set_price(call: Call[Nothing, Nothing, NewPrice]) -> PriceOut:
    body = call.body
    since = body.effective_at or datetime.now(UTC)
    await call.accounts.set_price(body.model, Rates(**rates_of(body)), tiers_of(body), since=since)
    found = [
        price for price in await call.accounts.prices() if (price.model, price.effective_at) == (body.model, since)
    ]
    return price_out(max(found, key=lambda price: price.id))


async def remove_price(call: Call[ByModel, Nothing, None]) -> None:
    await call.accounts.remove_price(call.path.model)
