"""Who uses which models, and which models were asked for without a price."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from chatgpt_agent.adapters.postgres import model_use
from chatgpt_agent.adapters.postgres.agents import agent_states
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.model_use import ModelUse, ModelUser, ModelUsers
from chatgpt_agent.adapters.postgres.prices import list_prices
from chatgpt_agent.admin.reports import today
from chatgpt_agent.core.money.pricing import PriceBook
from chatgpt_agent.core.name_counter import OTHER

__all__ = ["MONTH", "WEEK", "ModelUse", "ModelUseReader", "ModelUser", "ModelUsers", "UnpricedModel"]

MONTH = 30  # days
WEEK = 7
TOP = 20  # users by name


class UnpricedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model without a price. `refused`: requests that agents have refused since they started; `use`: its requests in
    the last 30 days, which it has if its price was removed; None: none."""

    model: str
    refused: int
    use: ModelUse | None


class ModelUseReader:
    """The use cases. Days are those of the time zone of reports, and today is the last one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def since(self, days: int) -> date:
        """Returns the first of so many days."""
        return await today(self._store) - timedelta(days=days - 1)

    async def used(self, days: int = MONTH) -> dict[str, ModelUse]:
        """Returns the use of each model that was used in these days."""
        uses = await model_use.use_of_models(self._store, await self.since(days))
        return {use.model: use for use in uses}

    async def users(self, models: Sequence[str], days: int = MONTH, *, limit: int = TOP) -> dict[str, ModelUsers]:
        """Returns the users of each model in these days, of the models with any; at most `limit` of each by name."""
        if not models:
            return {}
        return await model_use.users_of_models(self._store, models, await self.since(days), limit=limit)

    async def stopped_by(self, model: str, days: int = WEEK, *, limit: int = TOP) -> ModelUsers | None:
        """Returns the users in these days of what cannot be used without the price of this model: the model, and
        fine-tuned models that have its price. None: there are none."""
        book, now, since = PriceBook(await list_prices(self._store)), datetime.now(UTC), await self.since(days)
        prices = {each: book.at(each, now) for each in await self.used(days)}
        models = [each for each, price in prices.items() if price is not None and price.model == model]
        stopped = await model_use.users_of_models(self._store, models, since, limit=limit, together=True)
        return stopped.get("")

    async def unpriced(self, used: dict[str, ModelUse]) -> list[UnpricedModel]:
        """Lists the models without a price that clients have asked for, or that were used: the most wanted first."""
        book, now = PriceBook(await list_prices(self._store)), datetime.now(UTC)
        refused: dict[str, int] = defaultdict(int)
        for agent in await agent_states(self._store):
            if agent.seen_at < now - timedelta(days=MONTH):
                continue
            for model, count in agent.unpriced_models.items():
                refused[model] += count
        models = {model for model in {*refused, *used} if model != OTHER and book.at(model, now) is None}
        listed = [UnpricedModel(model=model, refused=refused.get(model, 0), use=used.get(model)) for model in models]
        return sorted(listed, key=lambda each: (-each.refused, -(each.use.requests if each.use else 0), each.model))
