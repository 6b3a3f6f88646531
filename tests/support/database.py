"""PostgreSQL as somebody else at the same database sees it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2


@contextmanager
def connected(dsn: str) -> Iterator[Any]:
    """A cursor of a connection of its own, where every statement commits by itself."""
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
    """Ends the agent's connections to this database, as a restart or an administrator does; returns how many."""
    sql = """
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'chatgpt-agent'"""
    return len(query(dsn, sql))


class Database:
    """A test's own database, which can be away."""

    def __init__(self, postgres: str, name: str) -> None:
        self._postgres = postgres
        self._name = name

    def close(self) -> None:
        """Ends all its connections and takes no more."""
        query(self._postgres, f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        query(
            self._postgres,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            [self._name],
        )

    def open(self) -> None:
        """Takes them again."""
        query(self._postgres, f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")
