"""Prices and budgets over REST. Prices are never changed, only followed by others: two who set one lose nothing."""

from datetime import UTC, datetime
from decimal import Decimal

from chatgpt_agent.adapters.postgres.budgets import BudgetRow
from chatgpt_agent.core.errors import NotFound, VersionMismatch
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.core.money.pricing import PriceBook
from chatgpt_agent.web.admin import cursors as pages
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.request_schemas import (
    BudgetQuery,
    ById,
    ByModel,
    HistoryQuery,
    NewBudget,
    NewPrice,
    Nothing,
    OfToken,
    TextPage,
    UserBudgetPath,
    given,
    rates_of,
    tiers_of,
)
from chatgpt_agent.web.admin.response_schemas import BudgetOut, PriceOut, price_out, same
from chatgpt_agent.web.admin.routing import Call


async def list_prices(call: Call[Nothing, TextPage, None]) -> Page[PriceOut]:
    after = pages.text_of(call.query.after) or ""
    in_force = PriceBook(await call.administration.prices.prices()).models(datetime.now(UTC))
    behind = [price for price in in_force if price.model > after][: call.query.limit + 1]
    return pages.page([*map(price_out, behind)], call.query.limit, lambda price: pages.text_cursor(price.model))


async def list_history(call: Call[Nothing, HistoryQuery, None]) -> Page[PriceOut]:
    after, model = pages.id_of(call.query.after) or 0, given(call.query.model)
    every = sorted(await call.administration.prices.prices(), key=lambda price: price.id)
    behind = [price for price in every if price.id > after and model in (None, price.model)][: call.query.limit + 1]
    return pages.page([*map(price_out, behind)], call.query.limit, lambda price: pages.id_cursor(price.id))


async def set_price(call: Call[Nothing, Nothing, NewPrice]) -> PriceOut:
    body = call.body
    since = body.effective_at or datetime.now(UTC)
    await call.administration.prices.set_price(body.model, rates_of(body), tiers_of(body), since=since)
    found = [
        price
        for price in await call.administration.prices.prices()
        if (price.model, price.effective_at) == (body.model, since)
    ]
    return price_out(max(found, key=lambda price: price.id))


async def remove_price(call: Call[ByModel, Nothing, None]) -> None:
    await call.administration.prices.remove_price(call.path.model)


async def list_budgets(call: Call[Nothing, BudgetQuery, None]) -> Page[BudgetOut]:
    query = call.query
    found = await call.administration.budgets.list(
        user=given(query.user),
        token_id=given(query.token),
        after=pages.id_of(query.after) or 0,
        limit=query.limit + 1,
    )
    return pages.page([_budget(line) for line in found], query.limit, lambda budget: pages.id_cursor(budget.id))


async def get_budget(call: Call[ById, Nothing, None]) -> BudgetOut:
    return _budget(await call.administration.budgets.get(call.path.id))


async def set_user_budget(call: Call[UserBudgetPath, Nothing, NewBudget]) -> BudgetOut:
    usd, path = Decimal(call.body.amount), call.path
    try:
        return _budget(
            await call.administration.budgets.set(user=path.name, period=path.period, amount=usd, version=call.version)
        )
    except NotFound:
        await call.administration.users.check_changeable(path.name)
        raise VersionMismatch("there is no such budget yet") from None


async def set_token_budget(call: Call[OfToken, Nothing, NewBudget]) -> BudgetOut:
    usd, path = Decimal(call.body.amount), call.path
    try:
        return _budget(
            await call.administration.budgets.set(
                token_id=path.id, period=path.period, amount=usd, version=call.version
            )
        )
    except NotFound:
        await call.administration.tokens.get(path.id)
        raise VersionMismatch("there is no such budget yet") from None


async def remove_budget(call: Call[ById, Nothing, None]) -> None:
    await call.administration.budgets.remove(call.path.id, version=call.version)


def _budget(line: BudgetRow) -> BudgetOut:
    return same(line, BudgetOut, amount=format_usd(line.amount), spent=format_usd(line.spent))
