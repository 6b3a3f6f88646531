"""Administrators and the digests of their tokens."""

from datetime import datetime

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore, AuditedStore


class AdminRow(msgspec.Struct, frozen=True):
    """An administrator; `token_prefix` are the token's first characters. Nothing of it works after `revoked_at`."""

    id: int
    name: str
    role: str
    token_prefix: str
    created_at: datetime
    revoked_at: datetime | None


_COLUMNS = "id, name, role, token_prefix, created_at, revoked_at"


async def put_admin(store: AnyStore, *, name: str, role: str, digest: bytes, token_prefix: str, now: datetime) -> bool:
    """Adds an administrator, or gives one whose token is revoked a new one; False where one of this name has a token
    that works."""
    sql = """
        INSERT INTO admins (name, role, digest, token_prefix, created_at) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (name) DO UPDATE
            SET role = excluded.role, digest = excluded.digest, token_prefix = excluded.token_prefix, revoked_at = NULL
            WHERE admins.revoked_at IS NOT NULL
        RETURNING id"""
    return bool(await store.fetch(sql, [name, role, digest, token_prefix, now]))


async def list_admins(store: AnyStore) -> list[AdminRow]:
    """All administrators by name."""
    return [AdminRow(*line) for line in await store.fetch(f"SELECT {_COLUMNS} FROM admins ORDER BY name")]


async def revoke_admin(store: AnyStore, name: str, when: datetime) -> AdminRow | None:
    """Revokes an administrator's token (keeping the first date); None where there is none of this name."""
    sql = f"UPDATE admins SET revoked_at = coalesce(revoked_at, %s) WHERE name = %s RETURNING {_COLUMNS}"
    found = await store.fetch(sql, [when, name])
    return AdminRow(*found[0]) if found else None


async def revoke_but_the_last(store: AuditedStore, name: str, when: datetime) -> bool:
    """As `revoke_admin`, but of an administrator who is the last one with the role admin; False: nobody was revoked. Of
    two who revoke each other at once, the second one waits, and is the last."""
    sql = """
        LOCK TABLE admins IN SHARE ROW EXCLUSIVE MODE;
        UPDATE admins a SET revoked_at = coalesce(revoked_at, %s)
        WHERE name = %s AND (role <> 'admin' OR revoked_at IS NOT NULL OR EXISTS (
            SELECT FROM admins o WHERE o.id <> a.id AND o.role = 'admin' AND o.revoked_at IS NULL))
        RETURNING id"""
    return bool(await store.fetch(sql, [when, name]))


async def find_admin(store: AnyStore, digest: bytes) -> AdminRow | None:
    """Whose token has this digest, if it works."""
    sql = f"SELECT {_COLUMNS} FROM admins WHERE digest = %s AND revoked_at IS NULL"
    found = await store.fetch(sql, [digest])
    return AdminRow(*found[0]) if found else None
