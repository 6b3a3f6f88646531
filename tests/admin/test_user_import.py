"""The import of users when the database changes or fails in between."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.connection import AuditedStore, SqlRow, Store
from chatgpt_agent.admin.user_import import UserImport
from chatgpt_agent.core.errors import Conflict, StoreUnavailable
from tests.support.administration import KEYRING, ROOT
from tests.support.database import query

FILE = b"name,openai_key\nalice,sk-a\nbob,sk-b\n"


class InterruptedStore(AuditedStore):
    """A store that calls a function before or after the statement that adds the users."""

    before: Callable[[], object] = staticmethod(lambda: None)
    after: Callable[[], object] = staticmethod(lambda: None)

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[SqlRow]:
        """Runs the statement between the two calls."""
        if "INSERT INTO budgets" not in sql:
            return await super().fetch(sql, parameters)
        self.before()
        rows = await super().fetch(sql, parameters)
        self.after()
        return rows


@pytest.fixture
def store(io_loop: IOLoop, dsn: str) -> Iterator[InterruptedStore]:
    """The store of the import."""
    connection = Store(dsn)
    interrupted = InterruptedStore(connection, ROOT, lambda: datetime.now(UTC))
    yield interrupted
    io_loop.run_sync(connection.close)


def add_bob(dsn: str) -> None:
    """Adds a user past the program."""
    query(dsn, "INSERT INTO users (name, upstream_key, created_at) VALUES ('bob', 'x', now())")


async def test_user_added_meanwhile_is_a_conflict(store: InterruptedStore, dsn: str, tmp_path: Path) -> None:
    """No user is added, and the file with their tokens is removed."""
    store.before = lambda: add_bob(dsn)
    path = tmp_path / "tokens.csv"
    with pytest.raises(Conflict, match="added at the same time by another admin"):
        await UserImport(store, KEYRING).run(FILE, tokens_file=path)
    assert (query(dsn, "SELECT name FROM users"), path.exists()) == ([("bob",)], False)


async def test_tokens_are_kept_when_the_outcome_is_unknown(store: InterruptedStore, dsn: str, tmp_path: Path) -> None:
    """The connection may fail after the commit: the error says how to find out."""

    def fail() -> None:
        raise StoreUnavailable("the database cannot be used: connection lost")

    store.after = fail
    path = tmp_path / "tokens.csv"
    with pytest.raises(StoreUnavailable, match="see with `user list` whether the users were added"):
        await UserImport(store, KEYRING).run(FILE, tokens_file=path)
    assert query(dsn, "SELECT name FROM users ORDER BY name") == [("alice",), ("bob",)]
    assert path.read_text().splitlines()[1].startswith("alice,cga_")
