"""The copy of users, tokens and prices in memory: which users it identifies, and how soon it has a change."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address

import msgspec
import pytest

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.core.access.networks import Address
from chatgpt_agent.core.access.settings import NewUser, TokenSettings, UserChanges
from chatgpt_agent.core.errors import InvalidApiKey, KeyUnusable
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.runtime import directory as module
from chatgpt_agent.runtime.directory import MAX_DECRYPTED, POLL_SECONDS, Directory
from tests.support.clock import Clock
from tests.support.database import end_connections, query
from tests.support.directories import KEYRING, works
from tests.support.waiting import until

# A trigger that raises the version and sends no notice, as if each notice was lost.
WITHOUT_NOTICE = """
CREATE OR REPLACE FUNCTION directory_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE directory_version SET version = version + 1 RETURNING version INTO NEW.version;
    RETURN NEW;
END
$$"""
MINUTES = timedelta(minutes=3)  # less than the copy is valid without PostgreSQL
UNVERSIONED = (
    "CREATE OR REPLACE FUNCTION directory_changed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
)


@pytest.fixture(autouse=True)
def only_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that is in force in time was in a notice: without one, the version is compared in an hour."""
    monkeypatch.setattr(module, "POLL_SECONDS", 3600.0)


@pytest.fixture
def polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is compared as often as an agent does."""
    monkeypatch.setattr(module, "POLL_SECONDS", POLL_SECONDS)


# Identification.


def at(address: Address | None) -> Callable[[], Address | None]:
    """An address as `identify` asks for it."""
    return lambda: address


async def test_a_token_identifies_its_user(directory: Directory, token: str) -> None:
    """The identity has the user and the token."""
    identity = directory.identify(token)
    assert (identity.user.name, identity.token.user_id) == ("alice", identity.user.id)


async def test_the_openai_key_of_a_user_is_decrypted(directory: Directory, token: str) -> None:
    """The database and the copy hold the encrypted key."""
    user = directory.identify(token).user
    assert directory.upstream_key(user) == "sk-alice"
    assert b"sk-alice" not in user.upstream_key


async def test_a_key_that_was_copied_to_another_user_is_refused(
    directory: Directory, administration: Administration, dsn: str, token: str
) -> None:
    """With write access to the database, one user cannot be made to spend another user's money."""
    issued = await administration.users.add(NewUser(name="bob", openai_key="sk-bob"))
    query(dsn, "UPDATE users SET upstream_key = (SELECT upstream_key FROM users WHERE name = 'alice')")
    alice = directory.identify(token).user
    await until(lambda: works(directory, issued.token))
    await until(lambda: directory.identify(issued.token).user.upstream_key == alice.upstream_key)
    with pytest.raises(KeyUnusable, match="was not encrypted for this user"):
        directory.upstream_key(directory.identify(issued.token).user)


async def test_all_refusals_look_the_same_to_clients(
    directory: Directory, administration: Administration, token: str
) -> None:
    """An answer does not reveal whether a token is unknown, revoked or of a disabled user."""
    disabled = (await administration.users.add(NewUser(name="bob", openai_key="sk-bob"))).token
    await administration.users.change("bob", UserChanges(disabled=True))
    await administration.tokens.revoke((await administration.tokens.list("alice"))[0].id)
    await until(lambda: not works(directory, token) and not works(directory, disabled))
    errors = []
    for refused in (KEYRING.new_token()[0], token, disabled):
        with pytest.raises(InvalidApiKey) as caught:
            directory.identify(refused)
        errors.append(caught.value.envelope())
    assert len(set(errors)) == 1


@pytest.mark.usefixtures("polling")
async def test_a_token_without_its_user_is_refused(directory: Directory, dsn: str, token: str) -> None:
    """A database that was edited by hand may have a token whose user is missing."""
    query(dsn, "SET session_replication_role = replica; DELETE FROM users")
    query(dsn, "UPDATE directory_version SET version = 0, reset_version = 0")
    await until(lambda: not works(directory, token))
    with pytest.raises(InvalidApiKey) as caught:
        directory.identify(token)
    assert caught.value.reason == "token 1: of an unknown user"


# How soon a change is in force.


async def test_a_new_user_is_known_within_a_second(directory: Directory, administration: Administration) -> None:
    """The token works at once, as the administrator who issued it expects."""
    issued = await administration.users.add(NewUser(name="bob", openai_key="sk-bob"))
    await until(lambda: works(directory, issued.token))
    assert directory.identify(issued.token).user.name == "bob"


async def test_a_revoked_token_is_refused_within_a_second(
    directory: Directory, administration: Administration, token: str
) -> None:
    """The user's other tokens still work."""
    other = (await administration.tokens.issue("alice")).token
    await administration.tokens.revoke((await administration.tokens.list("alice"))[0].id)
    await until(lambda: not works(directory, token) and works(directory, other))


async def test_a_disabled_user_is_refused_within_a_second(
    directory: Directory, administration: Administration, token: str
) -> None:
    """After the user is enabled again, the token works within a second, too."""
    await administration.users.change("alice", UserChanges(disabled=True))
    await until(lambda: not works(directory, token))
    await administration.users.change("alice", UserChanges(disabled=False))
    await until(lambda: works(directory, token))


async def test_an_expired_token_is_refused(directory: Directory, administration: Administration, clock: Clock) -> None:
    """A token stops working when it expires, without a change in the database."""
    soon = datetime.now(UTC) + MINUTES
    issued = await administration.tokens.issue("alice", TokenSettings(expires_at=soon))
    await until(lambda: works(directory, issued.token))
    clock.now += (soon - clock.time_of_day()).total_seconds()
    assert not works(directory, issued.token)


async def test_an_earlier_expiry_is_in_force_within_a_second(
    directory: Directory, administration: Administration, token: str
) -> None:
    """An expiry that is moved to the past acts like a revocation."""
    past = datetime.now(UTC) - timedelta(days=1)
    await administration.tokens.change((await administration.tokens.list())[0].id, TokenSettings(expires_at=past))
    await until(lambda: not works(directory, token))


async def test_a_removed_user_is_refused_within_a_second(
    directory: Directory, administration: Administration, token: str
) -> None:
    """All tokens of a removed user stop working."""
    await administration.users.remove("alice")
    await until(lambda: not works(directory, token))


async def test_both_tokens_work_until_the_grace_is_over(
    directory: Directory, administration: Administration, token: str, clock: Clock
) -> None:
    """After the grace period, only the new token works."""
    new = await administration.tokens.rotate((await administration.tokens.list())[0].id, grace=MINUTES)
    await until(lambda: works(directory, new.token))
    assert works(directory, token)
    clock.now += MINUTES.total_seconds()
    assert not works(directory, token)
    assert works(directory, new.token)


async def test_a_token_for_a_network_works_from_there(directory: Directory, administration: Administration) -> None:
    """It is refused from other addresses, and if the address is unknown."""
    issued = await administration.tokens.issue(
        "alice", TokenSettings(allowed_networks=("192.0.2.0/24", "2001:db8::/32"))
    )
    home, abroad = ip_address("192.0.2.7"), ip_address("198.51.100.7")
    await until(lambda: directory.owner_of(issued.id) is not None)
    assert directory.identify(issued.token, at(home)).token.id == issued.id
    for elsewhere in (abroad, None):
        with pytest.raises(InvalidApiKey) as caught:
            directory.identify(issued.token, at(elsewhere))
        assert caught.value.reason == f"token {issued.id}: not for this network"


async def test_a_token_with_an_invalid_network_is_refused(
    directory: Directory, administration: Administration, dsn: str
) -> None:
    """An entry that was edited by hand matches no address, and other changes are still read."""
    issued = await administration.tokens.issue("alice")
    query(dsn, "UPDATE tokens SET allowed_networks = '{somewhere}' WHERE id = %s", [issued.id])
    other = await administration.tokens.issue("alice")
    await until(lambda: works(directory, other.token))
    with pytest.raises(InvalidApiKey):
        directory.identify(issued.token, at(ip_address("192.0.2.7")))


async def test_an_imported_token_is_accepted(directory: Directory, dsn: str, token: str) -> None:
    """Tokens of another program are looked up by their HMAC, too."""
    query(dsn, "UPDATE tokens SET digest = %s", [KEYRING.digest("old-token")])
    await until(lambda: works(directory, "old-token"))


async def test_a_deleted_user_is_refused_within_a_second(directory: Directory, dsn: str, token: str) -> None:
    """Users and tokens that are deleted with SQL stop working."""
    query(dsn, "TRUNCATE users CASCADE")
    await until(lambda: not works(directory, token))


async def test_a_deleted_token_is_refused_within_a_second(directory: Directory, dsn: str, token: str) -> None:
    """A token that is deleted with SQL stops working."""
    query(dsn, "DELETE FROM tokens")
    await until(lambda: not works(directory, token))


async def test_a_token_whose_digest_changed_is_refused_within_a_second(
    directory: Directory, dsn: str, token: str
) -> None:
    """The old digest does not stay in the copy beside the new one."""
    query(dsn, "UPDATE tokens SET digest = %s", [b"x" * 32])
    await until(lambda: not works(directory, token))


async def test_a_replaced_key_is_used_within_a_second(
    directory: Directory, administration: Administration, token: str
) -> None:
    """The next request is sent with the new key."""
    await administration.users.set_openai_key("alice", "sk-new")
    await until(lambda: directory.upstream_key(directory.identify(token).user) == "sk-new")


async def test_a_decrypted_key_is_forgotten_with_its_user(
    directory: Directory, administration: Administration, token: str
) -> None:
    """The change that removes the user also removes the decrypted key from memory."""
    directory.upstream_key(directory.identify(token).user)
    assert directory.decrypted_keys == 1
    await administration.users.remove("alice")
    await until(lambda: not works(directory, token))
    assert directory.decrypted_keys == 0


async def test_the_number_of_decrypted_keys_is_bounded(directory: Directory, token: str) -> None:
    """When too many are in memory, all are dropped, and keys are decrypted again."""
    alice = directory.identify(token).user
    for number in range(MAX_DECRYPTED + 1):
        key = KEYRING.encrypt(1000 + number, "sk-other")
        directory.upstream_key(msgspec.structs.replace(alice, id=1000 + number, upstream_key=key))
    assert directory.decrypted_keys == 1
    assert directory.upstream_key(alice) == "sk-alice"


async def test_a_price_is_in_force_within_a_second(
    directory: Directory, administration: Administration, token: str
) -> None:
    """A price that is set, changed or removed is in force within a second."""
    alice = directory.identify(token)

    async def set_price(rate: Decimal) -> None:
        await administration.prices.set("m", Rates(input=rate, output=Decimal(1)))
        await until(lambda: [price.rates.input for price in directory.models(alice)] == [rate])

    await set_price(Decimal(1))
    await set_price(Decimal(2))
    await administration.prices.remove("m")
    await until(lambda: directory.models(alice) == [])


async def test_a_price_book_does_not_change(directory: Directory, administration: Administration, token: str) -> None:
    """A request that began with one price book is charged by it, whatever changes later."""
    before = directory.book
    await administration.prices.set("m", Rates(input=Decimal(1), output=Decimal(1)))
    await until(lambda: directory.book is not before)
    assert directory.models(directory.identify(token)) != []
    assert before.models(datetime.now(UTC)) == []


@pytest.mark.usefixtures("polling")
async def test_a_change_without_a_notice_is_found(
    directory: Directory, administration: Administration, dsn: str, token: str
) -> None:
    """The version is compared twice a second, in case a notice is lost."""
    query(dsn, WITHOUT_NOTICE)
    await administration.users.change("alice", UserChanges(disabled=True))
    await until(lambda: not works(directory, token))
    assert POLL_SECONDS == 0.5


async def test_a_change_is_found_after_the_connection_was_lost(
    directory: Directory, administration: Administration, dsn: str, token: str
) -> None:
    """The connection is replaced, and changes of the meantime are read."""
    end_connections(dsn)
    await asyncio.gather(
        administration.users.change("alice", UserChanges(disabled=True)), return_exceptions=True
    )  # its connection was ended, too
    await administration.users.change("alice", UserChanges(disabled=True))
    await until(lambda: not works(directory, token))


@pytest.mark.usefixtures("polling")
async def test_a_restored_backup_is_read_completely(directory: Directory, dsn: str, token: str) -> None:
    """A version that went back means a restored backup: tokens that it does not have stop working."""
    query(dsn, UNVERSIONED)
    query(dsn, "ALTER TABLE tokens DISABLE TRIGGER ALL")
    query(dsn, "DELETE FROM tokens")
    query(dsn, "UPDATE directory_version SET version = 0, reset_version = 0")
    await until(lambda: not works(directory, token))
