"""The table `users`. OpenAI keys arrive here encrypted."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore, SqlRow, from_sql, to_sql

# The name of a user, for a row with a user id and its joined user `u`. Rows may outlive their user.
USER_NAME_SQL = "coalesce(u.name, 'user ' || {id})"

# Of a user `u`. A statement that changes tokens, too, counts them as they were before.
_COLUMNS = """
    u.id, u.name, u.comment, u.created_at, u.disabled_at, u.removed_at, u.allowed_models, u.rpm, u.tpm, u.concurrency,
    u.standard_tier_only, (SELECT count(*) FROM tokens t
     WHERE t.user_id = u.id AND t.revoked_at IS NULL AND coalesce(t.expires_at > now(), true)), u.version"""
_SETTINGS = ("comment", "allowed_models", "rpm", "tpm", "concurrency", "standard_tier_only")


class UserRow(msgspec.Struct, frozen=True, kw_only=True):
    """A user in a list, without the OpenAI key. `tokens` is the number of active ones; `version` is that of the
    directory at the user's last change."""

    id: int
    name: str
    comment: str
    created_at: datetime
    disabled_at: datetime | None
    removed_at: datetime | None
    allowed_models: tuple[str, ...] | None
    rpm: int | None
    tpm: int | None
    concurrency: int | None
    standard_tier_only: bool
    tokens: int
    version: int


class UserInsert(msgspec.Struct, frozen=True, kw_only=True):
    """A user to add, with a first token and an optional budget. Bytes are hexadecimal, amounts are texts."""

    id: int
    name: str
    comment: str
    upstream_key: str
    digest: str
    token_prefix: str
    allowed_models: tuple[str, ...] | None
    amount: str | None
    period: str
    standard_tier_only: bool


def _user_row(row: SqlRow) -> UserRow:
    values: dict[str, Any] = dict(zip(UserRow.__struct_fields__, map(from_sql, row), strict=True))
    return UserRow(**values)


async def next_user_ids(store: AnyStore, count: int = 1) -> list[int]:
    """Returns unused ids. They are drawn before the rows are inserted, because encrypted keys contain the id of their
    user."""
    sql = "SELECT nextval(pg_get_serial_sequence('users', 'id')) FROM generate_series(1, %s)"
    return [int(id_) for (id_,) in await store.fetch(sql, [count])]


async def add_user(
    store: AnyStore,
    *,
    id: int,
    name: str,
    upstream_key: bytes,
    digest: bytes,
    token_prefix: str,
    settings: Mapping[str, object],
    now: datetime,
) -> int | None:
    """Adds a user with a first token, whose id it returns; None if the name exists."""
    names = [name for name in _SETTINGS if name in settings]
    sql = f"""
        WITH added AS (
            INSERT INTO users (id, name, upstream_key, created_at{"".join(f", {name}" for name in names)})
            VALUES (%s, %s, %s, %s{", %s" * len(names)})
            ON CONFLICT (name) DO NOTHING RETURNING id
        )
        INSERT INTO tokens (user_id, digest, token_prefix, created_at) SELECT id, %s, %s, %s FROM added RETURNING id"""
    values = [to_sql(settings[name]) for name in names]
    rows = await store.fetch(sql, [id, name, upstream_key, now, *values, digest, token_prefix, now])
    return int(rows[0][0]) if rows else None


async def add_users(store: AnyStore, users: Sequence[UserInsert], now: datetime) -> None:
    """Adds users with their tokens and budgets, all or none. Raises StoreBadValue if a name exists."""
    sql = """
        WITH new AS (
            SELECT * FROM jsonb_to_recordset(%s::jsonb) AS n(
                id bigint, name text, comment text, upstream_key text, digest text, token_prefix text,
                allowed_models text[], amount numeric, period text, standard_tier_only boolean)
        ), added AS (
            INSERT INTO users (id, name, comment, upstream_key, allowed_models, standard_tier_only, created_at)
            SELECT id, name, comment, decode(upstream_key, 'hex'), allowed_models, standard_tier_only, %s FROM new
        ), issued AS (
            INSERT INTO tokens (user_id, digest, token_prefix, created_at)
            SELECT id, decode(digest, 'hex'), token_prefix, %s FROM new
        )
        INSERT INTO budgets (user_id, period, amount, created_at)
        SELECT id, period, amount, %s FROM new WHERE amount IS NOT NULL"""
    await store.fetch(sql, [msgspec.json.encode(users).decode(), now, now, now])


async def taken_names(store: AnyStore, names: Sequence[str]) -> dict[str, datetime | None]:
    """Returns those of these names that a user has, with the time at which the user was removed, if so."""
    rows = await store.fetch("SELECT name, removed_at FROM users WHERE name = ANY(%s)", [list(names)])
    return dict(rows)


async def find_user(store: AnyStore, name: str) -> int | None:
    """Returns the id of a user, also of a removed one."""
    rows = await store.fetch("SELECT id FROM users WHERE name = %s", [name])
    return int(rows[0][0]) if rows else None


async def names_of_users(store: AnyStore, ids: Sequence[int]) -> dict[int, str]:
    """Returns the names of the users with these ids that are not removed."""
    rows = await store.fetch("SELECT id, name FROM users WHERE id = ANY(%s) AND removed_at IS NULL", [list(ids)])
    return {int(id_): str(name) for id_, name in rows}


async def encrypted_keys(store: AnyStore) -> dict[int, bytes]:
    """Returns the encrypted OpenAI keys of all users who are not removed, by user id."""
    rows = await store.fetch("SELECT id, upstream_key FROM users WHERE removed_at IS NULL ORDER BY id")
    return {id_: bytes(key) for id_, key in rows}


async def keys_after(store: AnyStore, id: int, limit: int) -> dict[int, bytes]:
    """Returns the encrypted OpenAI keys of the next users after this id who are not removed, by user id."""
    sql = "SELECT id, upstream_key FROM users WHERE removed_at IS NULL AND id > %s ORDER BY id LIMIT %s"
    return {id_: bytes(key) for id_, key in await store.fetch(sql, [id, limit])}


async def reencrypt(store: AnyStore, keys: Mapping[int, tuple[bytes, bytes]]) -> int:
    """Replaces encrypted OpenAI keys, by user id, by what holds the same keys; those that have changed meanwhile stay.
    Returns how many were replaced. The audit log does not have it."""
    sql = """
        SELECT set_config('chatgpt_agent.reencrypting', 'on', true);
        UPDATE users u SET upstream_key = k.after
        FROM unnest(%s::bigint[], %s::bytea[], %s::bytea[]) AS k (id, before, after)
        WHERE u.id = k.id AND u.upstream_key = k.before RETURNING u.id"""
    before, after = zip(*keys.values(), strict=True)
    return len(await store.fetch(sql, [list(keys), list(before), list(after)]))


async def list_users(
    store: AnyStore, name: str | None = None, *, after: str | None = None, limit: int | None = None
) -> list[UserRow]:
    """Returns users by name: all, the next `limit` ones after a name, or the one with this name."""
    sql = f"""
        SELECT {_COLUMNS} FROM users u
        WHERE (%s::text IS NULL OR u.name = %s) AND (%s::text IS NULL OR u.name > %s) ORDER BY u.name LIMIT %s"""
    return [_user_row(row) for row in await store.fetch(sql, [name, name, after, after, limit])]


async def change_user(
    store: AnyStore,
    name: str,
    settings: Mapping[str, object],
    *,
    disabled: bool | None = None,
    version: int | None = None,
    now: datetime,
) -> UserRow | None:
    """Sets columns of a user, and disables (keeping an earlier date) or enables the user. None: the user does not
    exist, is removed, or does not have this `version`."""
    names = [name for name in _SETTINGS if name in settings]
    sql = f"""
        UPDATE users u SET {"".join(f"{name} = %s, " for name in names)}
            disabled_at = CASE %s::boolean WHEN true THEN coalesce(u.disabled_at, %s) WHEN false THEN NULL
                                           ELSE u.disabled_at END
        WHERE u.name = %s AND u.removed_at IS NULL AND u.version = coalesce(%s::bigint, u.version)
        RETURNING {_COLUMNS}"""
    values = [to_sql(settings[name]) for name in names]
    rows = await store.fetch(sql, [*values, disabled, now, name, version])
    return _user_row(rows[0]) if rows else None


async def rename_user(store: AnyStore, name: str, new_name: str, version: int | None = None) -> UserRow | None:
    """Gives a user, also a removed one, another name. None: the user does not exist or does not have this `version`, or
    another user has the name."""
    sql = f"""
        UPDATE users u SET name = %s
        WHERE u.name = %s AND u.version = coalesce(%s::bigint, u.version)
          AND NOT EXISTS (SELECT FROM users o WHERE o.name = %s)
        RETURNING {_COLUMNS}"""
    rows = await store.fetch(sql, [new_name, name, version, new_name])
    return _user_row(rows[0]) if rows else None


async def set_upstream_keys(store: AnyStore, keys: Mapping[int, bytes]) -> set[int]:
    """Replaces encrypted OpenAI keys, by user id, and returns the ids of the users; removed ones have none."""
    sql = """
        UPDATE users u SET upstream_key = k.key FROM unnest(%s::bigint[], %s::bytea[]) AS k (id, key)
        WHERE u.id = k.id AND u.removed_at IS NULL RETURNING u.id"""
    return {int(id_) for (id_,) in await store.fetch(sql, [list(keys), list(keys.values())])}


async def remove_user(store: AnyStore, name: str, when: datetime, version: int | None = None) -> bool:
    """Deletes a user's key and revokes the tokens; the name stays taken. False: the user does not exist,
    is removed, or does not have this `version`."""
    sql = """
        WITH removed AS (
            UPDATE users SET removed_at = %s, upstream_key = ''
            WHERE name = %s AND removed_at IS NULL AND version = coalesce(%s::bigint, version) RETURNING id
        ), revoked AS (
            UPDATE tokens t SET revoked_at = %s FROM removed WHERE t.user_id = removed.id AND t.revoked_at IS NULL
        )
        SELECT id FROM removed"""
    return bool(await store.fetch(sql, [when, name, version, when]))
