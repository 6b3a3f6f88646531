"""The tables of archived months: what is archived, and which months may be."""

import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore, SqlRow
from chatgpt_agent.adapters.postgres.settings import TIME_ZONE_SQL
from chatgpt_agent.core.archive import Archive, ArchiveSums

_COLUMNS = """month, file, sha256, bytes, time_zone, archived_at, archived_by, rows, requests, cost, uncertain_cost,
              counts::text"""


class StoredMonth(msgspec.Struct, frozen=True, kw_only=True):
    """A month whose rows are in the database: rows, their cost in USD, bytes of its table with its indexes."""

    month: date
    rows: int
    cost: Decimal
    bytes: int


async def list_archives(store: AnyStore) -> list[Archive]:
    """Returns the archived months, the oldest first."""
    return [_archive(row) for row in await store.fetch(f"SELECT {_COLUMNS} FROM archived_months ORDER BY month")]


async def archives_between(store: AnyStore, since: datetime | None, until: datetime | None) -> list[Archive]:
    """Returns the archived months that have a moment from `since` on and before `until`; None: no bound."""
    sql = f"""
        SELECT {_COLUMNS} FROM archived_months
        WHERE (%s::timestamptz IS NULL OR (month::timestamp + interval '1 month') AT TIME ZONE 'UTC' > %s)
          AND (%s::timestamptz IS NULL OR month::timestamp AT TIME ZONE 'UTC' < %s) ORDER BY month"""
    return [_archive(row) for row in await store.fetch(sql, [since, since, until, until])]


async def bounds_of_days(store: AnyStore, since: date | None, until: date | None) -> tuple[datetime | None, ...]:
    """Returns the first moment of a day and the end of another one, in the time zone of reports; None stays None."""
    sql = f"""
        SELECT %s::date::timestamp AT TIME ZONE {TIME_ZONE_SQL},
               (%s::date::timestamp + interval '1 day') AT TIME ZONE {TIME_ZONE_SQL}"""
    [row] = await store.fetch(sql, [since, until])
    return row


async def stored_months(store: AnyStore, before: date) -> list[StoredMonth]:
    """Returns the months before this one whose rows are in the database, the oldest first."""
    sql = """
        SELECT to_date(substring(c.relname FROM 'usage_(.*)'), 'YYYY_MM'), c.relname::text,
               pg_total_relation_size(c.oid)
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'usage'::regclass AND c.relname ~ '^usage_[0-9]{4}_[0-9]{2}$' ORDER BY 1"""
    months = []
    for month, name, size in await store.fetch(sql):
        if month < before:
            [(rows, cost)] = await store.fetch(f"SELECT count(*), coalesce(sum(cost), 0) FROM {name}")
            months.append(StoredMonth(month=month, rows=rows, cost=cost, bytes=size))
    return [month for month in months if month.rows]


async def agents_with_rows_before(store: AnyStore, moment: datetime) -> Sequence[str]:
    """Returns the ids of agents whose outbox has rows to ship that began before a moment, as far as they reported."""
    sql = "SELECT id::text FROM agents WHERE backlog > 0 AND oldest_at < %s ORDER BY id"
    return [str(id_) for (id_,) in await store.fetch(sql, [moment])]


def _archive(row: SqlRow) -> Archive:
    month, file, sha256, size, time_zone, archived_at, archived_by, *sums, counts = row
    rows, requests, cost, uncertain_cost = sums
    return Archive(
        month=month,
        file=file,
        sha256=sha256,
        bytes=size,
        time_zone=time_zone,
        archived_at=archived_at,
        archived_by=archived_by,
        sums=ArchiveSums(
            rows=rows,
            requests=requests,
            cost=cost,
            uncertain_cost=uncertain_cost,
            counts={name: Decimal(count) for name, count in json.loads(counts).items()},
        ),
    )
