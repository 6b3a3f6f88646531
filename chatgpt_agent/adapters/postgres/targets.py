"""Databases that a backup is restored into: an empty one, or a temporary one that is dropped again."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from psycopg2.extensions import make_dsn
from psycopg2.sql import SQL, Identifier

from chatgpt_agent.adapters.migrate import checked_status, connect
from chatgpt_agent.core.errors import SetupError, StoreUnavailable

PREFIX = "chatgpt_agent_check_"  # of temporary databases


class Target(NamedTuple):
    """A database: its name, the major version of its server, whether it has no tables, and else the id of its
    ledger."""

    name: str
    server: int
    is_empty: bool
    ledger_id: str | None


def prepare_target(dsn: str, schema: str) -> Target:
    """Looks at a database, and creates the schema that its tables are to be in, if that is missing. Raises SetupError:
    it belongs to another application, or the connection uses another schema; StoreUnavailable."""
    status = checked_status(dsn)
    with connect(dsn, use="restored") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        [(current,)] = cursor.fetchall()
        if current is None:
            cursor.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)))
            cursor.execute("SELECT current_schema()")
            [(current,)] = cursor.fetchall()
        if current != schema:
            raise SetupError(
                f"the tables of the backup are in the schema {schema}, and database_url uses the schema {current}: "
                f"add ?options=-c%20search_path%3D{schema} to it"
            )
        cursor.execute("SELECT to_regclass('ledger') IS NOT NULL")
        [(has_ledger,)] = cursor.fetchall()
        cursor.execute("SELECT id FROM ledger" if has_ledger else "SELECT NULL")
        return Target(
            name=str(connection.info.dbname),
            server=connection.info.server_version // 10000,
            is_empty=not status.applied and not status.unknown,
            ledger_id=cursor.fetchone()[0],
        )


def analyze(dsn: str) -> None:
    """Lets PostgreSQL plan its statements for the restored rows. Raises SetupError, StoreUnavailable."""
    with connect(dsn, use="analyzed") as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
            "AND relkind IN ('r', 'p') AND NOT relispartition"
        )
        cursor.execute(f"ANALYZE {', '.join(name for (name,) in cursor.fetchall())}")


@contextmanager
def temporary_database(dsn: str) -> Iterator[str]:
    """A database of a random name beside another one, which is dropped afterwards; its connection string. Raises
    SetupError, StoreUnavailable."""
    name = f"{PREFIX}{secrets.token_hex(6)}"
    with connect(dsn, use="created") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT rolcreatedb OR rolsuper, rolname FROM pg_roles WHERE rolname = current_user")
        [(allowed, role)] = cursor.fetchall()
        if not allowed:
            raise SetupError(
                f"the database account {role} may not create the temporary database of the check: run `ALTER ROLE "
                f"{role} CREATEDB`, or check with the variable DATABASE_URL=embedded"
            )
        cursor.execute(SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(Identifier(name)))
    try:
        yield str(make_dsn(dsn, dbname=name))
    finally:
        with suppress(SetupError, StoreUnavailable):  # the next check names what is left
            _drop(dsn, name)


def _drop(dsn: str, name: str) -> None:
    with connect(dsn, use="dropped") as connection, connection.cursor() as cursor:
        cursor.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def abandoned_databases(dsn: str) -> list[str]:
    """Returns the temporary databases that interrupted checks have left. Raises SetupError, StoreUnavailable."""
    with connect(dsn, use="read") as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT datname FROM pg_database d WHERE starts_with(datname, %s) AND NOT EXISTS "
            "(SELECT FROM pg_stat_activity a WHERE a.datid = d.oid) ORDER BY 1",
            [PREFIX],
        )
        return [str(name) for (name,) in cursor.fetchall()]
