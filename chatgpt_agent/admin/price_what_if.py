"""Past requests at other prices: what they cost, and what they would have cost. Nothing is changed."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime

import msgspec
from msgspec import structs

from chatgpt_agent.adapters.postgres import repricing
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.prices import list_prices
from chatgpt_agent.adapters.postgres.repricing import GROUPS, RepricedGroup
from chatgpt_agent.admin.archives import check_days_not_archived
from chatgpt_agent.admin.groups import check_groups
from chatgpt_agent.admin.lookups import check_model, missing_price
from chatgpt_agent.admin.reports import today
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import Usd, exact_sum
from chatgpt_agent.core.money.pricing import NewPrice, Price, PriceBook, check_rates

__all__ = ["GROUPS", "WhatIf", "WhatIfQuery", "WhatIfReport", "WhatIfRow"]


class WhatIfQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Requests for `model` (None: for any) on these days of the configured time zone, both included; priced at
    `price`, at the current price of `as_model`, or, without either, at the current price of each one's own model, or
    that of `listed`, a list of prices that may be set."""

    by: Sequence[str]
    since: date
    until: date | None = None
    model: str | None = None
    price: NewPrice | None = None
    as_model: str | None = None
    listed: Sequence[NewPrice] = ()


class WhatIfRow(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of one group, or of all, in USD. `unpriced_requests`: those of models without a current price, which
    count in both sums with what they cost."""

    group: dict[str, str]
    requests: int
    unpriced_requests: int
    cost: Usd
    what_if: Usd
    difference: Usd


class WhatIfReport(msgspec.Struct, frozen=True, kw_only=True):
    """The sums by groups, and their total. `price_model`: the model whose price was applied; of a fine-tuned model
    without a price of its own it is the base. None: the price was given, or each request has that of its model."""

    by: list[str]
    price_model: str | None = None
    rows: list[WhatIfRow]
    total: WhatIfRow


class WhatIf:
    """The use case: the rows of the ledger at other prices."""

    def __init__(self, store: AnyStore) -> None:
        self._store = store

    async def report(self, query: WhatIfQuery, *, max_rows: int | None = None) -> WhatIfReport:
        """What the requests of the query cost, and would have cost, by its groups. Raises InvalidValue, also for a
        report of more than `max_rows` rows; NotFound; Conflict if rows of these days are archived."""
        check_groups(query.by, GROUPS)
        if query.until is not None and query.until < query.since:
            raise InvalidValue("until: the last day is before the first")
        if query.price is not None and query.as_model is not None:
            raise InvalidValue("give as_model or a price, not both")
        await check_model(self._store, query.model)
        await check_days_not_archived(self._store, query.since, query.until)
        other = await self._other_prices(query)
        rows = await repricing.reprice(
            self._store,
            query.by,
            other,
            since=query.since,
            until=query.until or max(query.since, await today(self._store)),
            model=query.model,
            any_model=query.price is not None or query.as_model is not None,
        )
        if max_rows is not None and len(rows) > max_rows:
            raise InvalidValue(f"the report has over {max_rows} rows: choose fewer days or groups")
        # In a thread: thousands of groups take long enough to delay requests.
        report = await asyncio.to_thread(_report, query.by, rows)
        return report if query.as_model is None else structs.replace(report, price_model=other[0].model)

    async def _other_prices(self, query: WhatIfQuery) -> list[NewPrice]:
        if query.price is not None:
            check_rates(query.price.rates, query.price.tiers)
            return [query.price]
        book, now = PriceBook(await list_prices(self._store)), datetime.now(UTC)
        current = book.models(now)
        if query.as_model is None:
            prices = {price.model: _as_new(price) for price in current}
            prices |= {new.model: new for new in query.listed}
            return [new for new in prices.values() if not new.removes]
        price = book.at(query.as_model, now)
        if price is None:
            raise await missing_price(query.as_model, [price.model for price in current])
        return [_as_new(price)]


def _report(by: Sequence[str], rows: Sequence[RepricedGroup]) -> WhatIfReport:
    return WhatIfReport(by=list(by), rows=[_row(by, row) for row in rows], total=_row([], _total(rows)))


def _row(by: Sequence[str], row: RepricedGroup) -> WhatIfRow:
    return WhatIfRow(
        group=dict(zip(by, row.group, strict=True)),
        requests=row.requests,
        unpriced_requests=row.unpriced_requests,
        cost=row.cost,
        what_if=row.other_cost,
        difference=exact_sum([row.other_cost, row.cost.copy_negate()]),
    )


def _total(rows: Sequence[RepricedGroup]) -> RepricedGroup:
    return RepricedGroup(
        group=(),
        requests=sum(row.requests for row in rows),
        unpriced_requests=sum(row.unpriced_requests for row in rows),
        cost=exact_sum(row.cost for row in rows),
        other_cost=exact_sum(row.other_cost for row in rows),
    )


def _as_new(price: Price) -> NewPrice:
    return NewPrice(price.model, price.rates, price.tiers)
