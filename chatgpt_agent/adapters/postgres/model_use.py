"""Who uses which models, out of `usage_daily`: the ledger itself is not read."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.users import USER_NAME_SQL


class ModelUse(msgspec.Struct, frozen=True, kw_only=True):
    """The requests for a model, their cost in USD, and how many users they are of."""

    model: str
    requests: int
    cost: Decimal
    users: int


class ModelUser(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of a user for a model, their cost in USD, and with how many tokens they were sent."""

    model: str
    user: str
    requests: int
    cost: Decimal
    tokens: int


async def use_of_models(store: AnyStore, since: date) -> list[ModelUse]:
    """Returns the use of each model since a day."""
    sql = """
        SELECT d.model, sum(d.requests)::bigint, sum(d.cost), count(DISTINCT d.user_id)
        FROM usage_daily d WHERE d.day >= %s GROUP BY 1 ORDER BY 1"""
    return [_use(*row) for row in await store.fetch(sql, [since])]


def _use(model: str, requests: int, cost: Decimal, users: int) -> ModelUse:
    return ModelUse(model=model, requests=requests, cost=cost, users=users)


async def users_of_models(store: AnyStore, models: Sequence[str], since: date) -> list[ModelUser]:
    """Returns the users of each of these models since a day, by model and cost, the highest first."""
    sql = f"""
        SELECT s.model, {USER_NAME_SQL.format(id="s.user_id")}, s.requests, s.cost, s.tokens FROM (
            SELECT d.model, d.user_id, sum(d.requests)::bigint AS requests, sum(d.cost) AS cost,
                   count(DISTINCT d.token_id) AS tokens
            FROM usage_daily d WHERE d.model = ANY(%s) AND d.day >= %s GROUP BY 1, 2
        ) s LEFT JOIN users u ON u.id = s.user_id ORDER BY s.model, s.cost DESC, s.user_id"""
    rows = await store.fetch(sql, [list(models), since])
    return [
        ModelUser(model=model, user=user, requests=requests, cost=cost, tokens=tokens)
        for model, user, requests, cost, tokens in rows
    ]
