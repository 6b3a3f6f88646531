"""Tokens, as commands and REST read and change them. A token comes here as its digest."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore


class TokenRow(msgspec.Struct, frozen=True):
    """A token in a list, without its digest. `token_prefix`: its first characters; `version`: the directory's version
    at its last change."""

    id: int
    user: str
    token_prefix: str
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    allowed_models: tuple[str, ...] | None
    allowed_networks: tuple[str, ...] | None
    rpm: int | None
    tpm: int | None
    concurrency: int | None
    version: int


# Of a token `t`.
_LINE = """
    t.id, (SELECT u.name FROM users u WHERE u.id = t.user_id), t.token_prefix, t.label, t.created_at, t.expires_at,
    t.revoked_at, (SELECT w.last_used_at FROM token_uses w WHERE w.token_id = t.id),
    t.allowed_models, t.allowed_networks, t.rpm, t.tpm, t.concurrency, t.version"""
_SET = ("label", "expires_at", "allowed_models", "allowed_networks", "rpm", "tpm", "concurrency")
_IN_FORCE = "t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > %s)"


def _line(columns: tuple[object, ...]) -> TokenRow:
    return msgspec.convert(dict(zip(TokenRow.__struct_fields__, columns, strict=True)), TokenRow)


async def add_token(
    store: AnyStore, *, user: str, digest: bytes, token_prefix: str, settings: Mapping[str, object], now: datetime
) -> int | None:
    """Adds a token with these of its columns and returns its id; None where there is no such user, or not any more."""
    names = [name for name in _SET if name in settings]
    sql = f"""
        INSERT INTO tokens (user_id, digest, token_prefix, created_at{"".join(f", {name}" for name in names)})
        SELECT id, %s, %s, %s{", %s" * len(names)} FROM users WHERE name = %s AND removed_at IS NULL RETURNING id"""
    values = [_value(settings[name]) for name in names]
    found = await store.fetch(sql, [digest, token_prefix, now, *values, user])
    return int(found[0][0]) if found else None


async def list_tokens(
    store: AnyStore,
    user: str | None = None,
    *,
    id: int | None = None,
    after: int | None = None,
    limit: int | None = None,
) -> list[TokenRow]:
    """Tokens by id: of all users or of one, after an id, at most so many; or the one of this id."""
    sql = f"""
        SELECT {_LINE} FROM tokens t
        WHERE (%s::text IS NULL OR t.user_id = (SELECT u.id FROM users u WHERE u.name = %s))
          AND (%s::bigint IS NULL OR t.id = %s) AND t.id > coalesce(%s::bigint, 0)
        ORDER BY t.id LIMIT %s"""
    return [_line(line) for line in await store.fetch(sql, [user, user, id, id, after, limit])]


async def change_token(
    store: AnyStore, id: int, settings: Mapping[str, object], version: int | None
) -> TokenRow | None:
    """Sets these columns of a token; None where there is none of this id, or of another version by now."""
    names = [name for name in _SET if name in settings]
    sql = f"""
        UPDATE tokens t SET {"".join(f"{name} = %s, " for name in names)} id = t.id
        WHERE t.id = %s AND t.version = coalesce(%s::bigint, t.version) RETURNING {_LINE}"""
    found = await store.fetch(sql, [*(_value(settings[name]) for name in names), id, version])
    return _line(found[0]) if found else None


async def revoke_token(store: AnyStore, id: int, when: datetime, version: int | None = None) -> TokenRow | None:
    """Revokes a token (keeping the first date); None where there is none of this id, or of another version by now."""
    sql = f"""
        UPDATE tokens t SET revoked_at = coalesce(t.revoked_at, %s)
        WHERE t.id = %s AND t.version = coalesce(%s::bigint, t.version) RETURNING {_LINE}"""
    found = await store.fetch(sql, [when, id, version])
    return _line(found[0]) if found else None


async def rotate_token(
    store: AnyStore, id: int, *, digest: bytes, token_prefix: str, until: datetime, now: datetime
) -> tuple[int, str] | None:
    """Adds a token with all that one has, its budgets too, and lets that one expire at a moment, if it does not do so
    before; the new one's id and its user. None where there is none of this id in force."""
    sql = f"""
        WITH before AS (
            SELECT t.*, u.name FROM tokens t JOIN users u ON u.id = t.user_id
            WHERE t.id = %s AND u.removed_at IS NULL AND {_IN_FORCE} FOR UPDATE OF t
        ), ending AS (
            UPDATE tokens t SET expires_at = least(t.expires_at, %s) FROM before WHERE t.id = before.id
        ), added AS (
            INSERT INTO tokens (user_id, digest, token_prefix, created_at, {", ".join(_SET)})
            SELECT user_id, %s, %s, %s, {", ".join(_SET)} FROM before RETURNING id
        ), funded AS (
            INSERT INTO budgets (token_id, period, amount, created_at)
            SELECT added.id, b.period, b.amount, %s FROM budgets b JOIN before ON b.token_id = before.id, added
            WHERE b.amount IS NOT NULL
        )
        SELECT added.id, before.name FROM added, before"""
    found = await store.fetch(sql, [id, now, until, digest, token_prefix, now, now])
    return (int(found[0][0]), str(found[0][1])) if found else None


async def add_uses(store: AnyStore, uses: Mapping[int, datetime]) -> None:
    """Writes when tokens were last used, unless a later time is there."""
    sql = """
        INSERT INTO token_uses SELECT * FROM unnest(%s::bigint[], %s::timestamptz[]) AS used (id, at) ORDER BY id
        ON CONFLICT (token_id) DO UPDATE SET last_used_at = excluded.last_used_at
        WHERE token_uses.last_used_at < excluded.last_used_at"""
    await store.fetch(sql, [list(uses), list(uses.values())])


def _value(value: object) -> object:
    """psycopg2 makes an array of a list, and a row of a tuple."""
    return list(value) if isinstance(value, tuple) else value
