"""What past requests would have cost at other prices. Nothing is written."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.corrections import JOIN_CORRECTION
from chatgpt_agent.adapters.postgres.prices import COST_SQL, price_columns
from chatgpt_agent.adapters.postgres.settings import TIME_ZONE_SQL
from chatgpt_agent.adapters.postgres.usage import in_states
from chatgpt_agent.adapters.postgres.users import USER_NAME_SQL
from chatgpt_agent.core.ledger import TERMINAL
from chatgpt_agent.core.money.kinds import COUNT_COLUMNS, RATE_NAMES
from chatgpt_agent.core.money.pricing import NewPrice

# Each group and its SQL. Days and months are those of the configured time zone.
GROUPS = {
    "user": USER_NAME_SQL.format(id="r.user_id"),
    "model": "r.model",
    "day": "to_char(r.day, 'YYYY-MM-DD')",
    "month": "to_char(r.day, 'YYYY-MM')",
}


def _corrected(name: str) -> str:
    return (
        f"CASE WHEN c.corrects IS NULL THEN r.{name} ELSE coalesce(r.{name}, 0) + coalesce(c.{name}, 0) END AS {name}"
    )


# A row and its correction are one row here. Imported rows are left out: they have none of our prices.
_ROWS = f"""
    SELECT r.user_id, r.model, r.service_tier, p.model AS charged_model, r.image_price_id,
           CASE WHEN c.corrects IS NULL THEN r.surcharge_ids ELSE c.surcharge_ids END AS surcharge_ids,
           r.cost + coalesce(c.cost, 0) AS cost,
           (r.started_at AT TIME ZONE {TIME_ZONE_SQL})::date AS day,
           {", ".join(map(_corrected, COUNT_COLUMNS))}
    FROM usage r
    JOIN prices p ON p.id = r.price_id
    {JOIN_CORRECTION}
    WHERE r.state IN {in_states(TERMINAL)} AND (%s::text IS NULL OR r.model = %s)
      AND r.started_at >= (%s::date)::timestamp AT TIME ZONE {TIME_ZONE_SQL}
      AND (%s::date IS NULL OR r.started_at < (%s::date + 1)::timestamp AT TIME ZONE {TIME_ZONE_SQL})"""


class RepricedGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of a group: their number, USD as charged, USD at the other price. `unpriced_requests`: requests
    whose model has no other price; both sums contain their charged cost."""

    group: tuple[str, ...]
    requests: int
    unpriced_requests: int
    cost: Decimal
    other_cost: Decimal


async def reprice(
    store: AnyStore,
    by: Sequence[str],
    prices: Sequence[NewPrice],
    *,
    since: date,
    until: date | None = None,
    model: str | None = None,
    any_model: bool = False,
) -> list[RepricedGroup]:
    """Returns the requests of these days (both included), for one requested model or all, in groups. The other price of
    a request is that of `prices` for the model that it was charged as; with `any_model`, the only one of `prices`."""
    groups = ", ".join(GROUPS[name] for name in by)
    sql = f"""
        WITH r AS ({_ROWS}
        ), other AS (
            SELECT * FROM unnest(%s::text[], {", ".join(["%s::numeric[]"] * len(RATE_NAMES))}, %s::jsonb[])
                AS o(model, {", ".join(RATE_NAMES)}, tiers)
        )
        SELECT {groups}, count(*), count(*) FILTER (WHERE p.input IS NULL), sum(r.cost),
               sum(CASE WHEN p.input IS NULL THEN r.cost ELSE due.cost END)
        FROM r LEFT JOIN users u ON u.id = r.user_id
        LEFT JOIN other p ON {"true" if any_model else "p.model = r.charged_model"} {COST_SQL}
        GROUP BY {groups} ORDER BY {groups}"""
    values = [model, model, since, until, until, [new.model for new in prices], *price_columns(prices)]
    return [
        RepricedGroup(
            group=tuple(group), requests=requests, unpriced_requests=unpriced, cost=cost, other_cost=other_cost
        )
        for *group, requests, unpriced, cost, other_cost in await store.fetch(sql, values)
    ]
