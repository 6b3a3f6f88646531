"""Users, tokens and prices as an administrator changes them: what is taken, what is refused, what is kept."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.users import UserRow
from chatgpt_agent.admin.users import Accounts
from chatgpt_agent.core.access.admission import Limits
from chatgpt_agent.core.access.tokens import is_well_formed
from chatgpt_agent.core.access.user_changes import (
    MAX_KEY,
    MAX_NAME,
    TokenChanges,
    UserChanges,
    check_changes,
    check_upstream_key,
)
from chatgpt_agent.core.errors import Conflict, InvalidValue, NotFound, VersionMismatch
from chatgpt_agent.core.money.pricing import MAX_MODEL, PriceBook, Rates
from tests.support.database import query
from tests.support.factories import NOON

KEYRING = Keyring(b"m" * 32)
KEY = "sk-made-up-canary"
LIMITS = Limits(rpm=3)
TEXTS = ["", " ", " a", "a ", "a\nb", "a\0b", "a\tb", "a\x1bb", "a\u2028b", "a\udcffb"]


@pytest.fixture
def accounts(io_loop: IOLoop, dsn: str) -> Iterator[Accounts]:
    """The changes, on a database of the test's own."""
    store = Store(dsn)
    yield Accounts(store, KEYRING)
    io_loop.run_sync(store.close)


async def set_price(accounts: Accounts, model: str = "m", input: str = "1", **other: Any) -> None:
    """A price whose amounts are all the same."""
    amount = Decimal(input)
    await accounts.set_price(model, Rates(input=amount, output=amount), **other)


# Users.


async def test_a_user_gets_a_token(accounts: Accounts) -> None:
    """One of ours, shown this once."""
    issued = await accounts.add_user("alice", KEY)
    assert issued.user == "alice"
    assert is_well_formed(issued.token)


async def test_neither_token_nor_key_is_in_the_database(accounts: Accounts, dsn: str) -> None:
    """Its digest is, and the key sealed for this user."""
    issued = await accounts.add_user("alice", KEY)
    [(id_, sealed, digest, token_prefix)] = query(
        dsn, "SELECT u.id, upstream_key, digest, token_prefix FROM users u JOIN tokens t ON t.user_id = u.id"
    )
    assert KEYRING.decrypt(id_, bytes(sealed)) == KEY
    assert bytes(digest) == KEYRING.digest(issued.token)
    assert token_prefix == issued.token[:8]
    assert KEY.encode() not in bytes(sealed)


async def test_a_name_that_cannot_be_shown_is_refused(accounts: Accounts) -> None:
    """Nothing is added."""
    for name in [*TEXTS, "a" * (MAX_NAME + 1)]:
        with pytest.raises(InvalidValue, match=r"name: .* printable characters"):
            await accounts.add_user(name, KEY)
    assert await accounts.users() == []


async def test_a_name_that_can_be_shown_is_kept_as_it_is(accounts: Accounts) -> None:
    """Whatever it would mean elsewhere."""
    for name in ["a", "a b", "Ælfgifu 陳", "o'brien; DROP TABLE users", "<b>%s</b>", "a" * MAX_NAME]:
        await accounts.add_user(name, KEY)
        assert (await accounts.user(name)).name == name


@pytest.mark.parametrize("key", ["", "sk canary", "sk-canary\n", "sk-canaré", "sk-canary\0", "canary" * MAX_KEY])
def test_a_key_that_is_none_is_refused_and_not_repeated(key: str) -> None:
    """The line may end in a log."""
    with pytest.raises(InvalidValue, match="the OpenAI key must be 1 to 512 printable ASCII") as caught:
        check_upstream_key(key)
    assert "canar" not in str(caught.value)


@pytest.mark.parametrize("key", ["k", "k" * MAX_KEY, "Key:with/all+signs=%"])
def test_a_key_of_any_other_maker_is_taken(key: str) -> None:
    """Not all begin with sk-."""
    check_upstream_key(key)


async def test_a_user_with_a_key_that_is_none_is_not_added(accounts: Accounts) -> None:
    """Nor is a token."""
    with pytest.raises(InvalidValue):
        await accounts.add_user("alice", "not one")
    assert await accounts.users() == []


async def test_a_name_that_is_taken_is_refused(accounts: Accounts) -> None:
    """The first user stays as they are."""
    await accounts.add_user("alice", KEY)
    before = await accounts.user("alice")
    with pytest.raises(Conflict, match="there is a user 'alice' already"):
        await accounts.add_user("alice", "another")
    assert await accounts.users() == [before]


async def test_a_key_is_replaced(accounts: Accounts, dsn: str) -> None:
    """Sealed for the same user."""
    await accounts.add_user("alice", KEY)
    await accounts.set_upstream_key("alice", "another")
    [(id_, sealed)] = query(dsn, "SELECT id, upstream_key FROM users")
    assert KEYRING.decrypt(id_, bytes(sealed)) == "another"


async def test_a_key_is_not_replaced_by_one_that_is_none(accounts: Accounts, dsn: str) -> None:
    """The old one goes on working."""
    await accounts.add_user("alice", KEY)
    with pytest.raises(InvalidValue):
        await accounts.set_upstream_key("alice", "not one")
    [(id_, sealed)] = query(dsn, "SELECT id, upstream_key FROM users")
    assert KEYRING.decrypt(id_, bytes(sealed)) == KEY


async def test_a_user_is_disabled_and_enabled(accounts: Accounts) -> None:
    """As often as wanted."""
    await accounts.add_user("alice", KEY)
    await accounts.set_enabled("alice", False)
    await accounts.set_enabled("alice", False)
    assert (await accounts.user("alice")).disabled_at is not None
    await accounts.set_enabled("alice", True)
    assert (await accounts.user("alice")).disabled_at is None


async def test_a_user_who_is_not_there_is_told(accounts: Accounts) -> None:
    """By every change that names one."""
    for change in (
        accounts.user("bob"),
        accounts.set_upstream_key("bob", KEY),
        accounts.issue_token("bob"),
        accounts.set_enabled("bob", False),
        accounts.tokens("bob"),
    ):
        with pytest.raises(NotFound, match="there is no user 'bob'"):
            await change


# Tokens.


async def test_more_tokens_can_be_issued(accounts: Accounts) -> None:
    """Each is another, and has its label."""
    first = await accounts.add_user("alice", KEY)
    second = await accounts.issue_token("alice", label="laptop")
    assert first.token != second.token
    assert [token.label for token in await accounts.tokens("alice")] == ["", "laptop"]


async def test_a_label_that_cannot_be_shown_is_refused(accounts: Accounts) -> None:
    """No label at all is fine."""
    await accounts.add_user("alice", KEY)
    for label in [*TEXTS[1:], "a" * (MAX_NAME + 1)]:
        with pytest.raises(InvalidValue, match="label: "):
            await accounts.issue_token("alice", label=label)


async def test_a_token_is_revoked(accounts: Accounts) -> None:
    """Once is enough, twice is no fault, and the first time counts."""
    await accounts.add_user("alice", KEY)
    [token] = await accounts.tokens(None)
    await accounts.revoke_token(token.id)
    [revoked] = await accounts.tokens(None)
    await accounts.revoke_token(token.id)
    assert revoked.revoked_at is not None
    assert [token.revoked_at for token in await accounts.tokens(None)] == [revoked.revoked_at]


async def test_a_token_that_is_not_there_is_told(accounts: Accounts) -> None:
    """By its number."""
    with pytest.raises(NotFound, match="there is no token 99"):
        await accounts.revoke_token(99)


# Changes.


async def test_a_user_is_changed_where_it_is_said(accounts: Accounts) -> None:
    """What is not said stays."""
    await accounts.add_user("alice", KEY, comment="Sales", limits=Limits(rpm=5))
    changed = await accounts.change_user("alice", UserChanges(allowed_models=("gpt-4o*",), rpm=None, tpm=9))
    assert (changed.comment, changed.allowed_models, changed.rpm, changed.tpm) == ("Sales", ("gpt-4o*",), None, 9)
    assert await accounts.user("alice") == changed


async def test_a_token_is_changed_where_it_is_said(accounts: Accounts) -> None:
    """What is not said stays."""
    await accounts.add_user("alice", KEY)
    until = datetime(2099, 1, 1, tzinfo=UTC)
    issued = await accounts.issue_token("alice", label="a", allowed_networks=("10.0.0.0/8",), limits=Limits(tpm=7))
    changed = await accounts.change_token(issued.id, TokenChanges(expires_at=until, allowed_models=("m",)))
    assert (changed.label, changed.tpm, changed.allowed_networks) == ("a", 7, ("10.0.0.0/8",))
    assert (changed.expires_at, changed.allowed_models) == (until, ("m",))
    assert await accounts.token(issued.id) == changed


async def test_of_two_changes_of_one_version_one_is_refused(accounts: Accounts) -> None:
    """Nobody overwrites what they have not seen."""
    await accounts.add_user("alice", KEY)
    read = (await accounts.user("alice")).version
    results = await asyncio.gather(
        *(accounts.change_user("alice", UserChanges(comment=word), version=read) for word in ("one", "two")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [UserRow, VersionMismatch]
    assert (await accounts.user("alice")).comment == "one"


async def test_a_token_of_another_version_is_not_changed(accounts: Accounts) -> None:
    """By no change."""
    issued = await accounts.add_user("alice", KEY)
    before = await accounts.token(issued.id)
    with pytest.raises(VersionMismatch):
        await accounts.change_token(issued.id, TokenChanges(label="x"), version=before.version - 1)
    with pytest.raises(VersionMismatch):
        await accounts.revoke_token(issued.id, version=before.version - 1)
    assert await accounts.token(issued.id) == before
    assert (await accounts.revoke_token(issued.id, version=before.version)).revoked_at is not None


@pytest.mark.parametrize(
    "changes",
    [
        UserChanges(comment="a\nb"),
        UserChanges(allowed_models=()),
        UserChanges(allowed_models=("",)),
        UserChanges(rpm=0),
        UserChanges(tpm=-1),
        UserChanges(concurrency=10**20),
        TokenChanges(label="a\tb"),
        TokenChanges(allowed_networks=("10.0.0.0/33",)),
        TokenChanges(allowed_networks=()),
        TokenChanges(expires_at=datetime(2099, 1, 1)),
    ],
)
def test_a_change_to_what_cannot_be_is_refused(changes: UserChanges | TokenChanges) -> None:
    """Before the database is asked."""
    with pytest.raises(InvalidValue):
        check_changes(changes)


async def test_a_removed_user_leaves_their_name_and_nothing_that_works(accounts: Accounts, dsn: str) -> None:
    """The key is destroyed, the tokens are revoked, and nobody else gets the name."""
    await accounts.add_user("alice", KEY)
    removed = await accounts.remove_user("alice")
    assert (removed.removed_at is not None, removed.tokens) == (True, 0)
    assert query(dsn, "SELECT upstream_key FROM users")[0][0].tobytes() == b""
    assert [token.revoked_at is None for token in await accounts.tokens("alice")] == [False]
    with pytest.raises(Conflict):
        await accounts.add_user("alice", KEY)


async def test_a_removed_user_cannot_be_changed(accounts: Accounts) -> None:
    """Nothing brings them back."""
    await accounts.add_user("alice", KEY)
    await accounts.remove_user("alice")
    for change in (
        accounts.set_enabled("alice", True),
        accounts.set_upstream_key("alice", KEY),
        accounts.issue_token("alice"),
        accounts.remove_user("alice"),
    ):
        with pytest.raises(NotFound, match="the user 'alice' was removed"):
            await change


async def test_a_token_is_rotated(accounts: Accounts, dsn: str) -> None:
    """The new one has all that the old one had, and its budgets; the old one works for the grace alone."""
    await accounts.add_user("alice", KEY)
    until = datetime(2099, 1, 1, tzinfo=UTC)
    old = await accounts.issue_token(
        "alice", label="ci", expires_at=until, allowed_models=("m*",), limits=Limits(rpm=3)
    )
    query(
        dsn,
        """INSERT INTO budgets (token_id, period, amount, created_at)
           SELECT %s, period, amount, now() FROM (VALUES ('day', 5), ('week', NULL)) AS b (period, amount)""",
        [old.id],
    )
    new = await accounts.rotate_token(old.id, grace=timedelta(hours=1))
    before, after = await accounts.token(old.id), await accounts.token(new.id)
    assert (after.label, after.expires_at, after.allowed_models, after.rpm) == ("ci", until, ("m*",), 3)
    assert before.expires_at is not None
    assert timedelta(minutes=59) < before.expires_at - datetime.now(UTC) <= timedelta(hours=1)
    assert query(dsn, "SELECT period, amount FROM budgets WHERE token_id = %s", [new.id]) == [("day", 5)]


async def test_a_rotated_token_does_not_live_longer(accounts: Accounts) -> None:
    """Its own expiry comes first, where it is earlier than the end of the grace."""
    await accounts.add_user("alice", KEY)
    soon = datetime.now(UTC) + timedelta(minutes=5)
    old = await accounts.issue_token("alice", expires_at=soon)
    await accounts.rotate_token(old.id, grace=timedelta(days=1))
    assert (await accounts.token(old.id)).expires_at == soon


async def test_a_token_that_is_over_is_not_rotated(accounts: Accounts) -> None:
    """It would be revived."""
    issued = await accounts.add_user("alice", KEY)
    await accounts.revoke_token(issued.id)
    with pytest.raises(InvalidValue, match="is not in force"):
        await accounts.rotate_token(issued.id, grace=timedelta(0))
    assert len(await accounts.tokens()) == 1


async def test_lists_come_in_pages(accounts: Accounts) -> None:
    """Each goes on where the one before ended."""
    for name in "cab":
        await accounts.add_user(name, KEY)
    assert [user.name for user in await accounts.users(after="a", limit=1)] == ["b"]
    first, *others = [token.id for token in await accounts.tokens()]
    assert [token.id for token in await accounts.tokens(after=first)] == others


async def test_the_audit_log_tells_of_a_change(accounts: Accounts, dsn: str) -> None:
    """Who, what, and what it was before."""
    await accounts.add_user("alice", KEY)
    await accounts.change_user("alice", UserChanges(comment="Sales"))
    [(actor, before, after)] = query(dsn, "SELECT actor, before, after FROM audit_log WHERE action = 'update'")
    assert (actor, before, after) == ("chatgpt-agent", {"comment": ""}, {"comment": "Sales"})


# Prices.


async def test_a_price_is_in_force_from_now_on(accounts: Accounts) -> None:
    """And keeps its digits."""
    await set_price(accounts, input="0.1234567891")
    [price] = await accounts.prices()
    assert (price.model, price.input, price.output) == ("m", Decimal("0.1234567891"), Decimal("0.1234567891"))
    assert PriceBook([price]).at("m", price.effective_at) == price


async def test_a_price_can_begin_on_a_date(accounts: Accounts) -> None:
    """The one before counts until then."""
    await set_price(accounts, input="1", since=NOON)
    await set_price(accounts, input="2", since=NOON + timedelta(days=1))
    book = PriceBook(await accounts.prices())
    found = [book.at("m", NOON + timedelta(hours=hours)) for hours in (-1, 0, 23, 24)]
    assert [price and price.input for price in found] == [None, 1, 1, 2]


async def test_a_price_is_superseded_and_not_changed(accounts: Accounts) -> None:
    """Rows that were charged with it still show what it was."""
    await set_price(accounts, input="1")
    [first] = await accounts.prices()
    await set_price(accounts, input="2")
    assert [price.input for price in await accounts.prices()] == [1, 2]
    assert first in await accounts.prices()


async def test_a_price_is_taken_away_from_now_on(accounts: Accounts) -> None:
    """Its history stays."""
    await set_price(accounts, since=NOON)
    await accounts.remove_price("m")
    prices = await accounts.prices()
    assert len(prices) == 2
    assert PriceBook(prices).at("m", prices[-1].effective_at) is None
    assert PriceBook(prices).at("m", NOON) is not None


async def test_a_price_that_is_not_there_is_told(accounts: Accounts) -> None:
    """One that was taken away is not there either."""
    await set_price(accounts)
    await accounts.remove_price("m")
    for model in ("m", "n"):
        with pytest.raises(NotFound, match=f"the model '{model}' has no price"):
            await accounts.remove_price(model)


async def test_a_model_that_cannot_be_asked_for_is_refused(accounts: Accounts) -> None:
    """No request could name it."""
    for model in [*TEXTS, "m" * (MAX_MODEL + 1)]:
        with pytest.raises(InvalidValue, match="model: "):
            await set_price(accounts, model)
    assert await accounts.prices() == []
