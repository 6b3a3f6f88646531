"""What a list of prices sets: prices, surcharges and dates of models, in one transaction."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.model_dates import set_dates_sql
from chatgpt_agent.adapters.postgres.prices import add_prices_sql
from chatgpt_agent.adapters.postgres.surcharges import add_surcharges_sql
from chatgpt_agent.core.money.pricing import NewPrice
from chatgpt_agent.core.money.surcharges import NewSurcharge


async def apply_list(
    store: AnyStore,
    prices: Sequence[NewPrice],
    surcharges: Sequence[NewSurcharge],
    dates: Mapping[str, date | None],
    *,
    now: datetime,
) -> None:
    """Sets all of them, or none: one request of several statements is one transaction (see `AuditedStore.fetch`)."""
    statements: list[tuple[str, Sequence[Any]]] = []
    if prices:
        statements.append(add_prices_sql(prices, now=now))
    if surcharges:
        statements.append(add_surcharges_sql(surcharges, now=now))
    if dates:
        statements.append(set_dates_sql(dates))
    if statements:
        sql = ";\n".join(text for text, _ in statements)
        await store.fetch(sql, [value for _, parameters in statements for value in parameters])
