"""Adds the original program's users, tokens and history to our tables."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore, Store
from chatgpt_agent.adapters.postgres.usage import ADD_TO_DAILY_SUMS, INSERTED
from chatgpt_agent.core.http.endpoints import CHAT
from chatgpt_agent.core.ledger import State


class UserKey(msgspec.Struct, frozen=True):
    """The id of a user and the encrypted OpenAI key, which is empty for a removed user."""

    id: int
    encrypted: bytes


class ImportedUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user to add. `upstream_key` is encrypted."""

    id: int
    name: str
    upstream_key: bytes
    comment: str
    created_at: datetime
    removed_at: datetime | None = None


class ImportedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token to add."""

    user_id: int
    digest: bytes
    token_prefix: str
    label: str
    created_at: datetime


class ImportedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A row to add to the ledger. Cost in USD."""

    request_id: UUID
    user_id: int
    token_id: int
    model: str
    upstream_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost: Decimal
    started_at: datetime


async def user_keys(store: AnyStore) -> dict[str, UserKey]:
    """Returns the keys of all users, by name."""
    rows = await store.fetch("SELECT id, name, upstream_key FROM users")
    return {name: UserKey(id_, bytes(key)) for id_, name, key in rows}


async def token_owners(store: AnyStore, digests: Iterable[bytes]) -> dict[bytes, tuple[int, int]]:
    """Returns the user id and token id of each of these digests that a token has."""
    sql = "SELECT digest, user_id, id FROM tokens WHERE digest = ANY(%s::bytea[])"
    return {bytes(digest): (user, token) for digest, user, token in await store.fetch(sql, [list(digests)])}


async def add_imported_users(store: AnyStore, users: Sequence[ImportedUser], tokens: Sequence[ImportedToken]) -> None:
    """Adds users and tokens, all or none."""
    sql = """
        WITH added AS (
            INSERT INTO users (id, name, upstream_key, comment, created_at, removed_at)
            SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bytea[], %s::text[],
                                 %s::timestamptz[], %s::timestamptz[])
        )
        INSERT INTO tokens (user_id, digest, token_prefix, label, created_at)
        SELECT * FROM unnest(%s::bigint[], %s::bytea[], %s::text[], %s::text[], %s::timestamptz[])"""
    await store.fetch(sql, [*_columns(ImportedUser, users), *_columns(ImportedToken, tokens)])


# As in SHIP_SQL, rows and their daily sums are written together, and a row that exists already is skipped in both.
_ADD_REQUESTS = f"""
    WITH inserted AS (
        INSERT INTO usage (request_id, user_id, token_id, endpoint, model, served_model, upstream_id, input_tokens,
                           output_tokens, price_id, cost, state, status, client_closed, streamed, started_at)
        SELECT r.request_id, r.user_id, r.token_id, '{CHAT.path}', r.model, r.model, r.upstream_id, r.input_tokens,
               r.output_tokens, 0, r.cost, '{State.IMPORTED}', 200, false, false, r.started_at
        FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::bigint[],
                    %s::numeric[], %s::timestamptz[])
            AS r(request_id, user_id, token_id, model, upstream_id, input_tokens, output_tokens, cost, started_at)
        ON CONFLICT DO NOTHING
        RETURNING {INSERTED}
    ), {ADD_TO_DAILY_SUMS}
    SELECT count(*) FROM inserted"""


async def add_imported_requests(store: Store, requests: Sequence[ImportedRequest]) -> int:
    """Adds rows and returns how many of them were new. The partitions of their months must exist."""
    ids, *columns = _columns(ImportedRequest, requests)
    [(inserted,)] = await store.fetch(_ADD_REQUESTS, [[str(id_) for id_ in ids], *columns])
    return int(inserted)


async def count_imported_requests(store: Store, requests: Sequence[ImportedRequest]) -> int:
    """Returns the number of these rows that exist already."""
    sql = """
        SELECT count(*) FROM usage
        WHERE (request_id, started_at) IN (SELECT * FROM unnest(%s::uuid[], %s::timestamptz[]))"""
    ids, starts = [str(row.request_id) for row in requests], [row.started_at for row in requests]
    [(count,)] = await store.fetch(sql, [ids, starts])
    return int(count)


def _columns(kind: type[msgspec.Struct], rows: Sequence[msgspec.Struct]) -> list[list[Any]]:
    """Returns the values of structs as a list for each field."""
    return [[getattr(row, name) for row in rows] for name in kind.__struct_fields__]
