"""The original program's database, which is only read."""

from collections.abc import Sequence
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from chatgpt_agent.adapters.postgres.connection import SqlRow, Store
from chatgpt_agent.core.errors import InvalidValue, SetupError, StoreError
from chatgpt_agent.core.legacy import OldConfig, OldPrice, OldRequest, OldUser, usable_moment

TABLES = ("sys_user_token", "sys_config", "sys_model_request")

# The columns of `sys_model_request` in the first version of the original program.
_COLUMNS = ("id", "remote_id", "model", "define_price", "completion_tokens", "prompt_tokens", "total_tokens", "price")


def has_password(url: str) -> bool:
    """Returns whether a connection string contains a password."""
    try:
        return "password" in parse_dsn(url)
    except psycopg2.Error:
        return False


class LegacyStore(Store):
    """A read-only connection to the original program's database. Its errors are SetupError."""

    def __init__(self, url: str, *, seconds: float) -> None:
        try:
            parsed = parse_dsn(url)
        except (psycopg2.Error, ValueError):  # the text of the error may contain the password
            raise InvalidValue(
                "the legacy database: give a postgresql:// URL, such as postgresql://user:password@host:5432/name"
            ) from None
        options = f"{parsed.pop('options', '')} -c default_transaction_read_only=on".strip()
        super().__init__(str(make_dsn(**parsed, options=options)), seconds=seconds)

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[SqlRow]:
        """As `Store.fetch`. Raises SetupError."""
        try:
            return await super().fetch(sql, parameters)
        except StoreError as error:
            raise SetupError(f"the legacy database: {error.message}") from None

    async def check(self) -> None:
        """Raises SetupError if tables of the original program are missing."""
        sql = "SELECT name FROM unnest(%s) name WHERE to_regclass(name) IS NULL"
        missing = ", ".join(name for (name,) in await self.fetch(sql, [list(TABLES)]))
        if missing:
            raise SetupError(f"the legacy database has no table {missing}: is it another database or schema?")

    async def users(self) -> list[OldUser]:
        """Returns all users."""
        sql = """
            SELECT id, name, local_token, gpt_token, to_jsonb(t) ->> 'comment',
                   (to_jsonb(t) ->> 'create_time')::timestamptz
            FROM sys_user_token t ORDER BY id"""
        return [
            OldUser(
                id=id_,
                name=name,
                local_token=token,
                gpt_token=key,
                comment=comment,
                create_time=usable_moment(created),
            )
            for id_, name, token, key, comment, created in await self.fetch(sql)
        ]

    async def config(self) -> list[OldConfig]:
        """Returns the configured prices."""
        sql = """
            SELECT coalesce(key, ''), value, timestamp FROM sys_config WHERE "group" = 'model_price' ORDER BY id"""
        return [OldConfig(key, value, usable_moment(moment)) for key, value, moment in await self.fetch(sql)]

    async def old_prices(self) -> list[OldPrice]:
        """Returns the prices in the history: for each model the first row of every price that differs from the row
        before."""
        sql = """
            SELECT model, define_price, timestamp FROM (
                SELECT model, define_price, timestamp,
                       lag(define_price) OVER (PARTITION BY model ORDER BY timestamp, id) AS before
                FROM sys_model_request
                WHERE model IS NOT NULL AND define_price IS NOT NULL
                  AND timestamp >= '2000-01-01Z' AND timestamp < '9999-01-01Z'
            ) priced WHERE before IS DISTINCT FROM define_price ORDER BY model, timestamp"""
        return [OldPrice(*row) for row in await self.fetch(sql)]

    async def count_requests(self) -> int:
        """Returns the number of rows in the history."""
        [(count,)] = await self.fetch("SELECT count(*) FROM sys_model_request")
        return int(count)

    async def owner_column(self) -> str | None:
        """Returns the column of `sys_model_request` with the id of a row's `sys_user_token`, which later versions of
        the original program added; None if it has no such column or several candidates."""
        sql = """
            SELECT attname FROM pg_attribute
            WHERE attrelid = to_regclass('sys_model_request') AND attnum > 0 AND NOT attisdropped
              AND atttypid IN ('int4'::regtype, 'int8'::regtype) AND attname <> ALL (%s)
              AND (attname LIKE '%%user%%' OR attname LIKE '%%token%%')"""
        names = [str(name) for (name,) in await self.fetch(sql, [list(_COLUMNS)])]
        return names[0] if len(names) == 1 else None

    async def requests(self, after: int | None, limit: int, owner: str | None) -> list[OldRequest]:
        """Returns the next rows of the history by id."""
        sql = """
            SELECT id, remote_id, model, prompt_tokens, completion_tokens, timestamp, price,
                   CASE WHEN %s::text IS NOT NULL THEN (to_jsonb(r) ->> %s)::bigint END
            FROM sys_model_request r WHERE %s::bigint IS NULL OR id > %s ORDER BY id LIMIT %s"""
        rows = await self.fetch(sql, [owner, owner, after, after, limit])
        return [OldRequest(**dict(zip(OldRequest.__struct_fields__, row, strict=True))) for row in rows]
