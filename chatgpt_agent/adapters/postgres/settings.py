"""The table `settings`: the time zone of reports and budgets, and the check value of the master key."""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from chatgpt_agent.adapters.config_checks import is_time_zone
from chatgpt_agent.adapters.keyring import KeyState
from chatgpt_agent.adapters.postgres.agents import ALIVE_SQL
from chatgpt_agent.adapters.postgres.connection import AnyStore, Store
from chatgpt_agent.core.errors import StoreRejected

TIME_ZONE_SQL = "coalesce((SELECT value FROM settings WHERE name = 'time_zone'), 'UTC')"
KEY_STATE_SQL = ", ".join(
    f"(SELECT value FROM settings WHERE name = '{name}')" for name in ("master_key_check", "digest_secrets")
)
DAY_SQL = f"(started_at AT TIME ZONE {TIME_ZONE_SQL})::date"  # the day of a row of usage


async def read_time_zone(store: AnyStore) -> str:
    """Returns the name of the time zone whose days `usage_daily` sums up."""
    [(zone,)] = await store.fetch(f"SELECT {TIME_ZONE_SQL}")
    return str(zone)


async def read_zone(store: AnyStore) -> ZoneInfo:
    """Returns the time zone whose days `usage_daily` sums up. Raises StoreRejected if no zone has its name."""
    name = await read_time_zone(store)
    if not is_time_zone(name):
        raise StoreRejected(f"the time zone {name[:40]!r} in the table settings does not exist")
    return ZoneInfo(name)


async def set_time_zone(store: Store, zone: str) -> None:
    """Sets the time zone and rebuilds `usage_daily`, in one transaction. Rows that are shipped meanwhile wait for it:
    their statement locks `usage_daily` before it reads the time zone."""
    await store.fetch(
        """
        INSERT INTO settings VALUES ('time_zone', %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
        SELECT rebuild_usage_daily();
        SELECT rebuild_usage_by_model();
        SELECT rebuild_usage_latency();
        UPDATE directory_version SET version = version + 1;
        SELECT pg_notify('chatgpt_agent', 'time_zone')""",
        [zone],
    )


async def utc_offsets(store: Store, zone: str, moments: Sequence[datetime]) -> list[int]:
    """Returns the offsets of a time zone from UTC at these moments, in seconds, as PostgreSQL computes them."""
    sql = """
        SELECT extract(epoch FROM (m AT TIME ZONE %s) - (m AT TIME ZONE 'UTC'))::bigint
        FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS moments(m, position) ORDER BY position"""
    return [int(seconds) for (seconds,) in await store.fetch(sql, [zone, list(moments)])]


async def is_abbreviation(store: Store, zone: str) -> bool:
    """Returns whether PostgreSQL reads a name as an abbreviation, which has no daylight saving time."""
    return bool(await store.fetch("SELECT 1 FROM pg_timezone_abbrevs WHERE abbrev = upper(%s)", [zone]))


async def master_key_check(store: AnyStore, value: str | None = None) -> str | None:
    """Returns the stored check value of the master key. If there is none yet, `value` is stored first."""
    if value is not None:
        sql = "INSERT INTO settings VALUES ('master_key_check', %s) ON CONFLICT (name) DO NOTHING"
        await store.fetch(sql, [value])
    rows = await store.fetch("SELECT value FROM settings WHERE name = 'master_key_check'")
    return str(rows[0][0]) if rows else None


async def read_key_state(store: AnyStore) -> KeyState | None:
    """Returns which master key encrypts; None: there is none yet."""
    [(check_value, digest_secrets)] = await store.fetch(f"SELECT {KEY_STATE_SQL}")
    return None if check_value is None else KeyState(check_value, digest_secrets)


async def change_key(store: AnyStore, before: KeyState, after: KeyState) -> bool:
    """Lets another master key encrypt from now on, in one transaction; all sessions of the console end. Agents are
    notified. False: the key is another one than `before` already, or an agent that is alive does not have it."""
    sql = f"""
        WITH changed AS (
            UPDATE settings SET value = %s
            WHERE name = 'master_key_check' AND value = %s
              AND NOT EXISTS (SELECT FROM agents a WHERE {ALIVE_SQL} AND NOT %s = ANY(a.master_keys))
            RETURNING name
        ), secrets AS (
            INSERT INTO settings SELECT 'digest_secrets', %s FROM changed
            ON CONFLICT (name) DO UPDATE SET value = excluded.value
        ), sessions AS (
            DELETE FROM admin_sessions WHERE EXISTS (SELECT FROM changed)
        ), announced AS (
            UPDATE directory_version SET version = version + 1 WHERE EXISTS (SELECT FROM changed)
        )
        SELECT name, pg_notify('chatgpt_agent', 'master_key') FROM changed"""
    values = [after.check_value, before.check_value, after.key_id, after.digest_secrets]
    return bool(await store.fetch(sql, values))


async def announce_key(store: AnyStore) -> None:
    """Lets agents read their key files again, and report which keys they have."""
    await store.fetch(
        "UPDATE directory_version SET version = version + 1; SELECT pg_notify('chatgpt_agent', 'master_key')"
    )
