"""Users in a list to look through: each with what the month has cost so far, the month's budget, and the last use."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

from chatgpt_agent.adapters.postgres.budgets import budget_from
from chatgpt_agent.adapters.postgres.connection import AnyStore, SqlRow
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import ZERO


class UserState(StrEnum):
    """Whether a user may send requests."""

    ACTIVE = "active"
    DISABLED = "disabled"
    REMOVED = "removed"


class UserOrder(StrEnum):
    """What a list of users is sorted by: names in alphabetical order, figures and times with the largest first."""

    NAME = "name"
    COST = "cost"
    LAST_USED = "last_used"
    CREATED = "created"


class UserFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which users are listed: with this text in their names, in any case, and in this state. None: all."""

    search: str | None = None
    state: UserState | None = None


class ListedUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user in such a list. `tokens`: the active ones; `last_used_at`: when one of the user's tokens was used last;
    `requests`, `cost`, `uncertain_cost` (USD): of the month; `budget`: the USD that the user may spend in the month as
    of now, None without such a budget."""

    id: int
    name: str
    comment: str
    created_at: datetime
    disabled_at: datetime | None
    removed_at: datetime | None
    tokens: int
    last_used_at: datetime | None
    requests: int
    cost: Decimal
    uncertain_cost: Decimal
    budget: Decimal | None
    version: int

    @property
    def state(self) -> UserState:
        """Whether the user may send requests."""
        if self.removed_at is not None:
            return UserState.REMOVED
        return UserState.ACTIVE if self.disabled_at is None else UserState.DISABLED


class UserList(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the list, and how many users match in all."""

    users: list[ListedUser]
    total: int


_STATES = {
    UserState.ACTIVE: "u.removed_at IS NULL AND u.disabled_at IS NULL",
    UserState.DISABLED: "u.removed_at IS NULL AND u.disabled_at IS NOT NULL",
    UserState.REMOVED: "u.removed_at IS NOT NULL",
}
# Names are unique: a position in the list is, too. The database's own order may have Z before a.
_BY_NAME = "lower(u.name), u.name"
_ORDERS = {
    UserOrder.NAME: _BY_NAME,
    UserOrder.COST: f"coalesce(s.cost, 0) DESC, {_BY_NAME}",
    UserOrder.LAST_USED: f"t.last_used_at DESC NULLS LAST, {_BY_NAME}",
    UserOrder.CREATED: f"u.created_at DESC, {_BY_NAME}",
}
_COSTS = """LEFT JOIN (
        SELECT user_id, sum(cost) AS cost FROM usage_daily WHERE day BETWEEN %s AND %s GROUP BY user_id
    ) s ON s.user_id = u.id"""


async def list_user_figures(
    store: AnyStore,
    matching: UserFilter,
    order: UserOrder,
    *,
    month: tuple[date, date],
    now: datetime,
    limit: int,
    offset: int = 0,
) -> UserList:
    """Returns at most `limit` users after the first `offset` ones, with the figures of these days."""
    condition, values = _condition(matching)
    by_cost = order is UserOrder.COST
    # Only the order by cost reads the days of all users; those of the users on the page are found by an index.
    sql = f"""
        WITH page AS MATERIALIZED (
            SELECT u.*, coalesce(t.tokens, 0) AS tokens, t.last_used_at,
                   row_number() OVER (ORDER BY {_ORDERS[order]}) AS position
            FROM users u LEFT JOIN (
                SELECT t.user_id, max(x.last_used_at) AS last_used_at,
                       count(*) FILTER (WHERE t.revoked_at IS NULL AND coalesce(t.expires_at > %s, true)) AS tokens
                FROM tokens t LEFT JOIN token_uses x ON x.token_id = t.id GROUP BY t.user_id
            ) t ON t.user_id = u.id {_COSTS if by_cost else ""}
            WHERE {condition} ORDER BY position LIMIT %s OFFSET %s
        ), sums AS (
            SELECT user_id, sum(requests)::bigint AS requests, sum(cost) AS cost, sum(uncertain_cost) AS uncertain_cost
            FROM usage_daily WHERE user_id = ANY(ARRAY(SELECT id FROM page)) AND day BETWEEN %s AND %s GROUP BY user_id
        )
        SELECT n.total, b.id, b.user_id, b.token_id, b.period, b.amount, b.raised_amount, b.raised_until,
               p.id, p.name, p.comment, p.created_at, p.disabled_at, p.removed_at, p.tokens, p.last_used_at,
               coalesce(s.requests, 0), coalesce(s.cost, 0), coalesce(s.uncertain_cost, 0), p.version
        FROM (SELECT count(*) AS total FROM users u WHERE {condition}) n LEFT JOIN page p ON true
             LEFT JOIN sums s ON s.user_id = p.id
             LEFT JOIN budgets b ON b.user_id = p.id AND b.period = '{Period.MONTH}' AND b.amount IS NOT NULL
        ORDER BY p.position"""
    parameters = [now, *(month if by_cost else ()), *values, limit, offset, *month, *values]
    rows = await store.fetch(sql, parameters)
    return UserList(users=[_listed(row, now) for row in rows if row[8] is not None], total=rows[0][0])


def _condition(matching: UserFilter) -> tuple[str, Sequence[object]]:
    parts, values = ["true"], []
    if matching.search is not None:
        parts.append("strpos(lower(u.name), lower(%s)) > 0")
        values.append(matching.search)
    if matching.state is not None:
        parts.append(_STATES[matching.state])
    return " AND ".join(parts), values


def _listed(row: SqlRow, now: datetime) -> ListedUser:
    names = [name for name in ListedUser.__struct_fields__ if name != "budget"]
    return ListedUser(**dict(zip(names, row[8:], strict=True)), budget=_amount(row[1:8], now))


def _amount(row: SqlRow, now: datetime) -> Decimal | None:
    """The amount in force; 0 for a budget that cannot be read, as agents have it."""
    if row[0] is None:
        return None
    try:
        return budget_from(row).amount_at(now)
    except (ValueError, InvalidValue):
        return ZERO
