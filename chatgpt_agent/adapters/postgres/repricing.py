"""History at another price: the rows of the ledger, with what their tokens would have cost. It changes nothing."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.prices import DUE, price_columns
from chatgpt_agent.adapters.postgres.usage import in_states
from chatgpt_agent.core.ledger import TERMINAL, State
from chatgpt_agent.core.money.kinds import RATE_NAMES, TOKEN_COLUMNS
from chatgpt_agent.core.money.pricing import NewPrice

_ZONE = "(SELECT value FROM settings WHERE name = 'time_zone')"

# What it can be grouped by, and the SQL for it; days and months are those of the books.
GROUPS = {
    "user": "coalesce(n.name, 'user ' || r.user_id)",
    "model": "r.model",
    "day": "r.day::text",
    "month": "to_char(r.day, 'YYYY-MM')",
}

# A request with its correction, where there is one, is one row. Rows of another program's books have no price of ours.
_ROWS = f"""
    SELECT u.user_id, u.model, u.service_tier, p.model AS charged_model, u.cost + coalesce(c.cost, 0) AS cost,
           (u.started_at AT TIME ZONE {_ZONE})::date AS day,
           {
    ", ".join(
        f"CASE WHEN c.corrects IS NULL THEN u.{name} ELSE coalesce(u.{name}, 0) + coalesce(c.{name}, 0) END AS {name}"
        for name in TOKEN_COLUMNS
    )
}
    FROM usage u
    JOIN prices p ON p.id = u.price_id
    LEFT JOIN usage c ON c.corrects = u.request_id AND c.started_at = u.started_at AND c.user_id = u.user_id
        AND c.state = '{State.CORRECTION}'
    WHERE u.state IN {in_states(TERMINAL)} AND (%s::text IS NULL OR u.model = %s)
      AND u.started_at >= (%s::date)::timestamp AT TIME ZONE {_ZONE}
      AND (%s::date IS NULL OR u.started_at < (%s::date + 1)::timestamp AT TIME ZONE {_ZONE})"""


class RepricedLine(msgspec.Struct, frozen=True):
    """One group: requests, USD as charged, USD at the other price. `unpriced_requests`: requests whose model has no
    other price; both sums contain their charged cost."""

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
    whatever_model: bool = False,
) -> list[RepricedLine]:
    """The rows of these days (both included) of the model that was asked for, or of all, by the named groups. Each is
    priced at the one of `prices` of the model that it was charged as, or, `whatever_model`, at the only one."""
    groups = ", ".join(GROUPS[name] for name in by)
    sql = f"""
        WITH r AS ({_ROWS}
        ), other AS (
            SELECT * FROM unnest(%s::text[], {", ".join(["%s::numeric[]"] * len(RATE_NAMES))}, %s::jsonb[])
                AS o(model, {", ".join(RATE_NAMES)}, tiers)
        )
        SELECT {groups}, count(*), count(*) FILTER (WHERE p.input IS NULL), sum(r.cost),
               sum(CASE WHEN p.input IS NULL THEN r.cost ELSE due.cost END)
        FROM r LEFT JOIN users n ON n.id = r.user_id
        LEFT JOIN other p ON {"true" if whatever_model else "p.model = r.charged_model"} {DUE}
        GROUP BY {groups} ORDER BY {groups}"""
    values = [model, model, since, until, until, [new.model for new in prices], *price_columns(prices)]
    lines = await store.fetch(sql, values)
    return [RepricedLine(line[: len(by)], *line[len(by) :]) for line in lines]
