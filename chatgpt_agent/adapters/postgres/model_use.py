"""Who uses which models, out of daily sums: the ledger itself is not read."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.users import USER_NAME_SQL


class ModelUse(msgspec.Struct, frozen=True, kw_only=True):
    """The requests for a model, and their cost in USD."""

    model: str
    requests: int
    cost: Decimal


class ModelUser(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of a user, their cost in USD, and with how many tokens they were sent."""

    user: str
    requests: int
    cost: Decimal
    tokens: int


class ModelUsers(msgspec.Struct, frozen=True, kw_only=True):
    """How many users have sent these requests, with how many tokens, and those with the highest cost."""

    users: int
    tokens: int
    requests: int
    cost: Decimal
    top: list[ModelUser]


async def use_of_models(store: AnyStore, since: date) -> list[ModelUse]:
    """Returns the use of each model since a day."""
    sql = "SELECT model, sum(requests)::bigint, sum(cost) FROM usage_by_model WHERE day >= %s GROUP BY 1 ORDER BY 1"
    rows = await store.fetch(sql, [since])
    return [ModelUse(model=model, requests=requests, cost=cost) for model, requests, cost in rows]


async def users_of_models(
    store: AnyStore, models: Sequence[str], since: date, *, limit: int, together: bool = False
) -> dict[str, ModelUsers]:
    """Returns the users of each of these models since a day, by model, or of all of them `together`, under an empty
    name; at most `limit` users by name."""
    group = "''::text" if together else "model"
    sql = f"""
        WITH by_token AS (
            SELECT {group} AS model, user_id, token_id, sum(requests) AS requests, sum(cost) AS cost
            FROM usage_daily WHERE model = ANY(%s) AND day >= %s GROUP BY 1, 2, 3
        ), by_user AS (
            SELECT model, user_id, sum(requests) AS requests, sum(cost) AS cost, count(*) AS tokens
            FROM by_token GROUP BY 1, 2
        ), ranked AS (
            SELECT *, row_number() OVER (PARTITION BY model ORDER BY cost DESC, user_id) AS place,
                   count(*) OVER m AS all_users, sum(tokens) OVER m AS all_tokens,
                   sum(requests) OVER m AS all_requests, sum(cost) OVER m AS all_cost
            FROM by_user WINDOW m AS (PARTITION BY model)
        )
        SELECT r.model, all_users, all_tokens::bigint, all_requests::bigint, all_cost,
               {USER_NAME_SQL.format(id="r.user_id")}, r.requests::bigint, r.cost, r.tokens
        FROM ranked r LEFT JOIN users u ON u.id = r.user_id WHERE place <= %s ORDER BY r.model, place"""
    by_model: dict[str, ModelUsers] = {}
    for model, users, tokens, requests, cost, *user in await store.fetch(sql, [list(models), since, limit]):
        none = ModelUsers(users=users, tokens=tokens, requests=requests, cost=cost, top=[])
        by_model.setdefault(model, none).top.append(_user(*user))
    return by_model


def _user(user: str, requests: int, cost: Decimal, tokens: int) -> ModelUser:
    return ModelUser(user=user, requests=requests, cost=cost, tokens=tokens)
