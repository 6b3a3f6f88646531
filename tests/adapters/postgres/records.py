"""Users and prices in a real database."""

from datetime import datetime
from decimal import Decimal

from chatgpt_agent.adapters.postgres import prices
from chatgpt_agent.adapters.postgres import users as accounts
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import NewPrice
from tests.support.factories import NOON


async def add_user(store: Store, name: str = "alice", id: int = 1) -> int | None:
    """Adds a user with a token; returns the token's id."""
    digest = name.encode().ljust(32, b"-")
    return await accounts.add_user(
        store,
        id=id,
        name=name,
        upstream_key=b"encrypted",
        digest=digest,
        token_prefix="cga_abcd",
        settings={},
        now=NOON,
    )


async def add_price(store: Store, model: str = "m", input: str | None = "1", since: datetime = NOON) -> None:
    """Adds a price with the same amount for all rates."""
    amount = None if input is None else Decimal(input)
    rates = Rates(input=amount, cached_input=amount, output=amount)
    await prices.add_prices(store, [NewPrice(model, rates, effective_at=since)], now=NOON)
