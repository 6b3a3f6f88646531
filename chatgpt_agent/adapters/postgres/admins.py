"""The table `admins`: administrators with their roles and the digests of their tokens."""

from datetime import datetime

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore, AuditedStore, SqlRow

_COLUMNS = "id, name, role, token_prefix, created_at, revoked_at"


class AdminRow(msgspec.Struct, frozen=True, kw_only=True):
    """An admin. `token_prefix`: the token's first characters; the token is valid until `revoked_at`."""

    id: int
    name: str
    role: str
    token_prefix: str
    created_at: datetime
    revoked_at: datetime | None


def _admin_row(row: SqlRow) -> AdminRow:
    return AdminRow(**dict(zip(AdminRow.__struct_fields__, row, strict=True)))


async def add_admin(store: AnyStore, *, name: str, role: str, digest: bytes, token_prefix: str, now: datetime) -> bool:
    """Adds an administrator, or issues a new token to one whose token is revoked; False if the token is valid."""
    sql = """
        INSERT INTO admins (name, role, digest, token_prefix, created_at) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (name) DO UPDATE
            SET role = excluded.role, digest = excluded.digest, token_prefix = excluded.token_prefix, revoked_at = NULL
            WHERE admins.revoked_at IS NOT NULL
        RETURNING id"""
    return bool(await store.fetch(sql, [name, role, digest, token_prefix, now]))


async def list_admins(store: AnyStore) -> list[AdminRow]:
    """Returns all administrators by name."""
    return [_admin_row(row) for row in await store.fetch(f"SELECT {_COLUMNS} FROM admins ORDER BY name")]


async def revoke_admin(store: AnyStore, name: str, when: datetime) -> AdminRow | None:
    """Revokes an administrator's token, keeping an earlier date; None if the administrator does not exist."""
    sql = f"UPDATE admins SET revoked_at = coalesce(revoked_at, %s) WHERE name = %s RETURNING {_COLUMNS}"
    rows = await store.fetch(sql, [when, name])
    return _admin_row(rows[0]) if rows else None


async def revoke_unless_last(store: AuditedStore, name: str, when: datetime) -> bool:
    """Revokes an administrator's token unless it is the last valid one with the role admin; returns whether it did. Of
    two admins who revoke each other at the same time, the lock lets one succeed."""
    sql = """
        LOCK TABLE admins IN SHARE ROW EXCLUSIVE MODE;
        UPDATE admins a SET revoked_at = coalesce(revoked_at, %s)
        WHERE name = %s AND (role <> 'admin' OR revoked_at IS NOT NULL OR EXISTS (
            SELECT FROM admins o WHERE o.id <> a.id AND o.role = 'admin' AND o.revoked_at IS NULL))
        RETURNING id"""
    return bool(await store.fetch(sql, [when, name]))


async def find_admin(store: AnyStore, digest: bytes) -> AdminRow | None:
    """Returns the administrator with a valid token of this digest."""
    rows = await store.fetch(f"SELECT {_COLUMNS} FROM admins WHERE digest = %s AND revoked_at IS NULL", [digest])
    return _admin_row(rows[0]) if rows else None
