"""Users and settings, as commands and REST read and change them. An OpenAI key comes here sealed."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore


class UserRow(msgspec.Struct, frozen=True):
    """A user as lists show one: all but the key. `tokens`: how many are in force; `version` counts every change of the
    directory."""

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
    tokens: int
    version: int


# Of a user `u`. In a statement that changes tokens too, they are counted as they were before it.
_LINE = """
    u.id, u.name, u.comment, u.created_at, u.disabled_at, u.removed_at, u.allowed_models, u.rpm, u.tpm, u.concurrency,
    (SELECT count(*) FROM tokens t
     WHERE t.user_id = u.id AND t.revoked_at IS NULL AND coalesce(t.expires_at > now(), true)), u.version"""
_SET = ("comment", "allowed_models", "rpm", "tpm", "concurrency")


def _line(columns: tuple[object, ...]) -> UserRow:
    return msgspec.convert(dict(zip(UserRow.__struct_fields__, columns, strict=True)), UserRow)


async def check_value(store: AnyStore, offered: str | None) -> str | None:
    """The stored check value of the master key; where there is none, `offered` becomes it."""
    if offered is not None:
        await store.fetch(
            "INSERT INTO settings VALUES ('master_key_check', %s) ON CONFLICT (name) DO NOTHING", [offered]
        )
    found = await store.fetch("SELECT value FROM settings WHERE name = 'master_key_check'")
    return str(found[0][0]) if found else None


async def next_user_ids(store: AnyStore, count: int = 1) -> list[int]:
    """Ids that no other users get. They are needed before the rows, because the sealed keys hold them."""
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
    """Adds a user with a first token, whose id it returns; None where the name is taken."""
    names = [name for name in _SET if name in settings]
    sql = f"""
        WITH added AS (
            INSERT INTO users (id, name, upstream_key, created_at{"".join(f", {name}" for name in names)})
            VALUES (%s, %s, %s, %s{", %s" * len(names)})
            ON CONFLICT (name) DO NOTHING RETURNING id
        )
        INSERT INTO tokens (user_id, digest, token_prefix, created_at) SELECT id, %s, %s, %s FROM added RETURNING id"""
    values = [_value(settings[name]) for name in names]
    found = await store.fetch(sql, [id, name, upstream_key, now, *values, digest, token_prefix, now])
    return int(found[0][0]) if found else None


class NewUser(msgspec.Struct, frozen=True):
    """A row of a user with a first token and perhaps a budget. Bytes are hexadecimal, amounts are texts."""

    id: int
    name: str
    comment: str
    upstream_key: str
    digest: str
    token_prefix: str
    allowed_models: tuple[str, ...] | None
    amount: str | None
    period: str


async def add_users(store: AnyStore, users: Sequence[NewUser], now: datetime) -> None:
    """Adds them with their tokens and budgets, all or nobody. Raises StoreBadValue where a name is taken."""
    sql = """
        WITH given AS (
            SELECT * FROM jsonb_to_recordset(%s::jsonb) AS g(
                id bigint, name text, comment text, upstream_key text, digest text, token_prefix text,
                allowed_models text[], amount numeric, period text)
        ), added AS (
            INSERT INTO users (id, name, comment, upstream_key, allowed_models, created_at)
            SELECT id, name, comment, decode(upstream_key, 'hex'), allowed_models, %s FROM given
        ), issued AS (
            INSERT INTO tokens (user_id, digest, token_prefix, created_at)
            SELECT id, decode(digest, 'hex'), token_prefix, %s FROM given
        )
        INSERT INTO budgets (user_id, period, amount, created_at)
        SELECT id, period, amount, %s FROM given WHERE amount IS NOT NULL"""
    await store.fetch(sql, [msgspec.json.encode(users).decode(), now, now, now])


async def taken_names(store: AnyStore, names: Sequence[str]) -> set[str]:
    """Those of these names that users have, or had."""
    found = await store.fetch("SELECT name FROM users WHERE name = ANY(%s)", [list(names)])
    return {name for (name,) in found}


async def list_users(
    store: AnyStore, name: str | None = None, *, after: str | None = None, limit: int | None = None
) -> list[UserRow]:
    """Users by name: all, those after a name, at most so many; or the one of this name."""
    sql = f"""
        SELECT {_LINE} FROM users u
        WHERE (%s::text IS NULL OR u.name = %s) AND (%s::text IS NULL OR u.name > %s) ORDER BY u.name LIMIT %s"""
    return [_line(line) for line in await store.fetch(sql, [name, name, after, after, limit])]


async def change_user(
    store: AnyStore,
    name: str,
    settings: Mapping[str, object],
    *,
    disabled: bool | None = None,
    version: int | None = None,
    now: datetime,
) -> UserRow | None:
    """Sets these columns of a user, and disables them (keeping the first date) or enables them; None where there is
    none of this name, or removed, or of another version by now."""
    names = [name for name in _SET if name in settings]
    sql = f"""
        UPDATE users u SET {"".join(f"{name} = %s, " for name in names)}
            disabled_at = CASE %s::boolean WHEN true THEN coalesce(u.disabled_at, %s) WHEN false THEN NULL
                                           ELSE u.disabled_at END
        WHERE u.name = %s AND u.removed_at IS NULL AND u.version = coalesce(%s::bigint, u.version)
        RETURNING {_LINE}"""
    values = [_value(settings[name]) for name in names]
    found = await store.fetch(sql, [*values, disabled, now, name, version])
    return _line(found[0]) if found else None


async def set_upstream_key(store: AnyStore, user_id: int, upstream_key: bytes) -> bool:
    """Replaces a user's sealed OpenAI key; False where they are removed by now."""
    sql = "UPDATE users SET upstream_key = %s WHERE id = %s AND removed_at IS NULL RETURNING id"
    return bool(await store.fetch(sql, [upstream_key, user_id]))


async def remove_user(store: AnyStore, name: str, when: datetime, version: int | None = None) -> bool:
    """Destroys a user's key, revokes their tokens and closes the name for good; False where there is none of this
    name, or removed before, or of another version by now."""
    sql = """
        WITH gone AS (
            UPDATE users SET removed_at = %s, upstream_key = ''
            WHERE name = %s AND removed_at IS NULL AND version = coalesce(%s::bigint, version) RETURNING id
        ), ended AS (
            UPDATE tokens t SET revoked_at = %s FROM gone WHERE t.user_id = gone.id AND t.revoked_at IS NULL
        )
        SELECT id FROM gone"""
    return bool(await store.fetch(sql, [when, name, version, when]))


def _value(value: object) -> object:
    """psycopg2 makes an array of a list, and a row of a tuple."""
    return list(value) if isinstance(value, tuple) else value
