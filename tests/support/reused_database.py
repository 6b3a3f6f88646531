"""A database with all tables that tests get one after the other, each as if it were new.

Copying the template, and the first connections to the copy, take ten times as long as putting the first content back.
"""

import time
from contextlib import ExitStack
from typing import Any

import psycopg2

from tests.support.database import connected
from tests.support.postgres_server import temporary_database

LEAVE_SECONDS = 0.1
LOCK_SECONDS = 2  # a lock that lasts longer belongs to what a test has left behind

# Other clients of the database.
CLIENTS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""

# Changes with every statement that defines, changes or drops something: PostgreSQL counts the rows that its catalogs
# get and lose, those of a client when it leaves at the latest
# (https://www.postgresql.org/docs/current/monitoring-stats.html).
DEFINITIONS = """
    SELECT (SELECT sum(pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid) +
                       pg_stat_get_tuples_deleted(oid))
            FROM pg_class
            WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared
              AND relname NOT LIKE 'pg_statistic%'),
           (SELECT array_agg(setconfig::text) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
            WHERE datname = current_database())"""

TABLES = """
    SELECT oid::regclass::text FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1"""
CONTENT = "SELECT coalesce(jsonb_agg(t ORDER BY t::text), '[]')::text FROM {table} t"
SEQUENCES = """
    SELECT format('SELECT setval(%L, %s, %L)', seqrelid::regclass, coalesce(last_value, start_value),
                  last_value IS NOT NULL)
    FROM pg_sequence JOIN pg_sequences ON seqrelid = format('%I.%I', schemaname, sequencename)::regclass"""
REFILL = "INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_recordset(NULL::{table}, %s)"


class ReusedDatabase:
    """One database of a server. `close` drops it."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._stack = ExitStack()
        self._dsn = ""
        self._cursor: Any = None
        # What it has at first.
        self._definitions: list[Any] = []
        self._content: dict[str, str] = {}  # by table
        self._sequences = ""

    def take(self) -> str:
        """The connection string of the database, with its first content."""
        if self._cursor is not None and not self._is_restored():
            self.close()
        if self._cursor is None:
            self._make()
        return self._dsn

    def _make(self) -> None:
        self._dsn = self._stack.enter_context(temporary_database(self._server))
        self._cursor = self._stack.enter_context(connected(self._dsn))
        self._cursor.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        self._definitions = self._rows(DEFINITIONS)
        self._content = {table: self._value(CONTENT.format(table=table)) for table in self._values(TABLES)}
        self._sequences = "; ".join(self._values(SEQUENCES))

    def _is_restored(self) -> bool:
        """Puts the first content back. Returns False where the last test has left something else behind."""
        try:
            if not self._is_left() or self._rows(DEFINITIONS) != self._definitions:
                return False
            # No trigger runs: some tables refuse changes, and others count them.
            self._cursor.execute("SET session_replication_role = replica")
            for table, content in self._content.items():
                if content == "[]":
                    self._cursor.execute(f"DELETE FROM {table}")
                elif self._value(CONTENT.format(table=table)) != content:
                    self._cursor.execute(f"DELETE FROM {table}; {REFILL.format(table=table)}", [content])
            self._cursor.execute(f"SET session_replication_role = origin; {self._sequences}")
        except psycopg2.Error:
            return False
        return True

    def _is_left(self) -> bool:
        """Whether all other clients have left, which takes a closed connection a moment."""
        until = time.monotonic() + LEAVE_SECONDS
        while self._value(CLIENTS) != 0:
            if time.monotonic() > until:
                return False
            time.sleep(0.002)
        return True

    def _rows(self, sql: str) -> list[Any]:
        self._cursor.execute(sql)
        rows: list[Any] = self._cursor.fetchall()
        return rows

    def _values(self, sql: str) -> list[Any]:
        return [value for (value,) in self._rows(sql)]

    def _value(self, sql: str) -> Any:
        [value] = self._values(sql)
        return value

    def close(self) -> None:
        """Drops the database."""
        self._cursor = None
        self._stack.close()
