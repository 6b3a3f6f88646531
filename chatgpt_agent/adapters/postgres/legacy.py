"""The original program's database, which is only read, and taking its rows over into ours."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from chatgpt_agent.adapters.postgres.connection import AnyStore, Line, Store
from chatgpt_agent.adapters.postgres.usage import FRESH, ROLL_UP
from chatgpt_agent.core.errors import InvalidValue, SetupError, StoreError
from chatgpt_agent.core.http.endpoints import CHAT
from chatgpt_agent.core.ledger import State
from chatgpt_agent.core.legacy import NewPrice, OldConfig, OldPrice, OldRequest, OldUser

TABLES = ("sys_user_token", "sys_config", "sys_model_request")
_KNOWN = ("id", "remote_id", "model", "define_price", "completion_tokens", "prompt_tokens", "total_tokens", "price")


def has_password(url: str) -> bool:
    """Whether a connection string holds a password."""
    try:
        return "password" in parse_dsn(url)
    except psycopg2.Error:
        return False


class LegacyStore(Store):
    """A connection to the original program's database, which changes nothing there. Errors are SetupError."""

    def __init__(self, url: str, *, seconds: float) -> None:
        try:
            parsed = parse_dsn(url)
        except (psycopg2.Error, ValueError):  # whose text may hold the password
            raise InvalidValue(
                "the legacy database: give a postgresql:// URL, such as postgresql://user:password@host:5432/name"
            ) from None
        options = f"{parsed.pop('options', '')} -c default_transaction_read_only=on".strip()
        super().__init__(str(make_dsn(**parsed, options=options)), seconds=seconds)

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Line]:
        """As the store's."""
        try:
            return await super().fetch(sql, parameters)
        except StoreError as error:
            raise SetupError(f"the legacy database: {error.message}") from None

    async def check(self) -> None:
        """Raises SetupError where it is not the original program's."""
        found = await self.fetch("SELECT name FROM unnest(%s) name WHERE to_regclass(name) IS NULL", [list(TABLES)])
        if found:
            missing = ", ".join(name for (name,) in found)
            raise SetupError(f"the legacy database has no table {missing}: is it another database or schema?")

    async def users(self) -> list[OldUser]:
        """Every user."""
        sql = """
            SELECT id, name, local_token, gpt_token, to_jsonb(t) ->> 'comment',
                   (to_jsonb(t) ->> 'create_time')::timestamptz
            FROM sys_user_token t ORDER BY id"""
        return [OldUser(*line) for line in await self.fetch(sql)]

    async def config(self) -> list[OldConfig]:
        """The prices as they are set."""
        sql = """
            SELECT coalesce(key, ''), value, timestamp FROM sys_config WHERE "group" = 'model_price' ORDER BY id"""
        return [OldConfig(*line) for line in await self.fetch(sql)]

    async def old_prices(self) -> list[OldPrice]:
        """The first row of each model with each price that differs from that of the row before."""
        sql = """
            SELECT model, define_price, timestamp FROM (
                SELECT model, define_price, timestamp,
                       lag(define_price) OVER (PARTITION BY model ORDER BY timestamp, id) AS before
                FROM sys_model_request
                WHERE model IS NOT NULL AND define_price IS NOT NULL AND timestamp IS NOT NULL
            ) priced WHERE before IS DISTINCT FROM define_price ORDER BY model, timestamp"""
        return [OldPrice(*line) for line in await self.fetch(sql)]

    async def count_requests(self) -> int:
        """How many rows the history has."""
        [(count,)] = await self.fetch("SELECT count(*) FROM sys_model_request")
        return int(count)

    async def owner_column(self) -> str | None:
        """The column with which later versions of the original program name the `sys_user_token` of a row; None where
        there is no such column, or more than one that could be."""
        sql = """
            SELECT attname FROM pg_attribute
            WHERE attrelid = to_regclass('sys_model_request') AND attnum > 0 AND NOT attisdropped
              AND atttypid IN ('int4'::regtype, 'int8'::regtype) AND attname <> ALL (%s)
              AND (attname LIKE '%%user%%' OR attname LIKE '%%token%%')"""
        found = [str(name) for (name,) in await self.fetch(sql, [list(_KNOWN)])]
        return found[0] if len(found) == 1 else None

    async def requests(self, after: int | None, limit: int, owner: str | None) -> list[OldRequest]:
        """The next rows of the history by id."""
        sql = """
            SELECT id, remote_id, model, prompt_tokens, completion_tokens, timestamp, price,
                   CASE WHEN %s::text IS NOT NULL THEN (to_jsonb(r) ->> %s)::bigint END
            FROM sys_model_request r WHERE %s::bigint IS NULL OR id > %s ORDER BY id LIMIT %s"""
        return [OldRequest(*line) for line in await self.fetch(sql, [owner, owner, after, after, limit])]


# Ours.


class Person(msgspec.Struct):
    """A user of ours: sealed key, or none where they were removed."""

    id: int
    sealed: bytes


class NewUser(msgspec.Struct, frozen=True):
    """A user to be added."""

    id: int
    name: str
    upstream_key: bytes
    comment: str
    created_at: datetime
    removed_at: datetime | None = None


class NewToken(msgspec.Struct, frozen=True):
    """A token to be added."""

    user_id: int
    digest: bytes
    token_prefix: str
    label: str
    created_at: datetime


class NewRequest(msgspec.Struct, frozen=True):
    """A row to be added to the ledger. Cost in USD."""

    request_id: UUID
    user_id: int
    token_id: int
    model: str
    upstream_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost: Decimal
    started_at: datetime


async def people(store: AnyStore) -> dict[str, Person]:
    """All users by name."""
    return {
        name: Person(id_, bytes(key))
        for id_, name, key in await store.fetch("SELECT id, name, upstream_key FROM users")
    }


async def holders(store: AnyStore, digests: Iterable[bytes]) -> dict[bytes, tuple[int, int]]:
    """The ids of user and token of those digests that are there."""
    sql = "SELECT digest, user_id, id FROM tokens WHERE digest = ANY(%s::bytea[])"
    return {bytes(digest): (user, token) for digest, user, token in await store.fetch(sql, [list(digests)])}


async def reserve_user_ids(store: AnyStore, count: int) -> list[int]:
    """Ids that no other user gets."""
    sql = "SELECT nextval(pg_get_serial_sequence('users', 'id')) FROM generate_series(1, %s)"
    return [int(id_) for (id_,) in await store.fetch(sql, [count])]


async def add_people(store: AnyStore, users: Sequence[NewUser], tokens: Sequence[NewToken]) -> None:
    """Adds users and tokens, all of them or none."""
    sql = """
        WITH added AS (
            INSERT INTO users (id, name, upstream_key, comment, created_at, removed_at)
            SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bytea[], %s::text[],
                                 %s::timestamptz[], %s::timestamptz[])
        )
        INSERT INTO tokens (user_id, digest, token_prefix, label, created_at)
        SELECT * FROM unnest(%s::bigint[], %s::bytea[], %s::text[], %s::text[], %s::timestamptz[])"""
    await store.fetch(sql, [*_columns(NewUser, users), *_columns(NewToken, tokens)])


async def priced_models(store: AnyStore) -> set[str]:
    """The models that have or had a price."""
    return {str(model) for (model,) in await store.fetch("SELECT DISTINCT model FROM prices")}


async def add_prices(store: AnyStore, prices: Sequence[NewPrice], now: datetime) -> None:
    """Adds prices, all of them or none."""
    sql = """
        INSERT INTO prices (model, effective_at, input, output, created_at)
        SELECT p.*, %s FROM unnest(%s::text[], %s::timestamptz[], %s::numeric[], %s::numeric[]) p"""
    lines = [(price.model, price.effective_at, price.rates.input, price.rates.output) for price in prices]
    await store.fetch(sql, [now, *map(list, zip(*lines, strict=True))])


# As rows are shipped: the row and its share of the roll-up together, and a row that is there already in neither.
_TAKE = f"""
    WITH fresh AS (
        INSERT INTO usage (request_id, user_id, token_id, endpoint, model, served_model, upstream_id, input_tokens,
                           output_tokens, price_id, cost, state, status, client_closed, streamed, started_at)
        SELECT r.request_id, r.user_id, r.token_id, '{CHAT.path}', r.model, r.model, r.upstream_id, r.input_tokens,
               r.output_tokens, 0, r.cost, '{State.IMPORTED}', 200, false, false, r.started_at
        FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::bigint[],
                    %s::numeric[], %s::timestamptz[])
            AS r(request_id, user_id, token_id, model, upstream_id, input_tokens, output_tokens, cost, started_at)
        ON CONFLICT DO NOTHING
        RETURNING {FRESH}
    ), rolled AS ({ROLL_UP}
    )
    SELECT count(*) FROM fresh"""


async def take_requests(store: Store, rows: Sequence[NewRequest]) -> int:
    """Adds rows, and returns how many were new. Their partitions must be there."""
    ids, *columns = _columns(NewRequest, rows)
    [(new,)] = await store.fetch(_TAKE, [[str(id_) for id_ in ids], *columns])
    return int(new)


async def count_taken(store: Store, rows: Sequence[NewRequest]) -> int:
    """How many of these rows are there already."""
    sql = """
        SELECT count(*) FROM unnest(%s::uuid[], %s::timestamptz[]) AS r(id, at)
        JOIN usage u ON u.request_id = r.id AND u.started_at = r.at"""
    [(count,)] = await store.fetch(sql, [[str(row.request_id) for row in rows], [row.started_at for row in rows]])
    return int(count)


def _columns(kind: type[msgspec.Struct], rows: Sequence[msgspec.Struct]) -> list[list[Any]]:
    return [[getattr(row, name) for row in rows] for name in kind.__struct_fields__]
