"""What budgets count: spending from `usage_daily`, and the reservations of every agent."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.postgres.agents import ALIVE_SQL
from chatgpt_agent.adapters.postgres.connection import ALL_USERS, SPENT_CHANNEL, Store

_TOO_MUCH = Decimal(10**15)  # USD, for a sum that is no number: nothing is left then
_MAX_LISTED = 200  # users in a notice; its payload holds 8,000 bytes

# The end of a statement with rows in `inserted`: their number, and a notice with the ids of their users.
COUNT_AND_NOTIFY = f"""
SELECT count(*), pg_notify('{SPENT_CHANNEL}', CASE WHEN count(DISTINCT user_id) > {_MAX_LISTED} THEN '{ALL_USERS}'
                                             ELSE string_agg(DISTINCT user_id::text, ',') END)
FROM inserted
"""


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """What a token has spent in the current day, week and month, and in total, in USD."""

    user_id: int
    token_id: int
    day: Decimal
    week: Decimal
    month: Decimal
    total: Decimal


class ReservedAmount(msgspec.Struct, frozen=True):
    """The sum of a token's reservations for requests that are not in `usage` yet, in USD."""

    user_id: int
    token_id: int
    amount: Decimal


# A sum of rows of `usage_daily`; its two parameters are the first and the last day. Most rows have no uncertain cost:
# adding it only where it is not 0 saves 6 % of the time of a list of 1,000 budgets.
SPENT_IN_SPAN = """
    coalesce(sum(CASE uncertain_cost WHEN 0 THEN cost ELSE cost + uncertain_cost END)
             FILTER (WHERE day BETWEEN %s AND %s), 0)"""


def finite(amount: Decimal) -> Decimal:
    """Returns a sum; for NaN, which only an edit in SQL can store and which cannot be compared, a very large amount."""
    return amount if amount.is_finite() else _TOO_MUCH


async def read_spending(
    store: Store,
    users: Sequence[int],
    spans: Sequence[tuple[date, date]],
    *,
    total: bool,
    rows: Sequence[tuple[UUID, datetime]] = (),
) -> tuple[list[Spending], set[UUID]]:
    """Returns what the tokens of these users have spent in `spans`, the first and last days of the current day, week
    and month; and which of `rows` (request id and start) these sums contain. The total is 0 unless `total` is set: it
    reads all days. A row of a future day, of an agent whose clock is ahead, counts only in the total until then."""
    sql = f"""
        SELECT user_id, token_id, {", ".join([SPENT_IN_SPAN] * len(spans))},
               CASE WHEN %s THEN sum(cost + uncertain_cost) ELSE 0 END, NULL
        FROM usage_daily WHERE user_id = ANY(%s) AND (%s OR day >= %s) GROUP BY user_id, token_id"""
    bounds = [day for span in spans for day in span]
    values: list[object] = [*bounds, total, list(users), total, min(bounds)]
    if rows:
        # In the same statement, so that both are read from one snapshot. A cluster reads one after the other: the rows
        # first, so that none is taken for a part of the sums which were read before it was there.
        sql = f"""
        SELECT 0, 0, 0, 0, 0, 0, u.request_id::text
        FROM unnest(%s::uuid[], %s::timestamptz[]) AS r(id, at)
        JOIN usage u ON u.request_id = r.id AND u.started_at = r.at AND u.user_id = ANY(%s)
        UNION ALL {sql}"""
        values = [[str(id_) for id_, _ in rows], [at for _, at in rows], list(users), *values]
    spending, contained = [], set()
    for user, token, *sums, request_id in await store.fetch(sql, values):
        if request_id is not None:
            contained.add(UUID(request_id))
        else:
            amounts = dict(zip(("day", "week", "month", "total"), map(finite, map(Decimal, sums)), strict=True))
            spending.append(Spending(user_id=user, token_id=token, **amounts))
    return spending, contained


async def publish_reservations(
    store: Store, agent: UUID, users: Sequence[int], amounts: Sequence[ReservedAmount], *, notify: bool = True
) -> None:
    """Replaces the reservations of an agent for these users; `notify`: tells the other agents. Without others, a notice
    would only let this agent read its own users' spending again."""
    sql = f"""
        WITH new AS (
            SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::numeric[]) AS n(user_id, token_id, amount)
        ), deleted AS (
            DELETE FROM reservations r WHERE r.agent_id = %s AND r.user_id = ANY(%s)
              AND NOT EXISTS (SELECT FROM new n WHERE n.user_id = r.user_id AND n.token_id = r.token_id)
        ), upserted AS (
            INSERT INTO reservations (agent_id, user_id, token_id, amount)
            SELECT %s, user_id, token_id, amount FROM new ORDER BY user_id, token_id
            ON CONFLICT (agent_id, user_id, token_id) DO UPDATE SET amount = excluded.amount
        )
        SELECT CASE WHEN %s THEN pg_notify('{SPENT_CHANNEL}', %s)::text END"""
    columns = [[row.user_id for row in amounts], [row.token_id for row in amounts], [row.amount for row in amounts]]
    notice = ",".join(map(str, users)) if len(users) <= _MAX_LISTED else ALL_USERS
    await store.fetch(sql, [*columns, str(agent), list(users), str(agent), notify, notice])


async def clear_reservations(store: Store, agent: UUID) -> None:
    """Deletes the reservations of an agent's last run, and notifies the other agents."""
    sql = f"""
        WITH deleted AS (DELETE FROM reservations WHERE agent_id = %s)
        SELECT pg_notify('{SPENT_CHANNEL}', '{ALL_USERS}')"""
    await store.fetch(sql, [str(agent)])


async def read_reservations(store: Store, users: Sequence[int], *, except_agent: UUID) -> list[ReservedAmount]:
    """Returns the reservations of other agents for these users, as far as the agents are alive."""
    sql = f"""
        SELECT r.user_id, r.token_id, sum(r.amount) FROM reservations r JOIN agents a ON a.id = r.agent_id
        WHERE r.user_id = ANY(%s) AND r.agent_id <> %s AND {ALIVE_SQL} GROUP BY r.user_id, r.token_id"""
    return [ReservedAmount(*row) for row in await store.fetch(sql, [list(users), str(except_agent)])]
