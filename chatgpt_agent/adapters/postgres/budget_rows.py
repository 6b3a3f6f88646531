"""Budgets in lists: each with what is spent and reserved of it, and with its pace."""

import logging
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.postgres.agents import ALIVE_SQL
from chatgpt_agent.adapters.postgres.budgets import budget_from
from chatgpt_agent.adapters.postgres.connection import AnyStore, SqlRow
from chatgpt_agent.adapters.postgres.settings import read_zone
from chatgpt_agent.adapters.postgres.spending import SPENT_IN_SPAN, finite
from chatgpt_agent.core.budget.pace import empty_at, week_begins
from chatgpt_agent.core.budget.period import Period, Window, midnight, window
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import ZERO

log = logging.getLogger(__name__)

_CALENDAR = (Period.DAY, Period.WEEK, Period.MONTH)  # periods that end


class BudgetRow(msgspec.Struct, frozen=True, kw_only=True):
    """A budget in a list. Amounts in USD; `spent` contains the maximum that rows of unknown cost may have cost.
    `raised_amount` is in force until `raised_until`; both are None while the plain `amount` is. `reserved`: by requests
    in progress, as far as agents have published it; `left`: what is neither spent nor reserved. `resets_at` is None for
    a total. `week_spent`: in the last seven days; `empty_at`: when nothing is left at that pace, or None. `version` is
    that of the directory at the last change."""

    id: int
    user: str
    token_id: int | None
    period: Period
    amount: Decimal
    raised_amount: Decimal | None
    raised_until: datetime | None
    spent: Decimal
    reserved: Decimal
    left: Decimal
    resets_at: datetime | None
    week_spent: Decimal
    empty_at: datetime | None
    version: int


async def list_budgets(
    store: AnyStore,
    now: datetime,
    *,
    id: int | None = None,
    user: str | None = None,
    token_id: int | None = None,
    after: int = 0,
    limit: int | None = None,
) -> list[BudgetRow]:
    """Returns budgets by id: all, those of a user (and of the user's tokens), those of a token, or the one of this
    id; without those that cannot be read, which the log names."""
    zone = await read_zone(store)
    windows = {period: window(period, now, zone) for period in Period}
    # Of all budgets it is faster to read the days of all users in one go; of a few, each user's by an index.
    few = "AND user_id = ANY(ARRAY(SELECT owner FROM chosen))"
    sql = f"""
        WITH chosen AS MATERIALIZED (
            SELECT b.id, b.user_id, b.token_id, b.period, b.amount, b.raised_amount, b.raised_until, b.version, u.name,
                   u.id AS owner
            FROM budgets b LEFT JOIN tokens t ON t.id = b.token_id JOIN users u ON u.id = coalesce(b.user_id, t.user_id)
            WHERE b.amount IS NOT NULL AND (%s::bigint IS NULL OR b.id = %s) AND (%s::text IS NULL OR u.name = %s)
              AND (%s::bigint IS NULL OR b.token_id = %s) AND b.id > %s
            ORDER BY b.id LIMIT %s
        ), sums AS (
            SELECT user_id, token_id, {SPENT_IN_SPAN} AS day, {SPENT_IN_SPAN} AS week, {SPENT_IN_SPAN} AS month,
                   NULL::numeric AS total, {SPENT_IN_SPAN} AS last_days, NULL::numeric AS reserved
            FROM usage_daily WHERE day BETWEEN %s AND %s {few if (id, user, token_id, limit) != (None,) * 4 else ""}
            GROUP BY user_id, token_id
            UNION ALL
            SELECT user_id, token_id, NULL, NULL, NULL, sum(cost + uncertain_cost), NULL, NULL
            FROM usage_daily WHERE user_id = ANY(ARRAY(SELECT owner FROM chosen WHERE period = 'total'))
            GROUP BY user_id, token_id
            UNION ALL
            SELECT r.user_id, r.token_id, NULL, NULL, NULL, NULL, NULL, r.amount
            FROM reservations r JOIN agents a ON a.id = r.agent_id WHERE {ALIVE_SQL}
        )
        SELECT c.id, c.user_id, c.token_id, c.period, c.amount, c.raised_amount, c.raised_until, c.version, c.name,
               coalesce(sum(CASE c.period WHEN 'day' THEN s.day WHEN 'week' THEN s.week WHEN 'month' THEN s.month
                                          ELSE s.total END), 0),
               coalesce(sum(s.reserved), 0), coalesce(sum(s.last_days), 0)
        FROM chosen c LEFT JOIN sums s ON s.user_id = c.owner AND (c.token_id IS NULL OR s.token_id = c.token_id)
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9 ORDER BY c.id"""
    today = now.astimezone(zone).date()
    week = week_begins(now, zone)
    spans = [(windows[period].first_day or today, windows[period].last_day or today) for period in _CALENDAR]
    days = [day for span in (*spans, (week, today)) for day in span]
    values = [id, id, user, user, token_id, token_id, after, limit, *days, min(days), max(days)]
    began_at = midnight(week, zone)
    budgets = [_budget_row(row, windows, now, began_at) for row in await store.fetch(sql, values)]
    return [budget for budget in budgets if budget is not None]


def _budget_row(
    row: SqlRow, windows: Mapping[Period, Window], now: datetime, week_began_at: datetime
) -> BudgetRow | None:
    spent, reserved, week_spent = map(finite, row[9:])
    try:
        budget = budget_from(row[:7])
    except (ValueError, InvalidValue) as error:
        log.warning("budgets: the row with id %d cannot be read, and is in force with 0 USD: %s", row[0], error)
        return None
    assert budget.amount is not None
    raised_until, resets_at = budget.raise_at(now), windows[budget.period].ends_at
    return BudgetRow(
        id=budget.id,
        user=row[8],
        token_id=budget.token_id,
        period=budget.period,
        amount=budget.amount,
        raised_amount=None if raised_until is None else budget.raised_amount,
        raised_until=raised_until,
        spent=spent,
        reserved=reserved,
        left=max(ZERO, budget.amount_at(now) - spent - reserved),
        resets_at=resets_at,
        week_spent=week_spent,
        empty_at=empty_at(
            budget,
            used=spent + reserved,
            week_spent=week_spent,
            week_began_at=week_began_at,
            resets_at=resets_at,
            now=now,
        ),
        version=row[7],
    )
