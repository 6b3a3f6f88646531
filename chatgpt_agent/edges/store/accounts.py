"""Users, tokens and settings, as commands read and change them. Keys and tokens come here sealed or hashed."""

from datetime import datetime

import msgspec

from chatgpt_agent.edges.store.connection import AnyStore


class UserLine(msgspec.Struct, frozen=True):
    """A user as lists show one. `tokens`: how many are in force."""

    id: int
    name: str
    created_at: datetime
    disabled_at: datetime | None
    tokens: int


class TokenLine(msgspec.Struct, frozen=True):
    """A token as lists show one; `shown` are its first characters."""

    id: int
    user: str
    shown: str
    label: str
    created_at: datetime
    revoked_at: datetime | None


async def check_value(store: AnyStore, offered: str | None) -> str | None:
    """The stored check value of the master key; where there is none, `offered` becomes it."""
    if offered is not None:
        await store.fetch(
            "INSERT INTO settings VALUES ('master_key_check', %s) ON CONFLICT (name) DO NOTHING", [offered]
        )
    found = await store.fetch("SELECT value FROM settings WHERE name = 'master_key_check'")
    return str(found[0][0]) if found else None


async def next_user_id(store: AnyStore) -> int:
    """An id that no other user gets. It is needed before the row, because the sealed key holds it."""
    [(id_,)] = await store.fetch("SELECT nextval(pg_get_serial_sequence('users', 'id'))")
    return int(id_)


async def add_user(
    store: AnyStore, *, id: int, name: str, upstream_key: bytes, digest: bytes, shown: str, now: datetime
) -> bool:
    """Adds a user with a first token; False where the name is taken."""
    sql = """
        WITH added AS (
            INSERT INTO users (id, name, upstream_key, created_at) VALUES (%s, %s, %s, %s)
            ON CONFLICT (name) DO NOTHING RETURNING id
        )
        INSERT INTO tokens (user_id, digest, shown, created_at) SELECT id, %s, %s, %s FROM added RETURNING id"""
    return bool(await store.fetch(sql, [id, name, upstream_key, now, digest, shown, now]))


async def list_users(store: AnyStore, name: str | None = None) -> list[UserLine]:
    """All users by name, or the one of this name."""
    sql = """
        SELECT u.id, u.name, u.created_at, u.disabled_at, count(t.id) FILTER (WHERE t.revoked_at IS NULL)
        FROM users u LEFT JOIN tokens t ON t.user_id = u.id
        WHERE %s::text IS NULL OR u.name = %s GROUP BY u.id ORDER BY u.name"""
    return [UserLine(*line) for line in await store.fetch(sql, [name, name])]


async def set_disabled(store: AnyStore, name: str, when: datetime | None) -> bool:
    """Disables a user (keeping the first date), or enables one; False where there is none of this name."""
    sql = """
        UPDATE users SET disabled_at = CASE WHEN %s::timestamptz IS NULL THEN NULL ELSE coalesce(disabled_at, %s) END
        WHERE name = %s RETURNING id"""
    return bool(await store.fetch(sql, [when, when, name]))


async def set_upstream_key(store: AnyStore, user_id: int, upstream_key: bytes) -> None:
    """Replaces a user's sealed OpenAI key."""
    await store.fetch("UPDATE users SET upstream_key = %s WHERE id = %s", [upstream_key, user_id])


async def add_token(store: AnyStore, *, user: str, digest: bytes, shown: str, label: str, now: datetime) -> int | None:
    """Adds a token and returns its id; None where there is no such user."""
    sql = """
        INSERT INTO tokens (user_id, digest, shown, label, created_at)
        SELECT id, %s, %s, %s, %s FROM users WHERE name = %s RETURNING id"""
    found = await store.fetch(sql, [digest, shown, label, now, user])
    return int(found[0][0]) if found else None


async def list_tokens(store: AnyStore, user: str | None) -> list[TokenLine]:
    """The tokens of all users, or of one."""
    sql = """
        SELECT t.id, u.name, t.shown, t.label, t.created_at, t.revoked_at
        FROM tokens t JOIN users u ON u.id = t.user_id
        WHERE %s::text IS NULL OR u.name = %s ORDER BY u.name, t.id"""
    return [TokenLine(*line) for line in await store.fetch(sql, [user, user])]


async def revoke_token(store: AnyStore, id: int, when: datetime) -> bool:
    """Revokes a token (keeping the first date); False where there is none of this id."""
    sql = "UPDATE tokens SET revoked_at = coalesce(revoked_at, %s) WHERE id = %s RETURNING id"
    return bool(await store.fetch(sql, [when, id]))
