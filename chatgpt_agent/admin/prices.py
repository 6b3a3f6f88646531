"""Prices as an administrator sets, imports and tries them. Every face (commands, REST) calls these.

A price is never changed: another one supersedes it from a date on, and what was charged stays.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec

from chatgpt_agent.adapters.files import read_limited
from chatgpt_agent.adapters.postgres import prices, repricing
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.repricing import RepricedGroup
from chatgpt_agent.admin.groups import check_groups
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.errors import InvalidValue, NotFound
from chatgpt_agent.core.money.exact import exact_sum
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.price_csv import Difference, difference, exported
from chatgpt_agent.core.money.price_files import MAX_FILE, PriceFile, read_prices
from chatgpt_agent.core.money.pricing import NewPrice, Price, PriceBook, Tier, check_model, check_price, check_rates

MAX_PRICES = 10_000  # of one import


class Prices:
    """The changes, and what they can be made on."""

    def __init__(self, store: Store, actor: Actor) -> None:
        self._store = store.with_actor(actor)

    async def prices(self) -> list[Price]:
        """Every price that ever was, by model and date."""
        return await prices.list_prices(self._store)

    async def in_force(self) -> list[Price]:
        """The prices of now, by model."""
        return PriceBook(await self.prices()).models(_now())

    async def set_price(
        self, model: str, rates: Rates, tiers: Sequence[Tier] = (), *, since: datetime | None = None
    ) -> Price:
        """Sets a model's price in USD per 1,000,000 tokens, from now or from a date on, and returns it as stored.
        Raises InvalidValue."""
        check_model(model)
        check_rates(rates, tiers)
        [price] = await prices.add_prices(self._store, [NewPrice(model, rates, tuple(tiers), since)], now=_now())
        return price

    async def remove_price(self, model: str) -> None:
        """Takes a model's price away from now on; what was charged stays. Raises NotFound."""
        when = _now()
        if PriceBook(await self.prices()).at(model, when) is None:
            raise NotFound(f"the model {model!r} has no price")
        await prices.add_prices(self._store, [NewPrice(model, Rates())], now=when)

    async def compare(self, wanted: Iterable[NewPrice], *, since: datetime | None = None) -> Difference:
        """What a list of prices would change; `since`: from that date on, whatever date the list says.
        Raises InvalidValue."""
        # Apart, because it takes thousands of them long enough for others to notice.
        return await asyncio.to_thread(_compare, await self.prices(), wanted, since, _now())

    async def apply(self, changes: Difference) -> None:
        """Sets what `compare` has found: all of it, or nothing."""
        if changes.changes:
            await prices.add_prices(self._store, [change.new for change in changes.changes], now=_now())

    async def export(self, *, history: bool = False) -> list[Price]:
        """The prices in force, or all that have or will have an effect; imported, they make the same ones."""
        return exported(await self.prices()) if history else await self.in_force()

    async def reprice(
        self,
        by: Sequence[str],
        *,
        since: date,
        until: date | None = None,
        model: str | None = None,
        at: NewPrice | None = None,
        as_model: str | None = None,
    ) -> list[RepricedGroup]:
        """What the requests of these days (the books', both included) cost, and what they would have cost: at this
        price, at another model's of today, or, where neither is given, each at its own model's of today.
        Raises InvalidValue, NotFound."""
        check_groups(by, repricing.GROUPS)
        known = {price.model: price for price in await self.in_force()}
        if as_model is not None:
            if as_model not in known:
                raise NotFound(f"the model {as_model!r} has no price")
            at = _again(known[as_model])
        elif at is not None:
            check_rates(at.rates, at.tiers)
        others = [_again(price) for price in known.values()] if at is None else [at]
        return await repricing.reprice(
            self._store, by, others, since=since, until=until, model=model, any_model=at is not None
        )


def read_price_file(path: Path, wanted: Callable[[str], bool] = lambda model: True) -> PriceFile:
    """Returns the prices in a file. Raises InvalidValue with the file's name."""
    return read_prices(read_limited(path, MAX_FILE), str(path), wanted)


def _compare(prices: list[Price], wanted: Iterable[NewPrice], since: datetime | None, now: datetime) -> Difference:
    found = [msgspec.structs.replace(new, effective_at=since or new.effective_at) for new in wanted]
    if len(found) > MAX_PRICES:
        raise InvalidValue(f"there are more than {MAX_PRICES} prices in the list")
    seen: set[tuple[str, datetime | None]] = set()
    for new in found:
        check_price(new)
        if (new.model, new.effective_at) in seen:
            raise InvalidValue(f"{new.model!r} is there twice, and cannot have two prices from one date on")
        seen.add((new.model, new.effective_at))
    return difference(prices, found, now)


def total(lines: Sequence[RepricedGroup]) -> RepricedGroup:
    """The sum of all groups."""
    return RepricedGroup(
        group=(),
        requests=sum(line.requests for line in lines),
        unpriced_requests=sum(line.unpriced_requests for line in lines),
        cost=exact_sum(line.cost for line in lines),
        other_cost=exact_sum(line.other_cost for line in lines),
    )


def _again(price: Price) -> NewPrice:
    return NewPrice(price.model, price.rates, price.tiers)


def _now() -> datetime:
    return datetime.now(UTC)
