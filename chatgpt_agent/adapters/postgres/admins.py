"""The table `admins`: administrators with their roles, the digests of their tokens and the hashes of their
passwords."""

from datetime import datetime

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore, AuditedStore, SqlRow

_COLUMNS = "id, name, role, token_prefix, password_set_at, created_at, revoked_at"
# Of several changes at once, each sees what the one before has done.
_LOCK = "LOCK TABLE admins IN SHARE ROW EXCLUSIVE MODE"
# Who needs no one-time link: an admin with a password, or (%s) any admin, where a proxy signs admins in.
_CAN_SIGN_IN = "role = 'admin' AND revoked_at IS NULL AND (password_hash IS NOT NULL OR %s)"
# A token that was revoked stays invalid.
_NEW_VALUES = """
    password_hash = excluded.password_hash, password_set_at = excluded.password_set_at, revoked_at = NULL,
    digest = CASE WHEN a.revoked_at IS NULL THEN a.digest END,
    token_prefix = CASE WHEN a.revoked_at IS NULL THEN a.token_prefix END"""
# The password is removed, so that another token does not bring it back.
_REVOKE = "UPDATE admins a SET revoked_at = coalesce(revoked_at, %s), password_hash = NULL, password_set_at = NULL"


class AdminRow(msgspec.Struct, frozen=True, kw_only=True):
    """An admin. `token_prefix`: the token's first characters; None: there is no token. `password_set_at`: None: there
    is no password. Both are valid until `revoked_at`."""

    id: int
    name: str
    role: str
    token_prefix: str | None
    password_set_at: datetime | None
    created_at: datetime
    revoked_at: datetime | None


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """An admin who is not revoked, and the hash of the password, if there is one."""

    admin: AdminRow
    password_hash: str | None


def admin_columns(table: str) -> str:
    """Returns the columns of an `AdminRow`, of a table or its alias."""
    return ", ".join(f"{table}.{name}" for name in _COLUMNS.split(", "))


def admin_row(row: SqlRow) -> AdminRow:
    """Returns the admin of a row with these columns."""
    return AdminRow(**dict(zip(AdminRow.__struct_fields__, row, strict=True)))


def _first(rows: list[SqlRow]) -> AdminRow | None:
    return admin_row(rows[0]) if rows else None


async def add_admin(store: AnyStore, *, name: str, role: str, digest: bytes, token_prefix: str, now: datetime) -> bool:
    """Adds an administrator, or issues a token to one who has none or whose token is revoked; False if there is a valid
    token, or a password with another role."""
    sql = """
        INSERT INTO admins (name, role, digest, token_prefix, created_at) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (name) DO UPDATE
            SET role = excluded.role, digest = excluded.digest, token_prefix = excluded.token_prefix, revoked_at = NULL
            WHERE admins.revoked_at IS NOT NULL OR (admins.digest IS NULL AND admins.role = excluded.role)
        RETURNING id"""
    return bool(await store.fetch(sql, [name, role, digest, token_prefix, now]))


async def set_password(store: AnyStore, *, name: str, role: str | None, password_hash: str, now: datetime) -> AdminRow:
    """Sets the password of an administrator, who is added if the name is new. `role` None: the one that the
    administrator has, or admin for a new one."""
    sql = f"""
        INSERT INTO admins AS a (name, role, password_hash, password_set_at, created_at)
        VALUES (%s, coalesce(%s, 'admin'), %s, %s, %s)
        ON CONFLICT (name) DO UPDATE SET role = coalesce(%s, a.role), {_NEW_VALUES}
        RETURNING {admin_columns("a")}"""
    rows = await store.fetch(sql, [name, role, password_hash, now, now, role])
    return admin_row(rows[0])


async def replace_hash(store: AnyStore, id: int, *, before: str, password_hash: str) -> None:
    """Replaces the hash of a password by another one of the same password, if it has not been set meanwhile."""
    await store.fetch(
        "UPDATE admins SET password_hash = %s WHERE id = %s AND password_hash = %s", [password_hash, id, before]
    )


async def add_first_admin(
    store: AuditedStore, *, name: str, password_hash: str, by_header: bool, now: datetime
) -> AdminRow | None:
    """Adds an administrator with the role admin, or gives one who has a token alone a password. None if one can sign in
    already, as in `has_admin_who_can_sign_in`, or if a viewer has this name. Of several agents, the lock lets one
    succeed."""
    sql = f"""
        {_LOCK};
        INSERT INTO admins AS a (name, role, password_hash, password_set_at, created_at)
        SELECT %s, 'admin', %s, %s, %s WHERE NOT EXISTS (SELECT FROM admins WHERE {_CAN_SIGN_IN})
        ON CONFLICT (name) DO UPDATE SET role = 'admin', {_NEW_VALUES}
            WHERE a.role = 'admin' OR a.revoked_at IS NOT NULL
        RETURNING {admin_columns("a")}"""
    return _first(await store.fetch(sql, [name, password_hash, now, now, by_header]))


async def has_admin_who_can_sign_in(store: AnyStore, *, by_header: bool) -> bool:
    """Whether an administrator with the role admin can sign in to the console: with a password or, if `by_header` is
    true, by a proxy's header."""
    [(exists,)] = await store.fetch(f"SELECT EXISTS (SELECT FROM admins WHERE {_CAN_SIGN_IN})", [by_header])
    return bool(exists)


async def list_admins(store: AnyStore) -> list[AdminRow]:
    """Returns all administrators by name."""
    return [admin_row(row) for row in await store.fetch(f"SELECT {_COLUMNS} FROM admins ORDER BY name")]


async def revoke_admin(store: AnyStore, name: str, when: datetime) -> AdminRow | None:
    """Revokes an administrator's token and password, keeping an earlier date; None if the administrator does not
    exist."""
    return _first(await store.fetch(f"{_REVOKE} WHERE name = %s RETURNING {_COLUMNS}", [when, name]))


async def revoke_unless_last(store: AuditedStore, name: str, when: datetime) -> bool:
    """Revokes an administrator's token and password unless it is the last valid one with the role admin; returns
    whether it did. Of two admins who revoke each other at the same time, the lock lets one succeed."""
    sql = f"""
        {_LOCK};
        {_REVOKE}
        WHERE name = %s AND (role <> 'admin' OR revoked_at IS NOT NULL OR EXISTS (
            SELECT FROM admins o WHERE o.id <> a.id AND o.role = 'admin' AND o.revoked_at IS NULL))
        RETURNING id"""
    return bool(await store.fetch(sql, [when, name]))


async def find_admin(store: AnyStore, digest: bytes) -> AdminRow | None:
    """Returns the administrator with a valid token of this digest."""
    sql = f"SELECT {_COLUMNS} FROM admins WHERE digest = %s AND revoked_at IS NULL"
    return _first(await store.fetch(sql, [digest]))


async def find_admin_by_name(store: AnyStore, name: str) -> Credentials | None:
    """Returns the administrator of this name, unless revoked, with the hash of the password."""
    sql = f"SELECT {_COLUMNS}, password_hash FROM admins WHERE name = %s AND revoked_at IS NULL"
    rows = await store.fetch(sql, [name])
    return Credentials(admin=admin_row(rows[0][:-1]), password_hash=rows[0][-1]) if rows else None
