"""The tables `tokens` and `token_uses`. Tokens arrive here as digests."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore, SqlRow, Store, from_sql, to_sql

# How a token is named in lists: by label and first characters. For a row with a token id and its joined token `t`.
TOKEN_LABEL_SQL = """CASE WHEN {id} = 0 THEN '(none)' WHEN t.id IS NULL THEN 'token ' || {id}
                 WHEN t.token_prefix = '' THEN coalesce(nullif(t.label, ''), 'token ' || {id})
                 WHEN t.label = '' THEN t.token_prefix || '…' ELSE t.label || ' (' || t.token_prefix || '…)' END"""  # noqa: S105 - not a password

# Of a token `t`.
_COLUMNS = """
    t.id, (SELECT u.name FROM users u WHERE u.id = t.user_id), t.token_prefix, t.label, t.created_at, t.expires_at,
    t.revoked_at, (SELECT w.last_used_at FROM token_uses w WHERE w.token_id = t.id),
    t.allowed_models, t.allowed_networks, t.rpm, t.tpm, t.concurrency,
    (SELECT o.id FROM tokens o WHERE o.replaced_by = t.id), t.replaced_by, t.version"""
# Tokens that are neither revoked nor replaced, of users who are neither disabled nor removed.
_IN_USE = """
    FROM tokens t JOIN users u ON u.id = t.user_id
    WHERE t.revoked_at IS NULL AND t.replaced_by IS NULL AND u.disabled_at IS NULL AND u.removed_at IS NULL"""
_SETTINGS = ("label", "expires_at", "allowed_models", "allowed_networks", "rpm", "tpm", "concurrency")


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A token in a list, without its digest. `token_prefix`: its first characters; `replaces`, `replaced_by`: ids of
    the tokens before and after it in a rotation; `version`: the directory's version at its last change."""

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
    replaces: int | None
    replaced_by: int | None
    version: int


class TokenDetails(msgspec.Struct, frozen=True):
    """What `/me` shows of a token beside the facts in the directory."""

    label: str
    token_prefix: str
    created_at: datetime
    allowed_networks: list[str] | None


def _token_row(row: SqlRow) -> TokenRow:
    values: dict[str, Any] = dict(zip(TokenRow.__struct_fields__, map(from_sql, row), strict=True))
    return TokenRow(**values)


async def add_token(
    store: AnyStore, *, user: str, digest: bytes, token_prefix: str, settings: Mapping[str, object], now: datetime
) -> int | None:
    """Adds a token with some of its columns set, and returns its id; None: the user does not exist or is removed."""
    names = [name for name in _SETTINGS if name in settings]
    sql = f"""
        INSERT INTO tokens (user_id, digest, token_prefix, created_at{"".join(f", {name}" for name in names)})
        SELECT id, %s, %s, %s{", %s" * len(names)} FROM users WHERE name = %s AND removed_at IS NULL RETURNING id"""
    values = [to_sql(settings[name]) for name in names]
    rows = await store.fetch(sql, [digest, token_prefix, now, *values, user])
    return int(rows[0][0]) if rows else None


async def list_tokens(
    store: AnyStore,
    user: str | None = None,
    *,
    id: int | None = None,
    after: int | None = None,
    limit: int | None = None,
) -> list[TokenRow]:
    """Returns tokens by id: of all users or of one, the next `limit` ones after an id, or the one with this id."""
    sql = f"""
        SELECT {_COLUMNS} FROM tokens t
        WHERE (%s::text IS NULL OR t.user_id = (SELECT u.id FROM users u WHERE u.name = %s))
          AND (%s::bigint IS NULL OR t.id = %s) AND t.id > coalesce(%s::bigint, 0)
        ORDER BY t.id LIMIT %s"""
    return [_token_row(row) for row in await store.fetch(sql, [user, user, id, id, after, limit])]


async def count_expiring(store: AnyStore, days: int) -> int:
    """Returns how many tokens of users who are not disabled expire within so many days. Those that were rotated are not
    counted: they have a successor."""
    sql = f"""
        SELECT count(*) {_IN_USE}
          AND t.expires_at > CURRENT_TIMESTAMP AND t.expires_at <= CURRENT_TIMESTAMP + make_interval(days => %s)"""
    [(count,)] = await store.fetch(sql, [days])
    return int(count)


async def expiring_tokens(store: AnyStore, since: datetime, until: datetime) -> list[TokenRow]:
    """Returns the tokens that expire in this span, the first one first; of the same tokens as `count_expiring`."""
    sql = f"SELECT {_COLUMNS} {_IN_USE} AND t.expires_at BETWEEN %s AND %s ORDER BY t.expires_at, t.id"
    return [_token_row(row) for row in await store.fetch(sql, [since, until])]


async def has_token(store: AnyStore, id: int) -> bool:
    """Returns whether a token exists, also a revoked one."""
    return bool(await store.fetch("SELECT 1 FROM tokens WHERE id = %s", [id]))


async def token_details(store: Store, id: int) -> TokenDetails | None:
    """Returns label, first characters, creation date and networks of a token."""
    sql = "SELECT label, token_prefix, created_at, allowed_networks FROM tokens WHERE id = %s"
    rows = await store.fetch(sql, [id])
    return TokenDetails(*rows[0]) if rows else None


async def change_token(
    store: AnyStore, id: int, settings: Mapping[str, object], version: int | None
) -> TokenRow | None:
    """Sets columns of a token. None: the token does not exist or does not have this `version`."""
    names = [name for name in _SETTINGS if name in settings]
    sql = f"""
        UPDATE tokens t SET {"".join(f"{name} = %s, " for name in names)} id = t.id
        WHERE t.id = %s AND t.version = coalesce(%s::bigint, t.version) RETURNING {_COLUMNS}"""
    rows = await store.fetch(sql, [*(to_sql(settings[name]) for name in names), id, version])
    return _token_row(rows[0]) if rows else None


async def revoke_token(store: AnyStore, id: int, when: datetime, version: int | None = None) -> TokenRow | None:
    """Revokes a token, keeping an earlier date. None: the token does not exist or does not have this `version`."""
    sql = f"""
        UPDATE tokens t SET revoked_at = coalesce(t.revoked_at, %s)
        WHERE t.id = %s AND t.version = coalesce(%s::bigint, t.version) RETURNING {_COLUMNS}"""
    rows = await store.fetch(sql, [when, id, version])
    return _token_row(rows[0]) if rows else None


async def rotate_token(
    store: AnyStore, id: int, *, digest: bytes, token_prefix: str, until: datetime, now: datetime
) -> tuple[int, str] | None:
    """Adds a token with the settings and budgets of another one, which expires at `until` or before. Returns the id of
    the new one and the user's name; None: the token does not exist, is not active, or is replaced already."""
    sql = f"""
        WITH previous AS (
            SELECT t.*, u.name FROM tokens t JOIN users u ON u.id = t.user_id
            WHERE t.id = %s AND u.removed_at IS NULL AND t.revoked_at IS NULL AND t.replaced_by IS NULL
              AND (t.expires_at IS NULL OR t.expires_at > %s) FOR UPDATE OF t
        ), added AS (
            INSERT INTO tokens (user_id, digest, token_prefix, created_at, {", ".join(_SETTINGS)})
            SELECT user_id, %s, %s, %s, {", ".join(_SETTINGS)} FROM previous RETURNING id
        ), expiring AS (
            UPDATE tokens t SET expires_at = least(t.expires_at, %s), replaced_by = added.id
            FROM previous, added WHERE t.id = previous.id
        ), budgeted AS (
            INSERT INTO budgets (token_id, period, amount, raised_amount, raised_until, created_at)
            SELECT added.id, b.period, b.amount, b.raised_amount, b.raised_until, %s
            FROM budgets b JOIN previous ON b.token_id = previous.id, added
            WHERE b.amount IS NOT NULL
        )
        SELECT added.id, previous.name FROM added, previous"""
    rows = await store.fetch(sql, [id, now, digest, token_prefix, now, until, now])
    return (int(rows[0][0]), str(rows[0][1])) if rows else None


async def save_last_used(store: AnyStore, times: Mapping[int, datetime]) -> None:
    """Stores when tokens were last used, by token id; a later stored time is kept."""
    sql = """
        INSERT INTO token_uses SELECT * FROM unnest(%s::bigint[], %s::timestamptz[]) AS used (id, at) ORDER BY id
        ON CONFLICT (token_id) DO UPDATE SET last_used_at = excluded.last_used_at
        WHERE token_uses.last_used_at < excluded.last_used_at"""
    await store.fetch(sql, [list(times), list(times.values())])
