"""Reading changes of the directory from a real database."""

import pytest

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.directory import Changes, read_changes
from tests.adapters.postgres.records import add_price, add_user
from tests.support.database import connected


async def changes_since(store: Store, since: int) -> Changes:
    """The changes_since since a version, which must exist."""
    new = await read_changes(store, since)
    assert new is not None
    return new


async def test_the_first_read_is_whole(store: Store) -> None:
    """Since version -1 everything is read."""
    await add_user(store)
    await add_price(store)
    new = await changes_since(store, -1)
    assert (new.whole, len(new.users), len(new.tokens), len(new.prices)) == (True, 1, 1, 1)


async def test_an_unchanged_version_reads_nothing(store: Store) -> None:
    """Only the version is read."""
    await add_user(store)
    new = await changes_since(store, -1)
    assert await read_changes(store, new.version) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE users SET disabled_at = now() WHERE id = 2", (1, 0, 0)),
        ("UPDATE tokens SET revoked_at = now() WHERE id = 2", (0, 1, 0)),
        ("INSERT INTO prices (model, effective_at, created_at) VALUES ('m', now(), now())", (0, 0, 1)),
    ],
)
async def test_only_changed_rows_are_read(store: Store, change: str, expected: tuple[int, int, int]) -> None:
    """One changed user is read, not all users."""
    await add_user(store, "alice", 1)
    await add_user(store, "bob", 2)
    before = await changes_since(store, -1)
    await store.fetch(change)
    new = await changes_since(store, before.version)
    assert (new.whole, (len(new.users), len(new.tokens), len(new.prices))) == (False, expected)
    assert new.version > before.version


@pytest.mark.parametrize(
    "sql", ["DELETE FROM tokens WHERE user_id = 2", "TRUNCATE tokens, budgets", "DELETE FROM prices"]
)
async def test_after_a_deletion_everything_is_read(store: Store, sql: str) -> None:
    """A deleted row has no version, so everything is read."""
    await add_user(store, "alice", 1)
    await add_user(store, "bob", 2)
    await add_price(store)
    before = await changes_since(store, -1)
    await store.fetch(sql)
    assert (await changes_since(store, before.version)).whole


async def test_a_restored_backup_is_read_whole(store: Store) -> None:
    """A version that decreased makes the read whole."""
    await add_user(store)
    before = await changes_since(store, -1)
    await store.fetch("UPDATE directory_version SET version = version - 1")
    assert (await changes_since(store, before.version)).whole


async def test_standard_tier_only_is_read(store: Store) -> None:
    """A budget needs the setting for each request."""
    await add_user(store)
    assert [user.standard_tier_only for user in (await changes_since(store, -1)).users] == [False]
    await store.fetch("UPDATE users SET standard_tier_only = true")
    assert [user.standard_tier_only for user in (await changes_since(store, -1)).users] == [True]


async def test_an_uncommitted_change_is_read_after_its_commit(store: Store, dsn: str) -> None:
    """A change is not read before its commit, and not missed afterwards."""
    await add_user(store)
    before = await changes_since(store, -1)
    with connected(dsn) as other:
        other.execute("BEGIN")
        other.execute("UPDATE users SET disabled_at = now()")
        assert await read_changes(store, before.version) is None
        other.execute("COMMIT")
    assert [user.disabled for user in (await changes_since(store, before.version)).users] == [True]
