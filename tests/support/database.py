"""The database of an agent, seen by another client."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2

workers: dict[str, list[str]] = {}  # connection strings of the workers of a Citus cluster, by that of its coordinator


def servers_of(server: str) -> list[str]:
    """The connection strings of a server and, if it is a coordinator, of its workers."""
    return [server, *workers.get(server, [])]


@contextmanager
def connected(dsn: str) -> Iterator[Any]:
    """A cursor of a new connection, in autocommit mode."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def query(dsn: str, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Runs one statement and returns its rows."""
    with connected(dsn) as cursor:
        cursor.execute(sql, values or None)
        return list(cursor.fetchall()) if cursor.description else []


def end_connections(dsn: str) -> int:
    """Ends the agent's connections to this database, as a restart does, and returns their number."""
    sql = """
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'chatgpt-agent'"""
    return len(query(dsn, sql))


def end_all_connections(server: str, name: str) -> None:
    """Ends all connections to a database of a server."""
    query(server, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name])


class Database:
    """The database of a test, which can be made unavailable."""

    def __init__(self, postgres: str, name: str) -> None:
        self._postgres = postgres
        self._name = name

    def close(self) -> None:
        """Ends all connections and refuses new ones."""
        query(self._postgres, f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        end_all_connections(self._postgres, self._name)

    def open(self) -> None:
        """Allows connections again."""
        query(self._postgres, f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Refuses connections while the block runs."""
        self.close()
        try:
            yield
        finally:
            self.open()

    def back_up(self) -> None:
        """Copies the database as it is, for `restore`."""
        with self.closed():
            for server in servers_of(self._postgres):
                end_all_connections(server, self._name)
                query(server, f"CREATE DATABASE {self._name}_backup TEMPLATE {self._name} STRATEGY file_copy")

    def restore(self) -> None:
        """Puts the copy in the place of the database, whose connections end."""
        for server in reversed(servers_of(self._postgres)):  # agents ship again as soon as the first one is back
            query(server, f"DROP DATABASE {self._name} WITH (FORCE)")
            query(server, f"ALTER DATABASE {self._name}_backup RENAME TO {self._name}")


def allow_edits(dsn: str) -> None:
    """Lets SQL change and delete rows of usage, which a trigger refuses. On Citus, the change of a trigger has to be
    meant; elsewhere the setting has no effect."""
    with connected(dsn) as cursor:
        cursor.execute("SET citus.enable_unsafe_triggers = on")
        cursor.execute("ALTER TABLE usage DISABLE TRIGGER usage_is_final")


def without_checks(dsn: str) -> None:
    """Drops every check constraint, so that an edit can store values that the schema refuses."""
    checks = "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c' AND conparentid = 0"
    for table, name in query(dsn, f"{checks} AND connamespace = current_schema()::regnamespace"):
        query(dsn, f'ALTER TABLE {table} DROP CONSTRAINT IF EXISTS "{name}"')
