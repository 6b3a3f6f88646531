"""Prices: set, list, remove, export. A price is never changed: another one supersedes it from a date on, and what was
charged stays."""

from collections.abc import Sequence
from datetime import UTC, datetime

from chatgpt_agent.adapters.postgres import prices
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.core.errors import NotFound
from chatgpt_agent.core.money.exact import Usd
from chatgpt_agent.core.money.kinds import FullRateTable, Rates
from chatgpt_agent.core.money.price_csv import effective_prices
from chatgpt_agent.core.money.pricing import NewPrice, Price, PriceBook, Tier, check_model, check_rates


class PriceRecord(FullRateTable[Usd], frozen=True, kw_only=True):
    """A model's price in USD per 1,000,000 tokens. `input` null: from this date on, the model has no price. Another
    rate null: these tokens cost the rate of `input` or `output`."""

    id: int
    model: str
    effective_at: datetime
    tiers: tuple[Tier, ...]


def price_record(price: Price) -> PriceRecord:
    """A price as commands and REST write it in JSON."""
    return PriceRecord(
        id=price.id,
        model=price.model,
        effective_at=price.effective_at.astimezone(UTC),
        tiers=price.tiers,
        **price.rates.all_rates(),
    )


class Prices:
    """Use cases on prices."""

    def __init__(self, store: AnyStore) -> None:
        self._store = store

    async def history(self, model: str | None = None) -> list[Price]:
        """Lists every price that was ever set, of all models or of one, by model and date."""
        return await prices.list_prices(self._store, model)

    async def in_force(self) -> list[Price]:
        """Lists the prices that are in force now, by model."""
        return PriceBook(await self.history()).models(_now())

    async def current(self, model: str) -> Price | None:
        """Returns the price of a model that is in force now; None if it has none."""
        return PriceBook(await self.history(model)).at(model, _now())

    async def set(
        self, model: str, rates: Rates, tiers: Sequence[Tier] = (), *, since: datetime | None = None
    ) -> Price:
        """Sets a model's price in USD per 1,000,000 tokens, from now or from a date on. Raises InvalidValue."""
        check_model(model)
        check_rates(rates, tiers)
        [price] = await self.add([NewPrice(model, rates, tuple(tiers), since)])
        return price

    async def remove(self, model: str) -> None:
        """Ends a model's price now; what was charged stays. Raises NotFound."""
        if await self.current(model) is None:
            raise NotFound(f"the model {model!r} has no price")
        await self.add([NewPrice(model, Rates())])

    async def add(self, new: Sequence[NewPrice]) -> list[Price]:
        """Adds prices that are checked already: all of them, or none."""
        return await prices.add_prices(self._store, new, now=_now())

    async def export(self, *, history: bool = False) -> list[Price]:
        """Lists the prices in force, or all that have or will have an effect; imported, they make the same prices."""
        return effective_prices(await self.history()) if history else await self.in_force()


def _now() -> datetime:
    return datetime.now(UTC)
