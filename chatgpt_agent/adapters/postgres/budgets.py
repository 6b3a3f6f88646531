"""The table `budgets`, and budgets in lists with what is spent of them."""

import logging
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore, SqlRow
from chatgpt_agent.adapters.postgres.prices import check_amount
from chatgpt_agent.adapters.postgres.settings import read_zone
from chatgpt_agent.core.budget.period import Period, Window, window

log = logging.getLogger(__name__)

_CALENDAR = (Period.DAY, Period.WEEK, Period.MONTH)  # periods that end


class BudgetRow(msgspec.Struct, frozen=True, kw_only=True):
    """A budget in a list. Amounts in USD; `spent` contains the maximum that rows of unknown cost may have cost.
    `resets_at` is None for a total; `version` is that of the directory at the last change."""

    id: int
    user: str
    token_id: int | None
    period: Period
    amount: Decimal
    spent: Decimal
    resets_at: datetime | None
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
    in_window = "CASE b.period " + " ".join(f"WHEN '{p}' THEN d.day BETWEEN %s AND %s" for p in _CALENDAR) + " END"
    sql = f"""
        SELECT b.id, u.name, b.token_id, b.period, b.amount, coalesce((
            SELECT sum(d.cost + d.uncertain_cost) FROM usage_daily d
            WHERE d.user_id = u.id AND (b.token_id IS NULL OR d.token_id = b.token_id)
              AND (b.period = 'total' OR {in_window})), 0), b.version
        FROM budgets b LEFT JOIN tokens t ON t.id = b.token_id JOIN users u ON u.id = coalesce(b.user_id, t.user_id)
        WHERE b.amount IS NOT NULL AND (%s::bigint IS NULL OR b.id = %s) AND (%s::text IS NULL OR u.name = %s)
          AND (%s::bigint IS NULL OR b.token_id = %s) AND b.id > %s
        ORDER BY b.id LIMIT %s"""
    days = [day for period in _CALENDAR for day in (windows[period].first_day, windows[period].last_day)]
    rows = await store.fetch(sql, [*days, id, id, user, user, token_id, token_id, after, limit])
    budgets = [_budget_row(row, windows) for row in rows]
    return [budget for budget in budgets if budget is not None]


def _budget_row(row: SqlRow, windows: Mapping[Period, Window]) -> BudgetRow | None:
    id_, user, token, period, amount, spent, version = row
    try:
        check_amount("amount", amount)
        resets_at = windows[Period(period)].ends_at
    except ValueError as error:
        log.warning("budgets: the row with id %d cannot be read, and is in force with 0 USD: %s", id_, error)
        return None
    return BudgetRow(
        id=id_,
        user=user,
        token_id=token,
        period=Period(period),
        amount=amount,
        spent=spent,
        resets_at=resets_at,
        version=version,
    )


async def set_budget(
    store: AnyStore,
    *,
    user: str | None,
    token_id: int | None,
    period: Period,
    amount: Decimal | None,
    version: int | None,
    now: datetime,
) -> int | None:
    """Sets the budget of a user or token, or removes it (`amount` None), and returns its id. None: the user or
    token does not exist, or the budget does not have this `version`."""
    column, owner = ("user_id", user) if token_id is None else ("token_id", token_id)
    source = "users o WHERE o.name = %s AND o.removed_at IS NULL" if token_id is None else "tokens o WHERE o.id = %s"
    sql = f"""
        INSERT INTO budgets AS b ({column}, period, amount, created_at) SELECT o.id, %s, %s, %s FROM {source}
          AND (%s::bigint IS NULL OR EXISTS (SELECT FROM budgets e WHERE e.{column} = o.id AND e.period = %s))
        ON CONFLICT ({column}, period) WHERE {column} IS NOT NULL DO UPDATE SET amount = excluded.amount
        WHERE %s::bigint IS NULL OR b.version = %s
        RETURNING id"""
    values = [period.value, amount, now, owner, version, period.value, version, version]
    rows = await store.fetch(sql, values)
    return int(rows[0][0]) if rows else None
