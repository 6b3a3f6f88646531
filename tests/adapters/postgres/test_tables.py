"""Users, tokens, prices and settings in a real database."""

import asyncio
from datetime import timedelta

import pytest

from chatgpt_agent.adapters.postgres import prices, settings, tokens
from chatgpt_agent.adapters.postgres import users as accounts
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.errors import StoreRejected
from tests.adapters.postgres.records import add_price, add_user
from tests.support.factories import NOON

LATER = NOON + timedelta(hours=1)


async def test_the_first_master_key_check_is_kept(store: Store) -> None:
    """One of two first starts succeeds, and both read its value."""
    assert await settings.master_key_check(store) is None
    assert await settings.master_key_check(store, "a") == "a"
    assert await settings.master_key_check(store, "b") == "a"


async def test_user_ids_are_unique(store: Store) -> None:
    """Concurrent calls return different ids."""
    ids = await asyncio.gather(*(accounts.next_user_ids(store, 3) for _ in range(10)))
    assert len({id_ for some in ids for id_ in some}) == 30


async def test_a_user_is_added_with_a_token(store: Store) -> None:
    """One statement adds both."""
    added = await add_user(store)
    [user], [token] = await accounts.list_users(store), await tokens.list_tokens(store)
    assert (user.id, user.name, user.created_at, user.disabled_at, user.tokens) == (1, "alice", NOON, None, 1)
    assert (token.id, token.user, token.token_prefix, token.label) == (added, "alice", "cga_abcd", "")


@pytest.mark.parametrize(
    "digest", ["(SELECT digest FROM tokens WHERE id = 1)", "'short'", "decode(repeat('0', 66), 'hex')"]
)
async def test_digest_is_unique_and_has_32_bytes(store: Store, digest: str) -> None:
    """Two tokens never identify each other's users."""
    await add_user(store)
    await add_user(store, "bob", 2)
    with pytest.raises(StoreRejected):
        await store.fetch(f"UPDATE tokens SET digest = {digest} WHERE id = 2")


async def test_a_user_with_an_existing_name_is_not_added(store: Store) -> None:
    """The token is not added, either."""
    await add_user(store)
    assert not await add_user(store, id=2)
    assert len(await tokens.list_tokens(store)) == 1


async def test_users_are_listed_by_name(store: Store) -> None:
    """All users, or the one with a name, are returned."""
    await add_user(store, "bob", 1)
    await add_user(store, "alice", 2)
    assert [user.name for user in await accounts.list_users(store)] == ["alice", "bob"]
    assert [user.name for user in await accounts.list_users(store, "bob")] == ["bob"]


async def test_only_active_tokens_are_counted(store: Store) -> None:
    """A revoked token is not counted."""
    await add_user(store)
    await tokens.revoke_token(store, 1, LATER)
    assert [user.tokens for user in await accounts.list_users(store)] == [0]


async def test_a_user_is_disabled_and_enabled(store: Store) -> None:
    """Disabling again keeps the first date."""
    await add_user(store)
    assert await accounts.change_user(store, "alice", {}, disabled=True, now=NOON)
    assert await accounts.change_user(store, "alice", {}, disabled=True, now=LATER)
    assert [user.disabled_at for user in await accounts.list_users(store)] == [NOON]
    assert await accounts.change_user(store, "alice", {}, disabled=False, now=LATER)
    assert [user.disabled_at for user in await accounts.list_users(store)] == [None]


async def test_a_token_is_added_to_a_user(store: Store) -> None:
    """The id of the new token is returned."""
    await add_user(store)
    added = await tokens.add_token(
        store, user="alice", digest=b"x" * 32, token_prefix="cga_x", settings={"label": "laptop"}, now=LATER
    )
    assert [(token.id, token.label) for token in await tokens.list_tokens(store, "alice")] == [
        (1, ""),
        (added, "laptop"),
    ]


async def test_tokens_are_listed_by_user(store: Store) -> None:
    """Tokens of other users are left out."""
    await add_user(store, "alice", 1)
    await add_user(store, "bob", 2)
    assert [token.user for token in await tokens.list_tokens(store, "bob")] == ["bob"]


async def test_revoking_again_keeps_the_first_date(store: Store) -> None:
    """The second call succeeds and changes_since nothing."""
    await add_user(store)
    assert await tokens.revoke_token(store, 1, NOON)
    assert await tokens.revoke_token(store, 1, LATER)
    assert [token.revoked_at for token in await tokens.list_tokens(store)] == [NOON]


async def test_changes_of_missing_objects_return_nothing(store: Store) -> None:
    """A change of a user or token that does not exist returns None or False."""
    assert await accounts.change_user(store, "bob", {}, disabled=True, now=NOON) is None
    assert not await tokens.revoke_token(store, 99, NOON)
    assert await tokens.add_token(store, user="bob", digest=b"x" * 32, token_prefix="", settings={}, now=NOON) is None


async def test_a_digest_is_unique(store: Store) -> None:
    """The database rejects a second token with the same digest."""
    await add_user(store, "alice", 1)
    await add_user(store, "bob", 2)
    with pytest.raises(StoreRejected):
        await store.fetch("UPDATE tokens SET digest = (SELECT digest FROM tokens WHERE id = 1)")


async def test_prices_keep_their_history(store: Store) -> None:
    """Prices are listed by model and date, with every digit."""
    await add_price(store, "m", "0.1234567890", LATER)
    await add_price(store, "m", None, LATER + timedelta(days=1))
    await add_price(store, "a", "2")
    rows = await prices.list_prices(store)
    assert [(price.model, str(price.rates.input)) for price in rows] == [
        ("a", "2"),
        ("m", "0.1234567890"),
        ("m", "None"),
    ]


@pytest.mark.parametrize("amounts", [("-1", "1"), ("1", "-1"), (None, "1"), ("1", None)])
async def test_the_database_rejects_an_invalid_price(store: Store, amounts: tuple[str | None, ...]) -> None:
    """A CHECK also covers prices that are inserted in SQL."""
    with pytest.raises(StoreRejected):
        await store.fetch(
            "INSERT INTO prices (model, effective_at, input, output, created_at) VALUES ('m', now(), %s, %s, now())",
            amounts,
        )
