"""Prices: set, list, remove, cancel, export. A price is never changed: another one supersedes it from a date on, and
what was charged stays."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

import msgspec

from chatgpt_agent.adapters.postgres import model_dates, prices
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.admin.lookups import missing_price
from chatgpt_agent.admin.warnings import Warn, no_warning, warn_of_similar
from chatgpt_agent.core.errors import Conflict, NotFound
from chatgpt_agent.core.likely import check_likely_model
from chatgpt_agent.core.money.exact import Usd
from chatgpt_agent.core.money.kinds import FullRateTable, Rates
from chatgpt_agent.core.money.price_csv import effective_prices
from chatgpt_agent.core.money.pricing import NewPrice, Price, PriceBook, Tier, check_price, check_rates, upcoming
from chatgpt_agent.core.money.shutdowns import is_soon


class PriceRecord(FullRateTable[Usd], frozen=True, kw_only=True):
    """A model's price in USD per 1,000,000 tokens. `input` null: from this date on, the model has no price. Another
    rate null: these tokens cost the rate of `input` or `output`. `cancelled_at`: when it was cancelled, before it was
    in force."""

    id: int
    model: str
    effective_at: datetime
    tiers: tuple[Tier, ...]
    cancelled_at: datetime | None


class ListedPrice(PriceRecord, frozen=True, kw_only=True):
    """A price in force. `shutdown_date`: the day on which OpenAI shuts the model down, null: not announced;
    `shutdown_soon`: within 60 days, or already."""

    shutdown_date: date | None
    shutdown_soon: bool


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """What ended with a model's price: the price in force, if there was one, and the prices of later dates."""

    ended: Price | None
    cancelled: list[Price]


def price_record(price: Price) -> PriceRecord:
    """A price as commands and REST write it in JSON."""
    return PriceRecord(
        id=price.id,
        model=price.model,
        effective_at=price.effective_at.astimezone(UTC),
        tiers=price.tiers,
        cancelled_at=price.cancelled_at and price.cancelled_at.astimezone(UTC),
        **price.rates.all_rates(),
    )


def listed_price(price: Price, dates: Mapping[str, date]) -> ListedPrice:
    """A price in force as commands and REST write it in JSON."""
    day = dates.get(price.model)
    fields = msgspec.structs.asdict(price_record(price))
    return ListedPrice(**fields, shutdown_date=day, shutdown_soon=is_soon(day, _now().date()))


class Prices:
    """Use cases on prices."""

    def __init__(self, store: AnyStore, warn: Warn = no_warning) -> None:
        self._store = store
        self._warn = warn

    async def history(self, model: str | None = None) -> list[Price]:
        """Lists every price that was ever set, of all models or of one, by model and date."""
        return await prices.list_prices(self._store, model)

    async def history_of(self, model: str) -> list[Price]:
        """Lists every price of a model that was ever set, by date. Raises NotFound if there is none."""
        history = await self.history(model)
        if not history:
            raise await missing_price(model, {price.model for price in await self.history()})
        return history

    async def in_force(self) -> list[Price]:
        """Lists the prices that are in force now, by model."""
        return PriceBook(await self.history()).models(_now())

    async def shutdown_dates(self) -> dict[str, date]:
        """Returns the days on which OpenAI shuts models down, as the list that was imported last has them."""
        return await model_dates.list_dates(self._store)

    async def upcoming(self, model: str | None = None) -> list[Price]:
        """Lists the prices, and the ends of prices, of later dates, by model and date."""
        return upcoming(await self.history(model), _now())

    async def current(self, model: str) -> Price | None:
        """Returns the price of a model that is in force now; None if it has none."""
        return PriceBook(await self.history(model)).at(model, _now())

    async def set(
        self, model: str, rates: Rates, tiers: Sequence[Tier] = (), *, since: datetime | None = None
    ) -> Price:
        """Sets a model's price in USD per 1,000,000 tokens, from now or from a date on. Raises InvalidValue."""
        new = NewPrice(model, rates, tuple(tiers), since)
        self.check(new)
        [price] = await self.add([new])
        warn_of_similar("another model", {each.model for each in await self.in_force()}, [model], self._warn)
        return price

    def check(self, new: NewPrice) -> None:
        """Raises InvalidValue if this cannot be set as a price."""
        check_likely_model(new.model)
        check_rates(new.rates, new.tiers)
        check_price(new)

    async def remove(self, model: str) -> Removal:
        """Ends a model's price now, and cancels those of later dates; what was charged stays. Raises NotFound."""
        ended = await self.current(model)
        if ended is None and all(price.is_removed for price in await self.upcoming(model)):
            raise await missing_price(model, [price.model for price in await self.in_force()])
        cancelled = await prices.end_prices(self._store, model, now=_now(), in_force=ended is not None)
        return Removal(ended=ended, cancelled=cancelled)

    async def cancel(self, id: int) -> Price:
        """Cancels a price of a later date, which then never takes effect. Raises NotFound, Conflict."""
        cancelled = await prices.cancel_price(self._store, id, _now())
        if cancelled is not None:
            return cancelled
        for price in await self.history():
            if price.id == id and price.cancelled_at is not None:
                raise Conflict(f"price {id} of {price.model!r} is cancelled already")
            if price.id == id:
                raise Conflict(
                    f"price {id} of {price.model!r} took effect at {price.effective_at:%Y-%m-%d %H:%M:%S} UTC, so it "
                    "cannot be cancelled: set another price, or remove the model's"
                )
        raise NotFound(f"there is no price {id}")

    async def add(self, new: Sequence[NewPrice]) -> list[Price]:
        """Adds prices that are checked already: all of them, or none."""
        return await prices.add_prices(self._store, new, now=_now())

    async def export(self, *, history: bool = False) -> list[Price]:
        """Lists the prices in force, or all that have or will have an effect; imported, they make the same prices."""
        return effective_prices(await self.history()) if history else await self.in_force()


def _now() -> datetime:
    return datetime.now(UTC)
