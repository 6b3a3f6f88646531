"""The copy of users, tokens and prices in memory: how soon it knows of a change, and how long it may be believed."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from typing import Any

import pytest
from psycopg2.extensions import parse_dsn
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.core.access.settings import NewUser, TokenSettings, UserChanges
from chatgpt_agent.core.errors import DirectoryStale, InvalidApiKey, KeyUnusable, StoreError
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.runtime.directory import OPENED, Directory
from tests.support.administration import administration_on
from tests.support.clock import Clock
from tests.support.database import Database, end_connections, query
from tests.support.observers import ignore

KEYRING = Keyring(b"m" * 32)
STALE_AFTER = 300.0

# A change that raises the version and sends no notice, as where a notice was lost.
QUIET = """
CREATE OR REPLACE FUNCTION directory_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE directory_version SET version = version + 1 RETURNING version INTO NEW.version;
    RETURN NEW;
END
$$"""
UNVERSIONED = (
    "CREATE OR REPLACE FUNCTION directory_changed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
)


@pytest.fixture
def database(postgres: str, dsn: str) -> Database:
    """The test's own database, to be taken away and given back."""
    return Database(postgres, parse_dsn(dsn)["dbname"])


@pytest.fixture
def clock() -> Clock:
    """The directory's clock."""
    return Clock()


@pytest.fixture
def administration(io_loop: IOLoop, dsn: str) -> Iterator[Administration]:
    """What an administrator does, on a connection of their own."""
    administration = administration_on(dsn, KEYRING)
    yield administration
    io_loop.run_sync(administration.stores.close)


@pytest.fixture
def idle(io_loop: IOLoop, dsn: str, clock: Clock) -> Iterator[Directory]:
    """A directory that was not started."""
    directory = Directory(Store(dsn), on_budgets=ignore, stale_after=STALE_AFTER, clock=clock)
    yield directory
    io_loop.run_sync(directory.close)


@pytest.fixture
def token(io_loop: IOLoop, administration: Administration) -> str:
    """A token of alice, who is there before the directory starts."""
    issued = io_loop.run_sync(lambda: administration.users.add(NewUser(name="alice", openai_key="sk-alice")))
    return str(issued.token)


@pytest.fixture
def directory(io_loop: IOLoop, idle: Directory, token: str) -> Directory:
    """A directory that follows the database, in which alice is."""
    io_loop.run_sync(lambda: idle.start(KEYRING))
    return idle


def works(directory: Directory, token: str) -> bool:
    """Whether a token is taken."""
    try:
        directory.identify(token)
    except InvalidApiKey:
        return False
    return True


async def within(seconds: float, happened: Callable[[], Any]) -> None:
    """Waits for what must have happened by then."""
    async with asyncio.timeout(seconds):
        while not happened():
            await asyncio.sleep(0.005)


# Who is asking.


async def test_a_token_says_who_is_asking(directory: Directory, token: str) -> None:
    """The user, and which of their tokens."""
    identity = directory.identify(token)
    assert (identity.user.name, identity.token.user_id) == ("alice", identity.user.id)


async def test_the_users_key_is_opened_for_them(directory: Directory, token: str) -> None:
    """What the database holds of it is sealed."""
    user = directory.identify(token).user
    assert directory.upstream_key(user) == "sk-alice"
    assert b"sk-alice" not in user.upstream_key


async def test_a_key_that_was_copied_to_another_user_is_refused(
    directory: Directory, administration: Administration, dsn: str, token: str
) -> None:
    """By whoever can write the database."""
    issued = await administration.users.add(NewUser(name="bob", openai_key="sk-bob"))
    query(dsn, "UPDATE users SET upstream_key = (SELECT upstream_key FROM users WHERE name = 'alice')")
    alice = directory.identify(token).user
    await within(5, lambda: works(directory, issued.token))
    await within(5, lambda: directory.identify(issued.token).user.upstream_key == alice.upstream_key)
    with pytest.raises(KeyUnusable, match="was not encrypted for this user"):
        directory.upstream_key(directory.identify(issued.token).user)


async def test_no_reason_for_a_refusal_can_be_told_from_another(
    directory: Directory, administration: Administration, token: str
) -> None:
    """Unknown, revoked, of a disabled user: an answer must not tell which tokens exist."""
    disabled = (await administration.users.add(NewUser(name="bob", openai_key="sk-bob"))).token
    await administration.users.change("bob", UserChanges(disabled=True))
    await administration.tokens.revoke((await administration.tokens.list("alice"))[0].id)
    await within(5, lambda: not works(directory, token) and not works(directory, disabled))
    errors = []
    for refused in (KEYRING.new_token()[0], token, disabled):
        with pytest.raises(InvalidApiKey) as caught:
            directory.identify(refused)
        errors.append(caught.value.envelope())
    assert len(set(errors)) == 1


async def test_a_token_without_its_user_is_refused(directory: Directory, token: str) -> None:
    """As between two readings, where the user is not there yet."""
    directory._users.clear()
    with pytest.raises(InvalidApiKey):
        directory.identify(token)


# How soon it knows.


async def test_a_new_user_is_known_within_a_second(directory: Directory, administration: Administration) -> None:
    """Their token works at once, as whoever issued it expects."""
    issued = await administration.users.add(NewUser(name="bob", openai_key="sk-bob"))
    await within(1, lambda: works(directory, issued.token))
    assert directory.identify(issued.token).user.name == "bob"


async def test_a_revoked_token_is_refused_within_a_second(
    directory: Directory, administration: Administration, token: str
) -> None:
    """The user's other tokens go on."""
    other = (await administration.tokens.issue("alice")).token
    await administration.tokens.revoke((await administration.tokens.list("alice"))[0].id)
    await within(1, lambda: not works(directory, token) and works(directory, other))


async def test_a_disabled_user_is_refused_within_a_second(
    directory: Directory, administration: Administration, token: str
) -> None:
    """And taken again, when they are enabled."""
    await administration.users.change("alice", UserChanges(disabled=True))
    await within(1, lambda: not works(directory, token))
    await administration.users.change("alice", UserChanges(disabled=False))
    await within(1, lambda: works(directory, token))


async def test_an_expired_token_is_refused(directory: Directory, administration: Administration) -> None:
    """From its moment on, though nothing has changed."""
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    issued = await administration.tokens.issue("alice", TokenSettings(expires_at=soon))
    await within(1, lambda: works(directory, issued.token))
    await within(2, lambda: not works(directory, issued.token))
    assert datetime.now(UTC) >= soon


async def test_an_earlier_expiry_is_in_force_within_a_second(
    directory: Directory, administration: Administration, token: str
) -> None:
    """As a revocation is."""
    past = datetime.now(UTC) - timedelta(days=1)
    await administration.tokens.change((await administration.tokens.list())[0].id, TokenSettings(expires_at=past))
    await within(1, lambda: not works(directory, token))


async def test_a_removed_user_is_refused_within_a_second(
    directory: Directory, administration: Administration, token: str
) -> None:
    """Whatever tokens they have."""
    await administration.users.remove("alice")
    await within(1, lambda: not works(directory, token))


async def test_both_tokens_work_until_the_grace_is_over(
    directory: Directory, administration: Administration, token: str
) -> None:
    """Then the new one alone does."""
    new = await administration.tokens.rotate((await administration.tokens.list())[0].id, grace=timedelta(seconds=1.5))
    await within(1, lambda: works(directory, new.token) and works(directory, token))
    await within(2, lambda: not works(directory, token))
    assert works(directory, new.token)


async def test_a_token_for_a_network_works_from_there(directory: Directory, administration: Administration) -> None:
    """And not from elsewhere, nor where nobody knows from where."""
    issued = await administration.tokens.issue(
        "alice", TokenSettings(allowed_networks=("192.0.2.0/24", "2001:db8::/32"))
    )
    home, abroad = ip_address("192.0.2.7"), ip_address("198.51.100.7")
    await within(1, lambda: issued.id in directory._digests)
    assert directory.identify(issued.token, home).token.id == issued.id
    for elsewhere in (abroad, None):
        with pytest.raises(InvalidApiKey) as caught:
            directory.identify(issued.token, elsewhere)
        assert caught.value.reason == f"token {issued.id}: not for this network"


async def test_a_network_that_is_none_lets_nobody_in(
    directory: Directory, administration: Administration, dsn: str
) -> None:
    """Written by hand into the database: the others go on being read."""
    issued = await administration.tokens.issue("alice")
    query(dsn, "UPDATE tokens SET allowed_networks = '{somewhere}' WHERE id = %s", [issued.id])
    other = await administration.tokens.issue("alice")
    await within(1, lambda: works(directory, other.token))
    with pytest.raises(InvalidApiKey):
        directory.identify(issued.token, ip_address("192.0.2.7"))


async def test_a_token_of_another_program_is_found(directory: Directory, dsn: str, token: str) -> None:
    """By its HMAC, as ours are."""
    query(dsn, "UPDATE tokens SET digest = %s", [KEYRING.digest("old-token")])
    await within(1, lambda: works(directory, "old-token"))


async def test_a_deleted_user_is_refused_within_a_second(directory: Directory, dsn: str, token: str) -> None:
    """Deleted by hand, with their tokens."""
    query(dsn, "TRUNCATE users CASCADE")
    await within(1, lambda: not works(directory, token))


async def test_a_deleted_token_is_refused_within_a_second(directory: Directory, dsn: str, token: str) -> None:
    """What is gone is not forgotten."""
    query(dsn, "DELETE FROM tokens")
    await within(1, lambda: not works(directory, token))


async def test_a_token_whose_digest_changed_is_refused_within_a_second(
    directory: Directory, dsn: str, token: str
) -> None:
    """The old one does not stay behind the new one."""
    query(dsn, "UPDATE tokens SET digest = %s", [b"x" * 32])
    await within(1, lambda: not works(directory, token))


async def test_a_replaced_key_is_used_within_a_second(
    directory: Directory, administration: Administration, token: str
) -> None:
    """The next request is sent with it."""
    await administration.users.set_openai_key("alice", "sk-new")
    await within(1, lambda: directory.upstream_key(directory.identify(token).user) == "sk-new")


async def test_a_key_is_not_kept_open_for_longer_than_its_user_has_it(
    directory: Directory, administration: Administration, token: str
) -> None:
    """It goes with the change that takes it away."""
    directory.upstream_key(directory.identify(token).user)
    assert "sk-alice" in repr(directory._opened)
    await administration.users.remove("alice")
    await within(1, lambda: not works(directory, token))
    assert not directory._opened


async def test_only_so_many_keys_are_kept_open(directory: Directory, token: str) -> None:
    """Beyond them, one is opened anew."""
    user = directory.identify(token).user
    directory._opened.update({-number: (b"", "") for number in range(1, OPENED + 1)})
    assert directory.upstream_key(user) == "sk-alice"
    assert len(directory._opened) == 1


async def test_a_price_is_in_force_within_a_second(
    directory: Directory, administration: Administration, token: str
) -> None:
    """Set, changed and taken away."""
    alice = directory.identify(token)
    for amount in ("1", "2"):
        await administration.prices.set("m", Rates(input=Decimal(amount), output=Decimal(1)))
        await within(
            1, lambda amount=amount: [price.rates.input for price in directory.models(alice)] == [Decimal(amount)]
        )
    await administration.prices.remove("m")
    await within(1, lambda: directory.models(alice) == [])


async def test_a_book_that_was_taken_does_not_change(
    directory: Directory, administration: Administration, token: str
) -> None:
    """A request is charged by the prices that it began with."""
    before = directory.book
    await administration.prices.set("m", Rates(input=Decimal(1), output=Decimal(1)))
    await within(1, lambda: directory.book is not before)
    assert directory.models(directory.identify(token)) != []
    assert before._history == {}


async def test_a_lost_notice_is_caught_by_the_next_look(
    directory: Directory, administration: Administration, dsn: str, token: str
) -> None:
    """Behind the notice stands a look at the version, twice a second."""
    query(dsn, QUIET)
    await administration.users.change("alice", UserChanges(disabled=True))
    await within(3, lambda: not works(directory, token))


async def test_a_change_is_known_after_the_connection_was_lost(
    directory: Directory, administration: Administration, dsn: str, token: str
) -> None:
    """It is made anew, and what happened meanwhile is read."""
    end_connections(dsn)
    await asyncio.gather(
        administration.users.change("alice", UserChanges(disabled=True)), return_exceptions=True
    )  # its connection went, too
    await administration.users.change("alice", UserChanges(disabled=True))
    await within(5, lambda: not works(directory, token))


async def test_a_restored_backup_is_known(directory: Directory, dsn: str, token: str) -> None:
    """Its version is an older one, and what it does not have ends."""
    query(dsn, UNVERSIONED)
    query(dsn, "ALTER TABLE tokens DISABLE TRIGGER ALL")
    query(dsn, "DELETE FROM tokens")
    query(dsn, "UPDATE directory_version SET version = 0, reset_version = 0")
    await within(5, lambda: not works(directory, token))


# How long it may be believed.


def test_before_it_is_loaded_it_knows_nobody(idle: Directory) -> None:
    """503, and not 401: a client must not throw its token away."""
    assert not idle.loaded
    with pytest.raises(DirectoryStale):
        idle.identify(KEYRING.new_token()[0])


async def test_it_does_not_start_without_the_database(clock: Clock) -> None:
    """Whoever starts it tries again."""
    directory = Directory(Store("host=/nowhere"), on_budgets=ignore, stale_after=STALE_AFTER, clock=clock)
    with pytest.raises(StoreError):
        await directory.start(KEYRING)
    assert not directory.loaded
    await directory.close()


async def test_while_the_database_is_away_known_tokens_work(
    directory: Directory, clock: Clock, token: str, database: Database
) -> None:
    """To the last moment of `stale_after`."""
    database.close()
    await within(5, lambda: not directory.connected)
    clock.now += STALE_AFTER
    assert works(directory, token)


async def test_when_it_was_away_too_long_nobody_is_known(
    directory: Directory, clock: Clock, token: str, database: Database
) -> None:
    """Somebody may have been refused since."""
    database.close()
    await within(5, lambda: not directory.connected)
    clock.now += STALE_AFTER + 0.1
    assert not directory.loaded
    with pytest.raises(DirectoryStale):
        directory.identify(token)


async def test_when_it_comes_back_they_are_known_again(
    directory: Directory, clock: Clock, token: str, database: Database
) -> None:
    """By itself."""
    database.close()
    await within(5, lambda: not directory.connected)
    clock.now += STALE_AFTER + 0.1
    database.open()
    await within(5, lambda: directory.loaded)
    assert works(directory, token)
    assert directory.connected


async def test_what_happened_while_it_was_away_is_known_when_it_comes_back(
    directory: Directory, administration: Administration, token: str, database: Database
) -> None:
    """Everything since the last version that it saw."""
    database.close()
    await within(5, lambda: not directory.connected)
    database.open()
    await administration.users.change("alice", UserChanges(disabled=True))
    await within(5, lambda: not works(directory, token))


async def test_a_reading_is_as_fresh_as_its_beginning(dsn: str, clock: Clock) -> None:
    """What comes back after a long time was true when it was asked for."""

    class Slow(Store):
        async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            clock.now += STALE_AFTER
            return await super().fetch(sql, parameters)

    directory = Directory(Slow(dsn), on_budgets=ignore, stale_after=STALE_AFTER, clock=clock)
    await directory.start(KEYRING)
    assert not directory.loaded
    await directory.close()


async def test_it_says_once_that_the_database_is_away(
    dsn: str, clock: Clock, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """And not twice a second, for as long as that lasts."""

    class Counting(Store):
        tries = 0

        async def wait_for_notice(self, seconds: float) -> None:
            self.tries += 1
            await super().wait_for_notice(seconds)

    store = Counting(dsn)
    directory = Directory(store, on_budgets=ignore, stale_after=STALE_AFTER, clock=clock)
    await directory.start(KEYRING)
    database.close()
    await within(5, lambda: not directory.connected)
    tries = store.tries
    await within(5, lambda: store.tries > tries + 1)
    await directory.close()
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
