"""What PostgreSQL says about itself and the database: its version, sizes and connections."""

from datetime import datetime

import msgspec
import psycopg2
from psycopg2.extensions import libpq_version

from chatgpt_agent.adapters.postgres.connection import AnyStore


class TableSize(msgspec.Struct, frozen=True):
    """A table with its indexes and partitions, in bytes."""

    name: str
    bytes: int


class DatabaseHealth(msgspec.Struct, frozen=True, kw_only=True):
    """`connections`: of this program to this database; `all_connections`: of all programs to the whole server;
    `max_connections`: the most that the server accepts; `bytes`: of the whole database. The largest table is first."""

    name: str
    version: str
    bytes: int
    connections: int
    all_connections: int
    max_connections: int
    tables: list[TableSize]


async def read_health(store: AnyStore, *, with_tables: bool = True) -> DatabaseHealth:
    """Returns the state of the database. It reads sizes, no rows; `with_tables`: those of tables, too, for which it
    waits while another session has one locked."""
    sql = """
        SELECT current_database(), current_setting('server_version'), pg_database_size(current_database()),
               count(*) FILTER (WHERE datname = current_database() AND application_name = 'chatgpt-agent'),
               count(*) FILTER (WHERE backend_type = 'client backend'), current_setting('max_connections')::bigint
        FROM pg_stat_activity"""
    [figures] = await store.fetch(sql)
    names = [name for name in DatabaseHealth.__struct_fields__ if name != "tables"]
    return DatabaseHealth(
        **dict(zip(names, figures, strict=True)), tables=await _table_sizes(store) if with_tables else []
    )


async def server_version(store: AnyStore) -> str:
    """Returns the version of PostgreSQL."""
    [(version,)] = await store.fetch("SELECT current_setting('server_version')")
    return str(version)


def driver_versions() -> dict[str, str]:
    """Returns the versions of psycopg2 and of its libpq by name."""
    major, minor = divmod(libpq_version(), 10_000)  # 170011 is 17.11
    own = str(psycopg2.__version__)  # type: ignore[attr-defined]  # types-psycopg2 leaves it out
    return {"psycopg2": own.partition(" ")[0], "libpq": f"{major}.{minor}"}


async def read_clock(store: AnyStore) -> datetime:
    """Returns the time of day by the server's clock."""
    [(now,)] = await store.fetch("SELECT clock_timestamp()")
    return now  # type: ignore[no-any-return]


async def _table_sizes(store: AnyStore) -> list[TableSize]:
    sql = """
        SELECT coalesce(p.relname, c.relname), sum(pg_total_relation_size(c.oid))::bigint
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
             LEFT JOIN pg_class p ON p.oid = i.inhparent
        WHERE c.relkind = 'r' AND n.nspname = current_schema()
        GROUP BY 1 ORDER BY 2 DESC, 1"""
    return [TableSize(str(name), int(size)) for name, size in await store.fetch(sql)]
