"""Figures for a glance, out of sums: the ledger itself is not read, except for a few rows by an index."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.users import USER_NAME_SQL
from chatgpt_agent.core.ledger import State

_SUMS = """sum(d.requests)::bigint, sum(d.not_done)::bigint, sum(d.input_tokens + d.output_tokens)::bigint,
           sum(d.cost) AS cost, sum(d.uncertain_cost)"""


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """Sums: requests, those of them in a state other than done, input and output tokens, USD."""

    requests: int = 0
    not_done: int = 0
    tokens: int = 0
    cost: Decimal = Decimal(0)
    uncertain_cost: Decimal = Decimal(0)


class ModelDay(Spend, frozen=True, kw_only=True):
    """The sums of a day and model."""

    day: date
    model: str


class UserSpend(Spend, frozen=True, kw_only=True):
    """The sums of a user."""

    user_id: int
    user: str


class RefusedKey(msgspec.Struct, frozen=True):
    """A user whose OpenAI key OpenAI refused last, at this time."""

    user: str
    at: datetime


async def spend_by_model(store: Store, since: date, until: date) -> list[ModelDay]:
    """Returns the sums of each day and model; both days are included."""
    names = ("day", "model", *Spend.__struct_fields__)
    sql = f"SELECT {', '.join(names)} FROM usage_by_model WHERE day BETWEEN %s AND %s ORDER BY 1, 2"
    return [ModelDay(**dict(zip(names, row, strict=True))) for row in await store.fetch(sql, [since, until])]


async def top_users(store: Store, since: date, until: date, limit: int) -> list[UserSpend]:
    """Returns the sums of the users with the highest cost on these days, the highest first."""
    sql = f"""
        SELECT s.*, {USER_NAME_SQL.format(id="s.user_id")} FROM (
            SELECT d.user_id, {_SUMS} FROM usage_daily d WHERE d.day BETWEEN %s AND %s
            GROUP BY 1 ORDER BY sum(d.cost) DESC, 1 LIMIT %s
        ) s LEFT JOIN users u ON u.id = s.user_id ORDER BY s.cost DESC, s.user_id"""
    names = ("user_id", *Spend.__struct_fields__, "user")
    rows = await store.fetch(sql, [since, until, limit])
    return [UserSpend(**dict(zip(names, row, strict=True))) for row in rows]


async def cost_by_user(store: Store, users: Sequence[int], since: date, until: date) -> list[tuple[date, int, Decimal]]:
    """Returns the cost of each day of these users, in USD."""
    sql = """
        SELECT day, user_id, sum(cost) FROM usage_daily
        WHERE user_id = ANY(%s) AND day BETWEEN %s AND %s GROUP BY 1, 2"""
    return [(day, int(user), cost) for day, user, cost in await store.fetch(sql, [list(users), since, until])]


async def latencies(store: Store, since: date, until: date) -> list[tuple[date, str, int, int]]:
    """Returns the requests of each day by measure (`duration`, `first_byte`) and bucket."""
    sql = """
        SELECT day, measure, bucket, sum(requests)::bigint FROM usage_latency
        WHERE day BETWEEN %s AND %s GROUP BY 1, 2, 3"""
    rows = await store.fetch(sql, [since, until])
    return [(day, str(measure), int(bucket), int(requests)) for day, measure, bucket, requests in rows]


async def users_of_models(store: Store, models: Sequence[str], since: date) -> dict[str, int]:
    """Returns how many users have used each of these models since a day."""
    sql = "SELECT model, count(DISTINCT user_id) FROM usage_daily WHERE model = ANY(%s) AND day >= %s GROUP BY 1"
    return {str(model): int(count) for model, count in await store.fetch(sql, [list(models), since])}


async def refused_keys(store: Store, since: datetime) -> list[RefusedKey]:
    """Returns the users with a key that OpenAI has refused since a time, and that has not worked after that."""
    sql = f"""
        SELECT u.name, r.at FROM (
            SELECT user_id, max(started_at) AS at FROM usage
            WHERE status IN (401, 403) AND started_at >= %s GROUP BY user_id
        ) r JOIN users u ON u.id = r.user_id
        WHERE u.removed_at IS NULL AND NOT EXISTS (
            SELECT FROM usage s WHERE s.user_id = r.user_id AND s.started_at > r.at AND s.state = '{State.DONE}')
        ORDER BY r.at DESC"""
    return [RefusedKey(name, at) for name, at in await store.fetch(sql, [since])]
