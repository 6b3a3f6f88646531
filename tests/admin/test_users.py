"""Users, tokens and prices as an administrator changes them: what is taken, what is refused, what is kept."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres.users import UserRow
from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.core.access.admission import RateLimits
from chatgpt_agent.core.access.settings import (
    MAX_KEY,
    MAX_NAME,
    NewUser,
    TokenSettings,
    UserChanges,
    check_openai_key,
    check_settings,
)
from chatgpt_agent.core.access.tokens import is_well_formed
from chatgpt_agent.core.errors import Conflict, InvalidValue, NotFound, VersionMismatch
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import PriceBook
from tests.support.administration import administration_on
from tests.support.database import query
from tests.support.factories import NOON

KEYRING = Keyring(b"m" * 32)
KEY = "sk-made-up-canary"
LIMITS = RateLimits(rpm=3)
TEXTS = ["", " ", " a", "a ", "a\nb", "a\0b", "a\tb", "a\x1bb", "a\u2028b", "a\udcffb"]


@pytest.fixture
def administration(io_loop: IOLoop, dsn: str) -> Iterator[Administration]:
    """The changes, on a database of the test's own."""
    administration = administration_on(dsn, KEYRING)
    yield administration
    io_loop.run_sync(administration.stores.close)


async def set_price(administration: Administration, model: str = "m", input: str = "1", **other: Any) -> None:
    """A price whose amounts are all the same."""
    amount = Decimal(input)
    await administration.prices.set(model, Rates(input=amount, output=amount), **other)


# Users.


async def test_new_user_gets_a_token(administration: Administration) -> None:
    """The token is returned once, in the clear."""
    issued = await administration.users.add(NewUser(name="alice", openai_key=KEY))
    assert issued.user == "alice"
    assert is_well_formed(issued.token)


async def test_database_holds_neither_token_nor_key(administration: Administration, dsn: str) -> None:
    """It holds the token's digest and the encrypted key."""
    issued = await administration.users.add(NewUser(name="alice", openai_key=KEY))
    [(id_, sealed, digest, token_prefix)] = query(
        dsn, "SELECT u.id, upstream_key, digest, token_prefix FROM users u JOIN tokens t ON t.user_id = u.id"
    )
    assert KEYRING.decrypt(id_, bytes(sealed)) == KEY
    assert bytes(digest) == KEYRING.digest(issued.token)
    assert token_prefix == issued.token[:8]
    assert KEY.encode() not in bytes(sealed)


async def test_a_name_that_cannot_be_shown_is_refused(administration: Administration) -> None:
    """Nothing is added."""
    for name in [*TEXTS, "a" * (MAX_NAME + 1)]:
        with pytest.raises(InvalidValue, match=r"name: .* printable characters"):
            await administration.users.add(NewUser(name=name, openai_key=KEY))
    assert await administration.users.list() == []


async def test_a_name_that_can_be_shown_is_kept_as_it_is(administration: Administration) -> None:
    """Whatever it would mean elsewhere."""
    for name in ["a", "a b", "Ælfgifu 陳", "o'brien; DROP TABLE users", "<b>%s</b>", "a" * MAX_NAME]:
        await administration.users.add(NewUser(name=name, openai_key=KEY))
        assert (await administration.users.get(name)).name == name


@pytest.mark.parametrize("key", ["", "sk canary", "sk-canary\n", "sk-canaré", "sk-canary\0", "canary" * MAX_KEY])
def test_a_key_that_is_none_is_refused_and_not_repeated(key: str) -> None:
    """The line may end in a log."""
    with pytest.raises(InvalidValue, match="the OpenAI key must be 1 to 512 printable ASCII") as caught:
        check_openai_key(key)
    assert "canar" not in str(caught.value)


@pytest.mark.parametrize("key", ["k", "k" * MAX_KEY, "Key:with/all+signs=%"])
def test_a_key_of_any_other_maker_is_taken(key: str) -> None:
    """Not all begin with sk-."""
    check_openai_key(key)


async def test_a_user_with_a_key_that_is_none_is_not_added(administration: Administration) -> None:
    """Nor is a token."""
    with pytest.raises(InvalidValue):
        await administration.users.add(NewUser(name="alice", openai_key="not one"))
    assert await administration.users.list() == []


async def test_a_name_that_is_taken_is_refused(administration: Administration) -> None:
    """The first user stays as they are."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY))
    before = await administration.users.get("alice")
    with pytest.raises(Conflict, match="user 'alice' already exists"):
        await administration.users.add(NewUser(name="alice", openai_key="another"))
    assert await administration.users.list() == [before]


async def test_a_key_is_replaced(administration: Administration, dsn: str) -> None:
    """Sealed for the same user."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY))
    await administration.users.set_openai_key("alice", "another")
    [(id_, sealed)] = query(dsn, "SELECT id, upstream_key FROM users")
    assert KEYRING.decrypt(id_, bytes(sealed)) == "another"


async def test_a_key_is_not_replaced_by_one_that_is_none(administration: Administration, dsn: str) -> None:
    """The old one goes on working."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY))
    with pytest.raises(InvalidValue):
        await administration.users.set_openai_key("alice", "not one")
    [(id_, sealed)] = query(dsn, "SELECT id, upstream_key FROM users")
    assert KEYRING.decrypt(id_, bytes(sealed)) == KEY


async def test_a_user_is_disabled_and_enabled(administration: Administration) -> None:
    """As often as wanted."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY))
    await administration.users.change("alice", UserChanges(disabled=True))
    await administration.users.change("alice", UserChanges(disabled=True))
    assert (await administration.users.get("alice")).disabled_at is not None
    await administration.users.change("alice", UserChanges(disabled=False))
    assert (await administration.users.get("alice")).disabled_at is None


async def test_a_user_who_is_not_there_is_told(administration: Administration) -> None:
    """By every change that names one."""
    for change in (
        administration.users.get("bob"),
        administration.users.set_openai_key("bob", KEY),
        administration.tokens.issue("bob"),
        administration.users.change("bob", UserChanges(disabled=True)),
        administration.tokens.list("bob"),
    ):
        with pytest.raises(NotFound, match="there is no user 'bob'"):
            await change


# Tokens.


async def test_more_tokens_can_be_issued(administration: Administration) -> None:
    """Each is another, and has its label."""
    first = await administration.users.add(NewUser(name="alice", openai_key=KEY))
    second = await administration.tokens.issue("alice", TokenSettings(label="laptop"))
    assert first.token != second.token
    assert [token.label for token in await administration.tokens.list("alice")] == ["", "laptop"]


async def test_a_label_that_cannot_be_shown_is_refused(administration: Administration) -> None:
    """No label at all is fine."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY))
    for label in [*TEXTS[1:], "a" * (MAX_NAME + 1)]:
        with pytest.raises(InvalidValue, match="label: "):
            await administration.tokens.issue("alice", TokenSettings(label=label))


async def test_a_token_is_revoked(administration: Administration) -> None:
    """Once is enough, twice is no fault, and the first time counts."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY))
    [token] = await administration.tokens.list(None)
    await administration.tokens.revoke(token.id)
    [revoked] = await administration.tokens.list(None)
    await administration.tokens.revoke(token.id)
    assert revoked.revoked_at is not None
    assert [token.revoked_at for token in await administration.tokens.list(None)] == [revoked.revoked_at]


async def test_a_token_that_is_not_there_is_told(administration: Administration) -> None:
    """By its number."""
    with pytest.raises(NotFound, match="there is no token 99"):
        await administration.tokens.revoke(99)


# Changes.


async def test_a_user_is_changed_where_it_is_said(administration: Administration) -> None:
    """What is not said stays."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY, comment="Sales", rpm=5))
    changed = await administration.users.change("alice", UserChanges(allowed_models=("gpt-4o*",), rpm=None, tpm=9))
    assert (changed.comment, changed.allowed_models, changed.rpm, changed.tpm) == ("Sales", ("gpt-4o*",), None, 9)
    assert await administration.users.get("alice") == changed


async def test_a_token_is_changed_where_it_is_said(administration: Administration) -> None:
    """What is not said stays."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY))
    until = datetime(2099, 1, 1, tzinfo=UTC)
    issued = await administration.tokens.issue(
        "alice", TokenSettings(label="a", allowed_networks=("10.0.0.0/8",), tpm=7)
    )
    changed = await administration.tokens.change(issued.id, TokenSettings(expires_at=until, allowed_models=("m",)))
    assert (changed.label, changed.tpm, changed.allowed_networks) == ("a", 7, ("10.0.0.0/8",))
    assert (changed.expires_at, changed.allowed_models) == (until, ("m",))
    assert await administration.tokens.get(issued.id) == changed


async def test_of_two_changes_of_one_version_one_is_refused(administration: Administration) -> None:
    """Nobody overwrites what they have not seen."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY))
    read = (await administration.users.get("alice")).version
    results = await asyncio.gather(
        *(administration.users.change("alice", UserChanges(comment=word), version=read) for word in ("one", "two")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [UserRow, VersionMismatch]
    assert (await administration.users.get("alice")).comment == "one"


async def test_a_token_of_another_version_is_not_changed(administration: Administration) -> None:
    """By no change."""
    issued = await administration.users.add(NewUser(name="alice", openai_key=KEY))
    before = await administration.tokens.get(issued.id)
    with pytest.raises(VersionMismatch):
        await administration.tokens.change(issued.id, TokenSettings(label="x"), version=before.version - 1)
    with pytest.raises(VersionMismatch):
        await administration.tokens.revoke(issued.id, version=before.version - 1)
    assert await administration.tokens.get(issued.id) == before
    assert (await administration.tokens.revoke(issued.id, version=before.version)).revoked_at is not None


@pytest.mark.parametrize(
    "changes",
    [
        UserChanges(comment="a\nb"),
        UserChanges(allowed_models=()),
        UserChanges(allowed_models=("",)),
        UserChanges(rpm=0),
        UserChanges(tpm=-1),
        UserChanges(concurrency=10**20),
        TokenSettings(label="a\tb"),
        TokenSettings(allowed_networks=("10.0.0.0/33",)),
        TokenSettings(allowed_networks=()),
        TokenSettings(expires_at=datetime(2099, 1, 1)),
    ],
)
def test_a_change_to_what_cannot_be_is_refused(changes: UserChanges | TokenSettings) -> None:
    """Before the database is asked."""
    with pytest.raises(InvalidValue):
        check_settings(changes)


async def test_a_removed_user_leaves_their_name_and_nothing_that_works(
    administration: Administration, dsn: str
) -> None:
    """The key is destroyed, the tokens are revoked, and nobody else gets the name."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY))
    removed = await administration.users.remove("alice")
    assert (removed.removed_at is not None, removed.tokens) == (True, 0)
    assert query(dsn, "SELECT upstream_key FROM users")[0][0].tobytes() == b""
    assert [token.revoked_at is None for token in await administration.tokens.list("alice")] == [False]
    with pytest.raises(Conflict):
        await administration.users.add(NewUser(name="alice", openai_key=KEY))


async def test_a_removed_user_cannot_be_changed(administration: Administration) -> None:
    """Nothing brings them back."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY))
    await administration.users.remove("alice")
    for change in (
        administration.users.change("alice", UserChanges(disabled=False)),
        administration.users.set_openai_key("alice", KEY),
        administration.tokens.issue("alice"),
        administration.users.remove("alice"),
    ):
        with pytest.raises(NotFound, match="user 'alice' was removed"):
            await change


async def test_a_token_is_rotated(administration: Administration, dsn: str) -> None:
    """The new one has all that the old one had, and its budgets; the old one works for the grace alone."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY))
    until = datetime(2099, 1, 1, tzinfo=UTC)
    old = await administration.tokens.issue(
        "alice", TokenSettings(label="ci", expires_at=until, allowed_models=("m*",), rpm=3)
    )
    query(
        dsn,
        """INSERT INTO budgets (token_id, period, amount, created_at)
           SELECT %s, period, amount, now() FROM (VALUES ('day', 5), ('week', NULL)) AS b (period, amount)""",
        [old.id],
    )
    new = await administration.tokens.rotate(old.id, grace=timedelta(hours=1))
    before, after = await administration.tokens.get(old.id), await administration.tokens.get(new.id)
    assert (after.label, after.expires_at, after.allowed_models, after.rpm) == ("ci", until, ("m*",), 3)
    assert before.expires_at is not None
    assert timedelta(minutes=59) < before.expires_at - datetime.now(UTC) <= timedelta(hours=1)
    assert query(dsn, "SELECT period, amount FROM budgets WHERE token_id = %s", [new.id]) == [("day", 5)]


async def test_a_rotated_token_does_not_live_longer(administration: Administration) -> None:
    """Its own expiry comes first, where it is earlier than the end of the grace."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY))
    soon = datetime.now(UTC) + timedelta(minutes=5)
    old = await administration.tokens.issue("alice", TokenSettings(expires_at=soon))
    await administration.tokens.rotate(old.id, grace=timedelta(days=1))
    assert (await administration.tokens.get(old.id)).expires_at == soon


async def test_a_token_that_is_over_is_not_rotated(administration: Administration) -> None:
    """It would be revived."""
    issued = await administration.users.add(NewUser(name="alice", openai_key=KEY))
    await administration.tokens.revoke(issued.id)
    with pytest.raises(InvalidValue, match="is not in force"):
        await administration.tokens.rotate(issued.id, grace=timedelta(0))
    assert len(await administration.tokens.list()) == 1


async def test_lists_come_in_pages(administration: Administration) -> None:
    """Each goes on where the one before ended."""
    for name in "cab":
        await administration.users.add(NewUser(name=name, openai_key=KEY))
    assert [user.name for user in await administration.users.list(after="a", limit=1)] == ["b"]
    first, *others = [token.id for token in await administration.tokens.list()]
    assert [token.id for token in await administration.tokens.list(after=first)] == others


async def test_the_audit_log_tells_of_a_change(administration: Administration, dsn: str) -> None:
    """Who, what, and what it was before."""
    await administration.users.add(NewUser(name="alice", openai_key=KEY))
    await administration.users.change("alice", UserChanges(comment="Sales"))
    [(actor, before, after)] = query(dsn, "SELECT actor, before, after FROM audit_log WHERE action = 'update'")
    assert (actor, before, after) == ("root", {"comment": ""}, {"comment": "Sales"})


# Prices.


async def test_a_price_is_in_force_from_now_on(administration: Administration) -> None:
    """And keeps its digits."""
    await set_price(administration, input="0.1234567891")
    [price] = await administration.prices.history()
    assert (price.model, price.rates.input, price.rates.output) == (
        "m",
        Decimal("0.1234567891"),
        Decimal("0.1234567891"),
    )
    assert PriceBook([price]).at("m", price.effective_at) == price


async def test_a_price_can_begin_on_a_date(administration: Administration) -> None:
    """The one before counts until then."""
    await set_price(administration, input="1", since=NOON)
    await set_price(administration, input="2", since=NOON + timedelta(days=1))
    book = PriceBook(await administration.prices.history())
    found = [book.at("m", NOON + timedelta(hours=hours)) for hours in (-1, 0, 23, 24)]
    assert [price and price.rates.input for price in found] == [None, 1, 1, 2]


async def test_a_price_is_superseded_and_not_changed(administration: Administration) -> None:
    """Rows that were charged with it still show what it was."""
    await set_price(administration, input="1")
    [first] = await administration.prices.history()
    await set_price(administration, input="2")
    assert [price.rates.input for price in await administration.prices.history()] == [1, 2]
    assert first in await administration.prices.history()


async def test_a_price_is_taken_away_from_now_on(administration: Administration) -> None:
    """Its history stays."""
    await set_price(administration, since=NOON)
    await administration.prices.remove("m")
    prices = await administration.prices.history()
    assert len(prices) == 2
    assert PriceBook(prices).at("m", prices[-1].effective_at) is None
    assert PriceBook(prices).at("m", NOON) is not None


async def test_a_price_that_is_not_there_is_told(administration: Administration) -> None:
    """One that was taken away is not there either."""
    await set_price(administration)
    await administration.prices.remove("m")
    for model in ("m", "n"):
        with pytest.raises(NotFound, match=f"the model '{model}' has no price"):
            await administration.prices.remove(model)


async def test_a_model_that_cannot_be_asked_for_is_refused(administration: Administration) -> None:
    """No request could name it."""
    for model in [*TEXTS, "m" * (MAX_NAME + 1)]:
        with pytest.raises(InvalidValue, match="model: "):
            await set_price(administration, model)
    assert await administration.prices.history() == []
