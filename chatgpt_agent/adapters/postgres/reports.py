"""Reports: sums of `usage_daily` by groups."""

import functools
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.cooperative import map_cooperatively
from chatgpt_agent.adapters.postgres.connection import SqlRow, Store
from chatgpt_agent.adapters.postgres.tokens import TOKEN_LABEL_SQL
from chatgpt_agent.adapters.postgres.users import USER_NAME_SQL
from chatgpt_agent.core.money.kinds import COUNT_COLUMNS, COUNT_TYPES, UsageCounts

# The key of each group in `usage_daily`, and its text in the result. Users and tokens are joined to the sums instead of
# the many more rows of `usage_daily`. Weeks are those of ISO 8601.
_KEYS = {
    "user": "d.user_id",
    "token": "d.token_id",
    "model": "d.model",
    "endpoint": "d.endpoint",
    "day": "d.day",
    "week": "date_trunc('week', d.day::timestamp)::date",
    "month": "date_trunc('month', d.day::timestamp)::date",
}
_TEXTS = {
    "user": USER_NAME_SQL.format(id='s."user"'),
    "token": TOKEN_LABEL_SQL.format(id='s."token"'),
    "model": 's."model"',
    "endpoint": 's."endpoint"',
    "day": """to_char(s."day", 'YYYY-MM-DD')""",
    "week": """to_char(s."week", 'IYYY-"W"IW')""",
    "month": """to_char(s."month", 'YYYY-MM')""",
}
GROUPS = tuple(_KEYS)


class Sums(UsageCounts[int], frozen=True, kw_only=True):
    """Requests, token counts, USD. `not_done`: requests in a state other than done. `uncertain_cost`: the maximum that
    requests of unknown cost may have cost; not part of `cost`."""

    requests: int
    not_done: int
    cost: Decimal
    uncertain_cost: Decimal


class UsageGroup(Sums, frozen=True, kw_only=True):
    """The sums of a group. `group` has a text for each of the requested groups; `token_id` is set if one is `token`."""

    group: tuple[str, ...]
    token_id: int | None = None


COUNTS = ("requests", "not_done", *COUNT_COLUMNS)
SUMMED = (*COUNTS, "cost", "uncertain_cost")


class UsageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which usage is selected; None: all. Both days are included, in the configured time zone."""

    since: date | None = None
    until: date | None = None
    user: str | None = None
    token_id: int | None = None
    model: str | None = None
    user_id: int | None = None

    @property
    def values(self) -> list[object]:
        """The values of the placeholders in `filter_sql`, where each one occurs twice."""
        return [value for name in self.__struct_fields__ for value in [getattr(self, name)] * 2]


def filter_sql(table: str, day: str) -> str:
    """Returns the condition of a `UsageFilter` on a table with user, token and model; `day` is the SQL of a row's
    day."""
    return f"""(%s::date IS NULL OR {day} >= %s) AND (%s::date IS NULL OR {day} <= %s)
          AND (%s::text IS NULL OR {table}.user_id = (SELECT id FROM users WHERE name = %s))
          AND (%s::bigint IS NULL OR {table}.token_id = %s) AND (%s::text IS NULL OR {table}.model = %s)
          AND (%s::bigint IS NULL OR {table}.user_id = %s)"""


async def usage_report(
    store: Store, by: Sequence[str], usage_filter: UsageFilter = UsageFilter(), *, limit: int | None = None
) -> list[UsageGroup]:
    """Returns sums by groups, ordered by them; the first `limit` ones."""
    keys = [f'{_KEYS[name]} AS "{name}"' for name in by]
    texts = [_TEXTS[name] for name in by]
    joins = {
        "user": 'LEFT JOIN users u ON u.id = s."user"',
        "token": 'LEFT JOIN tokens t ON t.id = s."token"',
    }
    order = [*texts, *(f's."{name}"' for name in by if name in joins)]  # two tokens may have the same label
    sums = [
        *(f"sum(d.{name})::{COUNT_TYPES.get(name, 'bigint')} AS {name}" for name in COUNTS),
        "sum(d.cost) AS cost",
        "sum(d.uncertain_cost) AS uncertain_cost",
    ]
    sql = f"""
        SELECT {", ".join(texts)}, {'s."token"' if "token" in by else "NULL::bigint"},
               {", ".join(f"s.{name}" for name in SUMMED)}
        FROM (
            SELECT {", ".join([*keys, *sums])} FROM usage_daily d
            WHERE {filter_sql("d", "d.day")} GROUP BY {", ".join(str(at) for at in range(1, len(by) + 1))}
        ) s {" ".join(join for name, join in joins.items() if name in by)}
        ORDER BY {", ".join(order)} LIMIT %s"""
    rows = await store.fetch(sql, [*usage_filter.values, limit])
    return await map_cooperatively(functools.partial(_usage_group, len(by)), rows)


def _usage_group(groups: int, row: SqlRow) -> UsageGroup:
    sums = dict(zip(SUMMED, row[groups + 1 :], strict=True))
    return UsageGroup(group=tuple(row[:groups]), token_id=row[groups], **sums)
