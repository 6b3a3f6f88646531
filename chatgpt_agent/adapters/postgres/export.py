"""The export: every row of `usage` that a filter selects, in pages."""

from datetime import date
from uuid import UUID

from chatgpt_agent.adapters.postgres.connection import SqlRow, Store
from chatgpt_agent.adapters.postgres.reports import UsageFilter, filter_sql
from chatgpt_agent.adapters.postgres.settings import DAY_SQL
from chatgpt_agent.adapters.postgres.surcharges import SURCHARGES_SQL
from chatgpt_agent.adapters.postgres.tokens import TOKEN_LABEL_SQL
from chatgpt_agent.adapters.postgres.usage import IMAGE_MODEL_SQL, known_count
from chatgpt_agent.adapters.postgres.users import USER_NAME_SQL
from chatgpt_agent.core.money.kinds import FORMER_COLUMNS, LATER_COLUMNS

_COLUMNS = {
    "request_id": "r.request_id::text",
    "started_at": """to_char(r.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
    "day": f"to_char({DAY_SQL}, 'YYYY-MM-DD')",
    "user": USER_NAME_SQL.format(id="r.user_id"),
    "token_id": "r.token_id",
    "token": TOKEN_LABEL_SQL.format(id="r.token_id"),
    "endpoint": "r.endpoint",
    "model": "r.model",
    "served_model": "r.served_model",
    "service_tier": "r.service_tier",
    "state": "r.state",
    "status": "r.status",
    **{name: f"r.{name}" for name in FORMER_COLUMNS},
    "cost": "r.cost",
    "uncertain_cost": "r.uncertain_cost",
    "upstream_id": "r.upstream_id",
    "corrects": "r.corrects::text",
    "reason": "r.reason",
    # After the columns of former versions, so that these keep their places.
    **{name: known_count(name, "r") for name in LATER_COLUMNS},
    "uncertain_reason": "r.uncertain_reason",
    "image_model": IMAGE_MODEL_SQL,
    "surcharges": f"nullif({SURCHARGES_SQL}, '{{}}')",
}
EXPORT_COLUMNS = tuple(_COLUMNS)


async def export_months(store: Store, usage_filter: UsageFilter) -> list[tuple[date, int]]:
    """Returns the months (UTC) that may have rows, each with an estimate of their number."""
    daily = f"usage_daily d WHERE {filter_sql('d', 'd.day')}"
    sql = f"""
        SELECT month::date, sum(requests)::bigint FROM (
            SELECT date_trunc('month', d.day::timestamp) AS month, d.requests FROM {daily}
            UNION ALL  -- the first and last day of a month in the time zone may be in another month of UTC
            SELECT date_trunc('month', d.day::timestamp + shift), 0
            FROM (VALUES (interval '-1 day'), (interval '1 day')) s(shift), {daily}
        ) months GROUP BY 1 ORDER BY 1"""
    return [(month, int(count)) for month, count in await store.fetch(sql, usage_filter.values * 2)]


async def export_page(
    store: Store, usage_filter: UsageFilter, month: date, *, after: UUID | None = None, limit: int
) -> list[SqlRow]:
    """Returns the next rows of a month (UTC) by request id, with the columns of `EXPORT_COLUMNS`. Request ids are
    ordered by time, and the primary key gives the next ones without a sort."""
    sql = f"""
        SELECT {", ".join(_COLUMNS.values())}
        FROM (
            SELECT * FROM usage r
            WHERE r.started_at >= %s::timestamp AT TIME ZONE 'UTC'
              AND r.started_at < (%s::timestamp + interval '1 month') AT TIME ZONE 'UTC'
              AND (%s::uuid IS NULL OR r.request_id > %s::uuid)
              AND {filter_sql("r", DAY_SQL)}
            ORDER BY r.request_id LIMIT %s
        ) r LEFT JOIN users u ON u.id = r.user_id LEFT JOIN tokens t ON t.id = r.token_id
        ORDER BY r.request_id"""
    last = None if after is None else str(after)
    return await store.fetch(sql, [month, month, last, last, *usage_filter.values, limit])
