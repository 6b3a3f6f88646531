"""Who may use the console: passwords, sessions, the first admin, and the header of a proxy."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import argon2
import pytest
from tornado.httputil import HTTPHeaders

from chatgpt_agent.adapters.postgres import admins
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.errors import (
    AgentError,
    Conflict,
    Forbidden,
    InvalidCredentials,
    InvalidValue,
    OneTimeLinkUsed,
    RateLimited,
    StoreUnavailable,
)
from chatgpt_agent.runtime.console_access import ConsoleAccess, ConsoleSettings, Session
from chatgpt_agent.runtime.failed_attempts import BURST, FREE
from tests.support.clock import Clock
from tests.support.console import HASH, PASSWORD
from tests.support.database import Database, query
from tests.support.directories import KEYRING
from tests.support.factories import NOON

HOME, ELSEWHERE, PROXY = "192.0.2.7", "203.0.113.9", "10.0.0.1"
SETTINGS = ConsoleSettings(hosts=("localhost", "127.0.0.1", "[::1]", "Console.example.com"))
BEHIND_PROXY = ConsoleSettings(
    hosts=(), trusted_proxies=("10.0.0.0/8",), user_header="Remote-User", user_header_from=("10.0.0.1",)
)
NONE = HTTPHeaders()

MakeAccess = Callable[[ConsoleSettings], ConsoleAccess]


@pytest.fixture
def make_access(store: Store, clock: Clock) -> MakeAccess:
    """The access to the console of an agent; times follow the clock."""

    def make(settings: ConsoleSettings) -> ConsoleAccess:
        start = clock.now
        access = ConsoleAccess(store, settings, clock=clock, now=lambda: NOON + timedelta(seconds=clock.now - start))
        access.open(KEYRING)
        return access

    return make


@pytest.fixture
def access(make_access: MakeAccess) -> ConsoleAccess:
    """The access to the console without a proxy."""
    return make_access(SETTINGS)


async def add(store: Store, name: str = "carol", role: str = "admin", stored: str = HASH) -> None:
    """Adds an admin with a password."""
    await admins.set_password(store, name=name, role=role, password_hash=stored, now=datetime.now(UTC))


async def refusal(
    access: ConsoleAccess, name: str = "carol", password: str = "another password", address: str = ELSEWHERE
) -> AgentError:
    """The error of a sign-in."""
    with pytest.raises(AgentError) as caught:
        await access.log_in(name, password, address)
    return caught.value


async def name_of(access: ConsoleAccess, session: Session) -> str | None:
    """The name of the admin who is signed in."""
    signed_in = await access.identify(session.secret, NONE, HOME)
    return signed_in.admin.name if signed_in else None


# Passwords and sessions.


async def test_session_identifies_its_admin(access: ConsoleAccess, store: Store) -> None:
    """The client's address comes with it."""
    await add(store, role="viewer")
    session = await access.log_in("carol", PASSWORD, HOME)
    signed_in = await access.identify(session.secret, NONE, HOME)
    assert signed_in is not None
    assert (signed_in.admin.name, signed_in.admin.role) == ("carol", "viewer")
    assert (signed_in.address, signed_in.by_header) == (HOME, False)


async def test_secret_of_a_session_is_not_stored(access: ConsoleAccess, store: Store, dsn: str) -> None:
    """The database has its HMAC, under a key that it does not have."""
    await add(store)
    session = await access.log_in("carol", PASSWORD, HOME)
    [(digest,)] = query(dsn, "SELECT digest FROM admin_sessions")
    assert bytes(digest) == KEYRING.session_digest(session.secret)
    assert session.secret not in str(query(dsn, "SELECT to_jsonb(s) FROM admin_sessions s"))


@pytest.mark.parametrize("secret", [None, "", "x", "x" * 43, "x" * 10_000, "é" * 43, "\x00" * 43])
async def test_other_secret_identifies_no_admin(access: ConsoleAccess, store: Store, secret: str | None) -> None:
    """Any text can come in a cookie."""
    await add(store)
    await access.log_in("carol", PASSWORD, HOME)
    assert await access.identify(secret, NONE, HOME) is None
    await access.log_out(secret)


async def test_session_ends_with_the_sign_out(access: ConsoleAccess, store: Store) -> None:
    """Another session of the admin goes on."""
    await add(store)
    first, second = [await access.log_in("carol", PASSWORD, HOME) for _ in range(2)]
    await access.log_out(first.secret)
    assert (await name_of(access, first), await name_of(access, second)) == (None, "carol")


async def test_session_is_known_to_all_agents(make_access: MakeAccess, store: Store) -> None:
    """It is in the database, and ends there for all of them."""
    await add(store)
    session = await make_access(SETTINGS).log_in("carol", PASSWORD, HOME)
    other = make_access(SETTINGS)
    assert await name_of(other, session) == "carol"
    await admins.revoke_admin(store, "carol", NOON)
    assert await name_of(other, session) is None


async def test_idle_session_ends_and_is_deleted(access: ConsoleAccess, store: Store, clock: Clock, dsn: str) -> None:
    """The next sign-in deletes it."""
    await add(store)
    session = await access.log_in("carol", PASSWORD, HOME)
    clock.now += 30 * 60
    assert await name_of(access, session) is None
    await access.log_in("carol", PASSWORD, HOME)
    assert query(dsn, "SELECT count(*) FROM admin_sessions") == [(1,)]


async def test_every_failed_sign_in_has_the_same_answer(access: ConsoleAccess, store: Store, clock: Clock) -> None:
    """It does not tell which admins exist, have a password, or are revoked."""
    await add(store)
    await add(store, "eve")
    await admins.revoke_admin(store, "eve", NOON)
    await admins.add_admin(store, name="dave", role="admin", digest=b"d" * 32, token_prefix="cgm_abcd", now=NOON)
    for name in ("carol", "Carol", "eve", "dave", "unknown", "", " carol", "x" * 1000, "a\nb", "a\x00b", "\ud800"):
        error = await refusal(access, name, PASSWORD if name != "carol" else "another password", HOME)
        assert isinstance(error, InvalidCredentials), name
        assert (error.status, error.message) == (401, InvalidCredentials.default)
        clock.now += 60


async def test_older_hash_is_replaced(access: ConsoleAccess, store: Store, dsn: str) -> None:
    """The password stays the same, and so do the sessions."""
    older = argon2.PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PASSWORD)
    await add(store, stored=older)
    first, second = [await access.log_in("carol", PASSWORD, HOME) for _ in range(2)]
    [(stored,)] = query(dsn, "SELECT password_hash FROM admins")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (await name_of(access, first), await name_of(access, second)) == ("carol", "carol")


async def test_log_tells_of_sign_ins(access: ConsoleAccess, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A name that no admin has may be a password in the wrong field, and is not logged."""
    caplog.set_level(logging.INFO)
    await add(store)
    await access.log_in("carol", PASSWORD, HOME)
    await refusal(access, "carol", "another password")
    await refusal(access, "hunter2hunter2", "x")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "admin carol has signed in to the console"),
        ("WARNING", "a sign-in of admin carol to the console failed: wrong password"),
    ]


async def test_before_the_database_is_reached_the_console_is_unavailable(store: Store, clock: Clock) -> None:
    """The key of the digests belongs to the database."""
    access = ConsoleAccess(store, SETTINGS, clock=clock)
    with pytest.raises(StoreUnavailable):
        await access.identify("x" * 43, NONE, HOME)


# Guesses.


async def test_guesses_at_one_name_wait(access: ConsoleAccess, store: Store, clock: Clock) -> None:
    """From however many addresses they come; the right password has to wait, too, or guesses would go on."""
    await add(store)
    for number in range(FREE):
        assert isinstance(await refusal(access, address=f"203.0.113.{number}"), InvalidCredentials)
    error = await refusal(access, password=PASSWORD, address="203.0.113.99")
    assert isinstance(error, RateLimited)
    clock.now += error.retry_after
    assert (await access.log_in("carol", PASSWORD, "203.0.113.99")).admin.name == "carol"


async def test_guesses_elsewhere_do_not_keep_an_admin_out(access: ConsoleAccess, store: Store) -> None:
    """An address from which the admin has signed in before does not wait."""
    await add(store)
    await access.log_in("carol", PASSWORD, HOME)
    for number in range(FREE + 1):
        await refusal(access, address=f"203.0.113.{number}")
    assert (await access.log_in("carol", PASSWORD, HOME)).admin.name == "carol"


async def test_guesses_of_one_address_wait(access: ConsoleAccess, store: Store) -> None:
    """At whatever names; the right password has to wait, too."""
    await add(store)
    for number in range(BURST):
        assert isinstance(await refusal(access, f"name {number}"), InvalidCredentials)
    assert isinstance(await refusal(access, password=PASSWORD), RateLimited)


async def test_sign_ins_of_one_address_are_not_counted(access: ConsoleAccess, store: Store) -> None:
    """An office has one address."""
    await add(store)
    for _ in range(2 * BURST):
        await access.log_in("carol", PASSWORD, HOME)


async def test_outage_of_the_database_is_no_failed_attempt(
    access: ConsoleAccess, store: Store, database: Database
) -> None:
    """Admins who try again meanwhile do not have to wait afterwards."""
    await add(store)
    with database.closed():
        for _ in range(BURST + 1):
            assert isinstance(await refusal(access, password=PASSWORD), StoreUnavailable)
    assert (await access.log_in("carol", PASSWORD, ELSEWHERE)).admin.name == "carol"


# The first admin.


async def test_first_admin_is_created_once(access: ConsoleAccess, dsn: str) -> None:
    """The link signs in; a second use is refused, and says what to do."""
    code = await access.prepare_first_run()
    assert code is not None
    session = await access.claim_first_run(code, "carol", PASSWORD, HOME)
    assert (session.admin.role, await name_of(access, session)) == ("admin", "carol")
    with pytest.raises(OneTimeLinkUsed, match="admin password NAME"):
        await access.claim_first_run(code, "mallory", PASSWORD, ELSEWHERE)
    assert query(dsn, "SELECT actor, via, address, action FROM audit_log") == [("carol", "console", HOME, "insert")]


async def test_link_of_another_agent_ends_with_the_first_use(make_access: MakeAccess) -> None:
    """Each agent has a code of its own."""
    first, second = make_access(SETTINGS), make_access(SETTINGS)
    codes = [await each.prepare_first_run() for each in (first, second)]
    assert codes[0] != codes[1]
    await first.claim_first_run(str(codes[0]), "carol", PASSWORD, HOME)
    with pytest.raises(OneTimeLinkUsed):
        await second.claim_first_run(str(codes[1]), "mallory", PASSWORD, ELSEWHERE)


async def test_link_works_after_a_mistake(access: ConsoleAccess, store: Store) -> None:
    """A name or a password that is refused does not use it up."""
    code = str(await access.prepare_first_run())
    await admins.add_admin(store, name="vera", role="viewer", digest=b"d" * 32, token_prefix="cgm_abcd", now=NOON)
    with pytest.raises(InvalidValue, match=r"^password: "):
        await access.claim_first_run(code, "carol", "short", HOME)
    with pytest.raises(InvalidValue, match=r"^name: "):
        await access.claim_first_run(code, "", PASSWORD, HOME)
    with pytest.raises(Conflict, match=r"^name: 'vera' is a viewer"):
        await access.claim_first_run(code, "vera", PASSWORD, HOME)
    await access.claim_first_run(code, "carol", PASSWORD, HOME)


@pytest.mark.parametrize("code", ["", "x", "\ud800", "é" * 43])
async def test_guessed_link_is_refused(access: ConsoleAccess, code: str, dsn: str) -> None:
    """After ten of them, an address has to wait."""
    await access.prepare_first_run()
    for _ in range(BURST):
        with pytest.raises(OneTimeLinkUsed):
            await access.claim_first_run(code, "carol", PASSWORD, HOME)
    with pytest.raises(RateLimited):
        await access.claim_first_run(code, "carol", PASSWORD, HOME)
    assert query(dsn, "SELECT name FROM admins") == []


async def test_there_is_no_link_where_an_admin_has_a_password(access: ConsoleAccess, store: Store) -> None:
    """No text is one then, not even an empty one."""
    await add(store)
    assert not await access.needs_first_run()
    assert await access.prepare_first_run() is None
    with pytest.raises(OneTimeLinkUsed):
        await access.claim_first_run("", "mallory", PASSWORD, ELSEWHERE)


async def test_after_an_upgrade_admins_with_a_token_get_a_link(access: ConsoleAccess, store: Store) -> None:
    """No one of them can sign in yet."""
    await admins.add_admin(store, name="carol", role="admin", digest=b"d" * 32, token_prefix="cgm_abcd", now=NOON)
    code = str(await access.prepare_first_run())
    assert (await access.claim_first_run(code, "carol", PASSWORD, HOME)).admin.token_prefix == "cgm_abcd"


# Behind a proxy that signs admins in.


def remote_user(*names: str) -> HTTPHeaders:
    """The header fields of the proxy."""
    headers = HTTPHeaders({"X-Forwarded-For": HOME})
    for name in names:
        headers.add("Remote-User", name)
    return headers


async def test_proxy_signs_an_admin_in(make_access: MakeAccess, store: Store) -> None:
    """No password and no session is needed; the role is that of the admin here."""
    await admins.add_admin(store, name="vera", role="viewer", digest=b"d" * 32, token_prefix="cgm_abcd", now=NOON)
    signed_in = await make_access(BEHIND_PROXY).identify(None, remote_user("vera"), PROXY)
    assert signed_in is not None
    assert (signed_in.admin.name, signed_in.admin.role) == ("vera", "viewer")
    assert (signed_in.address, signed_in.by_header) == (HOME, True)


@pytest.mark.parametrize("peer", [HOME, "10.0.0.2", "::1", None])
async def test_header_from_another_peer_is_ignored(make_access: MakeAccess, store: Store, peer: str | None) -> None:
    """Even from other trusted proxies, and however often it is set."""
    await add(store)
    access = make_access(BEHIND_PROXY)
    assert await access.identify(None, remote_user("carol"), peer) is None
    assert await access.identify(None, remote_user("carol", ""), peer) is None


async def test_header_is_ignored_without_the_setting(access: ConsoleAccess, store: Store) -> None:
    """This is the default."""
    await add(store)
    assert await access.identify(None, remote_user("carol"), PROXY) is None


@pytest.mark.parametrize("names", [("",), ("carol", "carol"), ("carol", ""), ("mallory",), ("Carol",), ("eve",)])
async def test_header_that_names_no_admin_is_refused(
    make_access: MakeAccess, store: Store, names: tuple[str, ...]
) -> None:
    """Twice, empty, unknown, in other letters, or revoked: a session does not help then."""
    await add(store)
    await add(store, "eve")
    await admins.revoke_admin(store, "eve", NOON)
    access = make_access(BEHIND_PROXY)
    session = await access.log_in("carol", PASSWORD, HOME)
    with pytest.raises(Forbidden, match=r"^The proxy in front of the console"):
        await access.identify(session.secret, remote_user(*names), PROXY)


async def test_session_holds_behind_the_proxy_without_its_header(make_access: MakeAccess, store: Store) -> None:
    """A proxy may leave the sign-in to the console."""
    await add(store)
    access = make_access(BEHIND_PROXY)
    session = await access.log_in("carol", PASSWORD, HOME)
    signed_in = await access.identify(session.secret, remote_user(), PROXY)
    assert signed_in is not None
    assert not signed_in.by_header


async def test_name_in_the_header_is_utf8(make_access: MakeAccess, store: Store) -> None:
    """Tornado reads its bytes as Latin-1."""
    await add(store, "张伟")
    signed_in = await make_access(BEHIND_PROXY).identify(None, remote_user("张伟".encode().decode("latin-1")), PROXY)
    assert signed_in is not None
    assert signed_in.admin.name == "张伟"


async def test_behind_the_proxy_there_is_no_link_once_there_is_an_admin(make_access: MakeAccess, store: Store) -> None:
    """An admin with a token can sign in there."""
    access = make_access(BEHIND_PROXY)
    assert await access.needs_first_run()
    await admins.add_admin(store, name="carol", role="admin", digest=b"d" * 32, token_prefix="cgm_abcd", now=NOON)
    assert not await access.needs_first_run()


# Hosts and addresses.


async def test_console_answers_under_its_own_hosts(access: ConsoleAccess) -> None:
    """Others could be names of another site for this address."""
    assert access.is_allowed_host("console.EXAMPLE.com:443")
    assert not access.is_allowed_host("evil.example")


async def test_client_behind_a_trusted_proxy_has_its_own_address(make_access: MakeAccess) -> None:
    """The header of another peer does not count."""
    access = make_access(BEHIND_PROXY)
    assert access.client_address(remote_user(), "10.0.0.2") == HOME
    assert access.client_address(remote_user(), ELSEWHERE) == ELSEWHERE
