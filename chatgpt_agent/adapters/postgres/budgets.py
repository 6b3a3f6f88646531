"""The table `budgets`: what is stored of a budget, and its changes."""

from datetime import datetime
from decimal import Decimal

from chatgpt_agent.adapters.postgres.connection import AnyStore, SqlRow
from chatgpt_agent.adapters.postgres.prices import check_amount
from chatgpt_agent.core.budget.period import Budget, Period
from chatgpt_agent.core.moments import check_moment


def budget_from(row: SqlRow) -> Budget:
    """Returns the budget in a row: id, user, token, period, amount, raised amount, end of the raise. Raises ValueError
    or InvalidValue for one that cannot be read."""
    id_, user, token, period, amount, raised_amount, raised_until = row
    if amount is not None:
        check_amount("amount", amount)
    if (raised_amount is None) is not (raised_until is None):
        raise ValueError("raised_amount, raised_until: one of both is missing")
    if raised_until is not None:
        check_amount("raised_amount", raised_amount)
        check_moment("raised_until", raised_until)
    return Budget(
        id=id_,
        user_id=user,
        token_id=token,
        period=Period(period),
        amount=amount,
        raised_amount=raised_amount,
        raised_until=raised_until,
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
    """Sets the budget of a user or token, or removes it (`amount` None), ends its raise, and returns its id. None: the
    user or token does not exist, or the budget does not have this `version`."""
    column, owner = ("user_id", user) if token_id is None else ("token_id", token_id)
    source = "users o WHERE o.name = %s AND o.removed_at IS NULL" if token_id is None else "tokens o WHERE o.id = %s"
    sql = f"""
        INSERT INTO budgets AS b ({column}, period, amount, created_at) SELECT o.id, %s, %s, %s FROM {source}
          AND (%s::bigint IS NULL OR EXISTS (SELECT FROM budgets e WHERE e.{column} = o.id AND e.period = %s))
        ON CONFLICT ({column}, period) WHERE {column} IS NOT NULL
        DO UPDATE SET amount = excluded.amount, raised_amount = NULL, raised_until = NULL
        WHERE %s::bigint IS NULL OR b.version = %s
        RETURNING id"""
    values = [period.value, amount, now, owner, version, period.value, version, version]
    rows = await store.fetch(sql, values)
    return int(rows[0][0]) if rows else None


async def raise_budget(
    store: AnyStore, id: int, *, plain: Decimal, amount: Decimal | None, until: datetime | None, version: int | None
) -> bool:
    """Raises a budget until a moment, or ends its raise (both None). Returns False if it has another `plain` amount, or
    does not have this `version`."""
    sql = """
        UPDATE budgets SET raised_amount = %s, raised_until = %s
        WHERE id = %s AND amount = %s AND version = coalesce(%s::bigint, version) RETURNING id"""
    return bool(await store.fetch(sql, [amount, until, id, plain, version]))
