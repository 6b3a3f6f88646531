"""What was used and what it cost: sums from the roll-up, single rows from the ledger."""

import functools
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.cooperative import map_cooperatively
from chatgpt_agent.adapters.postgres.connection import Line, Store
from chatgpt_agent.adapters.postgres.usage import DAY
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.money.kinds import TOKEN_COLUMNS, TokenCounts

# What a report can be grouped by: what the roll-up is added up by, and how it is shown. Names are joined to the sums
# and not to the lines of the roll-up, of which there are many more. Weeks are those of ISO 8601.
_KEYS = {
    "user": "d.user_id",
    "token": "d.token_id",
    "model": "d.model",
    "endpoint": "d.endpoint",
    "day": "d.day",
    "week": "date_trunc('week', d.day::timestamp)::date",
    "month": "date_trunc('month', d.day::timestamp)::date",
}
NAME = "coalesce(u.name, 'user ' || {id})"
LABEL = """CASE WHEN {id} = 0 THEN '(none)' WHEN t.id IS NULL THEN 'token ' || {id}
                 WHEN t.token_prefix = '' THEN coalesce(nullif(t.label, ''), 'token ' || {id})
                 WHEN t.label = '' THEN t.token_prefix || '…' ELSE t.label || ' (' || t.token_prefix || '…)' END"""
_SHOWN = {
    "user": NAME.format(id='s."user"'),
    "token": LABEL.format(id='s."token"'),
    "model": 's."model"',
    "endpoint": 's."endpoint"',
    "day": 's."day"::text',
    "week": """to_char(s."week", 'IYYY-"W"IW')""",
    "month": """to_char(s."month", 'YYYY-MM')""",
}
GROUPS = tuple(_KEYS)


class Sums(TokenCounts[int], frozen=True, kw_only=True):
    """Requests, token counts, USD. `not_done`: requests in a state other than done. `uncertain_cost`: the maximum that
    requests of unknown cost may have cost; not part of `cost`."""

    requests: int
    not_done: int
    cost: Decimal
    uncertain_cost: Decimal


class UsageLine(Sums, frozen=True, kw_only=True):
    """The sums of one group; `group` has a text for each thing that was grouped by. `token_id`: where that is one."""

    group: tuple[str, ...]
    token_id: int | None = None


COUNTS = ("requests", "not_done", *TOKEN_COLUMNS)
SUMMED = (*COUNTS, "cost", "uncertain_cost")


def _where(table: str, day: str) -> str:
    """What a `Choice` asks for, as a condition on a table whose rows are of this day."""
    return f"""(%s::date IS NULL OR {day} >= %s) AND (%s::date IS NULL OR {day} <= %s)
          AND (%s::text IS NULL OR {table}.user_id = (SELECT id FROM users WHERE name = %s))
          AND (%s::bigint IS NULL OR {table}.token_id = %s) AND (%s::text IS NULL OR {table}.model = %s)
          AND (%s::bigint IS NULL OR {table}.user_id = %s)"""


_ROLLED = _where("d", "d.day")


class UsageFilter(msgspec.Struct, frozen=True):
    """Which part of the books is asked for; None: all. Both days are included, in the books' time zone."""

    since: date | None = None
    until: date | None = None
    user: str | None = None
    token_id: int | None = None
    model: str | None = None
    user_id: int | None = None

    @property
    def values(self) -> list[object]:
        """For the placeholders of a WHERE, which has each of them twice."""
        return [value for name in self.__struct_fields__ for value in [getattr(self, name)] * 2]


async def usage_report(
    store: Store, by: Sequence[str], choice: UsageFilter = UsageFilter(), *, limit: int | None = None
) -> list[UsageLine]:
    """Sums by the named groups, in their order; the first ones, where there is a limit."""
    keys = [f'{_KEYS[name]} AS "{name}"' for name in by]
    shown = [_SHOWN[name] for name in by]
    joins = {
        "user": 'LEFT JOIN users u ON u.id = s."user"',
        "token": 'LEFT JOIN tokens t ON t.id = s."token"',
    }
    order = [*shown, *(f's."{name}"' for name in by if name in joins)]  # two tokens may have one label
    sums = [
        *(f"sum(d.{name})::bigint AS {name}" for name in COUNTS),
        "sum(d.cost) AS cost",
        "sum(d.uncertain_cost) AS uncertain_cost",
    ]
    sql = f"""
        SELECT {", ".join(shown)}, {'s."token"' if "token" in by else "NULL::bigint"},
               {", ".join(f"s.{name}" for name in SUMMED)}
        FROM (
            SELECT {", ".join([*keys, *sums])} FROM usage_daily d
            WHERE {_ROLLED} GROUP BY {", ".join(str(at) for at in range(1, len(by) + 1))}
        ) s {" ".join(join for name, join in joins.items() if name in by)}
        ORDER BY {", ".join(order)} LIMIT %s"""
    lines = await store.fetch(sql, [*choice.values, limit])
    return await map_cooperatively(functools.partial(_line, len(by)), lines)


def _line(groups: int, line: Line) -> UsageLine:
    sums = dict(zip(SUMMED, line[groups + 1 :], strict=True))
    return UsageLine(group=tuple(line[:groups]), token_id=line[groups], **sums)


async def find_user(store: Store, name: str) -> int | None:
    """The id of a user, also of one who was removed."""
    found = await store.fetch("SELECT id FROM users WHERE name = %s", [name])
    return int(found[0][0]) if found else None


async def has_token(store: Store, id: int) -> bool:
    """Whether there is, or was, such a token."""
    return bool(await store.fetch("SELECT 1 FROM tokens WHERE id = %s", [id]))


# Single rows.

_EXPORTED = {
    "request_id": "r.request_id::text",
    "started_at": """to_char(r.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
    "day": f"{DAY}::text",
    "user": NAME.format(id="r.user_id"),
    "token_id": "r.token_id",
    "token": LABEL.format(id="r.token_id"),
    "endpoint": "r.endpoint",
    "model": "r.model",
    "served_model": "r.served_model",
    "service_tier": "r.service_tier",
    "state": "r.state",
    "status": "r.status",
    **{name: f"r.{name}" for name in TOKEN_COLUMNS},
    "cost_usd": "r.cost",
    "uncertain_cost_usd": "r.uncertain_cost",
    "upstream_id": "r.upstream_id",
    "corrects": "r.corrects::text",
    "reason": "r.reason",
}
EXPORTED = tuple(_EXPORTED)


async def exported_months(store: Store, choice: UsageFilter) -> list[tuple[date, int]]:
    """The months (of UTC) that rows of a choice may be in, and about how many are."""
    sql = f"""
        SELECT month::date, sum(requests)::bigint FROM (
            SELECT date_trunc('month', d.day::timestamp) AS month, d.requests FROM usage_daily d WHERE {_ROLLED}
            UNION ALL  -- near its ends, a month of the books has days of its neighbours in UTC
            SELECT date_trunc('month', d.day::timestamp + near), 0
            FROM usage_daily d, (VALUES (interval '-1 day'), (interval '1 day')) n(near) WHERE {_ROLLED}
        ) found GROUP BY 1 ORDER BY 1"""
    return [(month, int(count)) for month, count in await store.fetch(sql, [*choice.values, *choice.values])]


async def export_page(
    store: Store, choice: UsageFilter, month: date, *, after: UUID | None = None, limit: int
) -> list[Line]:
    """The next rows of a month (of UTC) by their ids, in the columns of `EXPORTED`. Ids of requests sort by time, and
    the primary key finds the next ones without sorting."""
    sql = f"""
        SELECT {", ".join(_EXPORTED.values())}
        FROM usage r LEFT JOIN users u ON u.id = r.user_id LEFT JOIN tokens t ON t.id = r.token_id
        WHERE r.started_at >= %s::timestamp AT TIME ZONE 'UTC'
          AND r.started_at < (%s::timestamp + interval '1 month') AT TIME ZONE 'UTC'
          AND (%s::uuid IS NULL OR r.request_id > %s::uuid)
          AND {_where("r", DAY)}
        ORDER BY r.request_id LIMIT %s"""
    last = None if after is None else str(after)
    return await store.fetch(sql, [month, month, last, last, *choice.values, limit])


# What a token's holder sees.


class TokenFacts(msgspec.Struct, frozen=True):
    """What a token's holder may know of it, beside what the directory knows."""

    label: str
    token_prefix: str
    created_at: datetime
    allowed_networks: list[str] | None


async def token_facts(store: Store, id: int) -> TokenFacts | None:
    """Label, first characters and date of a token."""
    found = await store.fetch(
        "SELECT label, token_prefix, created_at, allowed_networks FROM tokens WHERE id = %s", [id]
    )
    return TokenFacts(*found[0]) if found else None


async def rows_since(store: Store, token_id: int, since: datetime, *, limit: int) -> str:
    """The newest rows of a token with known tokens, the oldest first, as the original program's JSON; corrections are
    in the rows that they correct. PostgreSQL writes it, because it would hold other requests up here."""
    sql = f"""
        SELECT coalesce(json_agg(json_build_object(
            'remote_id', remote_id, 'model', model, 'total_token', total, 'price', price, 'timestamp', seconds
        ) ORDER BY started_at), '[]')::text
        FROM (
            SELECT coalesce(u.upstream_id, u.request_id::text) AS remote_id, coalesce(u.served_model, u.model) AS model,
                   coalesce(u.input_tokens, 0) + coalesce(u.output_tokens, 0)
                   + coalesce(c.input_tokens, 0) + coalesce(c.output_tokens, 0) AS total,
                   trim_scale(u.cost + coalesce(c.cost, 0)) AS price,
                   floor(extract(epoch FROM u.started_at))::bigint AS seconds, u.started_at
            FROM usage u LEFT JOIN usage c ON c.corrects = u.request_id AND c.started_at = u.started_at
                AND c.user_id = u.user_id AND c.state = '{State.CORRECTION}'
            WHERE u.token_id = %s AND u.started_at >= %s AND u.state <> '{State.CORRECTION}'
              AND (u.input_tokens IS NOT NULL OR c.input_tokens IS NOT NULL)
            ORDER BY u.started_at DESC LIMIT %s
        ) newest"""
    [(text,)] = await store.fetch(sql, [token_id, since, limit])
    return str(text)


# The calendar.


async def read_time_zone(store: Store) -> str:
    """The name of the time zone whose days the roll-up counts."""
    [(zone,)] = await store.fetch("SELECT value FROM settings WHERE name = 'time_zone'")
    return str(zone)


async def offsets(store: Store, zone: str, moments: Sequence[datetime]) -> list[int]:
    """How many seconds the clocks of a zone are ahead of UTC at these moments, as PostgreSQL knows it."""
    sql = """
        SELECT extract(epoch FROM (m AT TIME ZONE %s) - (m AT TIME ZONE 'UTC'))::bigint
        FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS given(m, at) ORDER BY at"""
    return [int(seconds) for (seconds,) in await store.fetch(sql, [zone, list(moments)])]


async def is_abbreviation(store: Store, zone: str) -> bool:
    """Whether PostgreSQL takes a name for an abbreviation, which has no summer time."""
    return bool(await store.fetch("SELECT 1 FROM pg_timezone_abbrevs WHERE abbrev = upper(%s)", [zone]))


async def set_time_zone(store: Store, zone: str) -> None:
    """Makes all days those of another zone, in one transaction. Rows that are shipped meanwhile wait for it: their
    statement needs the roll-up before it reads which zone it is."""
    await store.fetch(
        """
        UPDATE settings SET value = %s WHERE name = 'time_zone';
        SELECT rebuild_usage_daily();
        UPDATE directory_version SET version = version + 1;
        SELECT pg_notify('chatgpt_agent', 'time_zone')""",
        [zone],
    )
