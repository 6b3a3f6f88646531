"""What the account of this program may do in the database."""

import msgspec

from chatgpt_agent.adapters.postgres.connection import AnyStore


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """`account` in `schema`, where its tables are; None: no schema of the search path exists. `is_replica`,
    `is_read_only`: nothing can be written, because the server follows another one, or by a setting. `may_create`: new
    tables; `owns_ledger`: it may create partitions of `usage`, and migrate it. `closed_tables`: those of this program
    that it cannot read or add rows to."""

    account: str
    schema: str | None
    is_replica: bool
    is_read_only: bool
    may_create: bool
    owns_ledger: bool
    closed_tables: list[str]


async def read_rights(store: AnyStore) -> Rights:
    """Returns the rights, out of the catalog: nothing is tried."""
    sql = """
        SELECT current_user, current_schema(), pg_is_in_recovery(), current_setting('transaction_read_only')::boolean,
               coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
               coalesce((SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('usage')), false),
               ARRAY(SELECT c.relname::text FROM pg_class c
                     WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema()))
                       AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                       AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT'))
                     ORDER BY 1)"""
    [row] = await store.fetch(sql)
    return Rights(**dict(zip(Rights.__struct_fields__, row, strict=True)))
