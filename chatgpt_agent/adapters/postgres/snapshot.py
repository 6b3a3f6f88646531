"""What a database holds at one moment: a snapshot that pg_dump can use, too, and sums of its tables.

The sums prove that a restored database is the same one. They do not depend on the order of rows, on the settings of a
session or on the version of PostgreSQL.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from psycopg2.sql import SQL, Identifier

from chatgpt_agent.adapters.migrate import connect
from chatgpt_agent.core.backup import Contents, TableSum

# Limits of a session would end the transaction while pg_dump runs; the other settings decide how values look as text.
_BEGIN = """
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL statement_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL timezone = 'UTC';
    SET LOCAL datestyle = 'ISO';
    SET LOCAL intervalstyle = 'postgres';
    SET LOCAL bytea_output = 'hex';
    SET LOCAL extra_float_digits = 1"""
_TABLES = """
    SELECT relname::text FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
      AND relname !~ '^_?yoyo_'
    ORDER BY relname"""
_SUM = """
    SELECT count(*), coalesce(sum(('x' || left(md5(t::text), 15))::bit(60)::bigint), 0)::text FROM {} t"""
_HAS_COLUMN = """
    SELECT FROM information_schema.columns
    WHERE table_schema = current_schema() AND (table_name, column_name) = (%s, %s)"""


class Snapshot:
    """A transaction that sees the database as it was at its first statement."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.server = connection.info.server_version // 10000  # the major version
        self.database = str(connection.info.dbname)
        [(id_, schema)] = self._rows("SELECT pg_export_snapshot(), current_schema()")
        self.id, self.schema = str(id_), str(schema)

    def contents(self) -> Contents:
        """Reads all tables but those of yoyo. Raises SetupError, StoreUnavailable."""
        tables = [str(name) for (name,) in self._rows(_TABLES)]
        has_migrations = self._rows("SELECT WHERE to_regclass('_yoyo_migration') IS NOT NULL")
        migrations = self._rows("SELECT migration_id FROM _yoyo_migration ORDER BY 1") if has_migrations else []
        ledger = self._rows("SELECT id FROM ledger") if "ledger" in tables else []
        return Contents(
            server=self.server,
            schema=self.schema,
            migrations=[name for (name,) in migrations],
            ledger_id=str(ledger[0][0]) if ledger else None,
            tables={name: TableSum(*self._rows(SQL(_SUM).format(Identifier(name)))[0]) for name in tables},
            cost=self._cost(),
        )

    @property
    def other_databases(self) -> list[str]:
        """The names of the server's other databases, without templates."""
        names = self._rows("SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> current_database()")
        return [str(name) for (name,) in names]

    def waiting_agents(self) -> dict[str, int]:
        """Returns how many rows the agents have to ship, by the ids of those that have any, as they last reported."""
        if not self._rows(_HAS_COLUMN, ["agents", "backlog"]):
            return {}
        rows = self._rows("SELECT id::text, backlog FROM agents WHERE backlog > 0")
        return {str(agent): int(backlog) for agent, backlog in rows}

    def _cost(self) -> Decimal | None:
        if not self._rows(_HAS_COLUMN, ["usage", "cost"]):
            return None
        [(cost,)] = self._rows("SELECT coalesce(sum(cost), 0) FROM usage")
        return Decimal(cost)

    def _rows(self, sql: Any, values: Any = None) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall())


@contextmanager
def snapshot(dsn: str) -> Iterator[Snapshot]:
    """A snapshot of a database, which stays valid until the context ends. Raises SetupError, StoreUnavailable."""
    with connect(dsn, use="read") as connection:
        with connection.cursor() as cursor:
            cursor.execute(_BEGIN)
        yield Snapshot(connection)
