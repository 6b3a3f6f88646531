"""The table `admin_sessions`: browsers that are signed in to the console. Its trigger ends all sessions of an admin
whose password, role or revocation changes."""

from datetime import datetime, timedelta

from chatgpt_agent.adapters.postgres.admins import AdminRow, admin_columns, admin_row
from chatgpt_agent.adapters.postgres.connection import AnyStore

IDLE = timedelta(minutes=30)  # without a request a session ends
LONGEST = timedelta(hours=12)  # a session ends, whatever is done in it
TOUCH = timedelta(minutes=1)  # between two writes of the last use

_HOLDS = "(s.created_at > %s AND s.last_used_at > %s)"


async def add_session(
    store: AnyStore, *, digest: bytes, admin_id: int, password_hash: str | None, now: datetime
) -> bool:
    """Adds a session of an admin who is not revoked and has the password that was just checked; False otherwise. The
    lock on the admin's row lets a change of the password come before it, or after it and end it."""
    sql = """
        INSERT INTO admin_sessions (digest, admin_id, created_at, last_used_at)
        SELECT %s, id, %s, %s FROM admins
        WHERE id = %s AND revoked_at IS NULL AND password_hash IS NOT DISTINCT FROM %s FOR SHARE
        RETURNING admin_id"""
    return bool(await store.fetch(sql, [digest, now, now, admin_id, password_hash]))


async def find_session(store: AnyStore, digest: bytes, now: datetime) -> AdminRow | None:
    """Returns the admin of a session that is not over and not revoked, and notes that it was used."""
    sql = f"""
        WITH touched AS (
            UPDATE admin_sessions s SET last_used_at = %s WHERE s.digest = %s AND {_HOLDS} AND s.last_used_at <= %s
        )
        SELECT {admin_columns("a")} FROM admin_sessions s JOIN admins a ON a.id = s.admin_id
        WHERE s.digest = %s AND {_HOLDS} AND a.revoked_at IS NULL"""
    limits = _limits(now)
    rows = await store.fetch(sql, [now, digest, *limits, now - TOUCH, digest, *limits])
    return admin_row(rows[0]) if rows else None


async def delete_session(store: AnyStore, digest: bytes) -> None:
    """Ends a session."""
    await store.fetch("DELETE FROM admin_sessions WHERE digest = %s", [digest])


async def delete_ended_sessions(store: AnyStore, now: datetime) -> None:
    """Deletes the sessions that are over, except those that another statement deletes at this moment."""
    sql = f"""
        DELETE FROM admin_sessions WHERE digest IN (
            SELECT digest FROM admin_sessions s WHERE NOT {_HOLDS} FOR UPDATE SKIP LOCKED)"""
    await store.fetch(sql, _limits(now))


def _limits(now: datetime) -> list[datetime]:
    """Returns the parameters of _HOLDS."""
    return [now - LONGEST, now - IDLE]
