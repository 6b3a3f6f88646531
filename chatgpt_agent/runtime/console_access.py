"""Who may use the console: sign-in with name and password, sessions, the link for the first admin, the header of a
proxy that has signed an admin in, and the host names under which the console answers."""

import contextlib
import hmac
import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.passwords import Passwords
from chatgpt_agent.adapters.postgres import admins, sessions
from chatgpt_agent.adapters.postgres.admins import AdminRow
from chatgpt_agent.adapters.postgres.connection import AuditedStore, Store
from chatgpt_agent.core.access.hosts import is_allowed_host, plain_host
from chatgpt_agent.core.access.networks import NO_PEER, Address, Networks, Proxies, client_address, parse_address
from chatgpt_agent.core.access.passwords import check_password
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.errors import (
    Conflict,
    Forbidden,
    InvalidCredentials,
    OneTimeLinkUsed,
    StoreError,
    StoreUnavailable,
)
from chatgpt_agent.core.likely import check_likely_name
from chatgpt_agent.core.names import check_name, is_name
from chatgpt_agent.runtime.authentication import Headers
from chatgpt_agent.runtime.failed_attempts import BURST, FailedAttempts, WrongPasswords

log = logging.getLogger(__name__)

TOO_MANY = "Too many sign-ins from your address have failed. Wait, and try again."


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """An admin, and the client's address. `by_header`: a proxy has signed the admin in."""

    admin: AdminRow
    address: str
    by_header: bool = False


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A new session: the secret that the browser keeps, and the admin."""

    secret: str
    admin: AdminRow


class ConsoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says of the console. `hosts`: under which it answers; `user_header`: of a proxy that signs
    admins in, and the networks that it is believed from."""

    hosts: tuple[str, ...]
    trusted_proxies: tuple[str, ...] = ()
    user_header: str | None = None
    user_header_from: tuple[str, ...] = ()


class ConsoleAccess:
    """Signs admins in and out. `clock` is monotonic seconds, `now` the time in UTC.

    Sessions are in the database, so that every agent knows them, and end there with a new password, another role or a
    revocation. What is counted of failed attempts is in memory."""

    def __init__(
        self,
        store: Store,
        settings: ConsoleSettings,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        burst: int = BURST,
    ) -> None:
        self._store = store
        self._now = now
        self._passwords = Passwords()
        self._keyring: Keyring | None = None
        self.first_run_code: str | None = None  # of the link for the first admin; in memory only
        self.set_settings(settings)
        # Failures.
        self._by_address = FailedAttempts(clock, burst, message=TOO_MANY)
        self._by_name = WrongPasswords(clock)

    def set_settings(self, settings: ConsoleSettings) -> None:
        """Takes what the configuration says, for requests from now on."""
        self._hosts = frozenset(map(plain_host, settings.hosts))
        self._trusted_proxies = Proxies(settings.trusted_proxies)
        self._user_header = settings.user_header
        self._user_header_from = Networks(settings.user_header_from)

    def open(self, keyring: Keyring) -> None:
        """Takes the key that secrets of sessions are hashed with. Before this, every request is answered
        StoreUnavailable."""
        self._keyring = keyring

    # Where a request comes from, and under which name.

    def client_address(self, headers: Headers, peer: str | None) -> str:
        """Returns the client's address, which a trusted proxy may name."""
        return str(client_address(peer or NO_PEER, headers.get_list("X-Forwarded-For"), self._trusted_proxies))

    def is_allowed_host(self, host: str) -> bool:
        """Whether the console may be reached under the name in a Host header field."""
        return is_allowed_host(host, self._hosts)

    async def identify(self, secret: str | None, headers: Headers, peer: str | None) -> SignedIn | None:
        """Returns the admin of a request, by a proxy's header or else by the secret of a session; None: neither. Raises
        Forbidden if the header is not one name of an admin; StoreError."""
        address = self.client_address(headers, peer)
        name = self._name_in_header(headers, peer)
        if name is not None:
            return SignedIn(admin=await self._admin_of_header(name), address=address, by_header=True)
        digest = self._opened.session_digest(secret or "")
        admin = digest and await sessions.find_session(self._store, digest, self._now())
        return SignedIn(admin=admin, address=address) if admin else None

    def _name_in_header(self, headers: Headers, peer: str | None) -> str | None:
        """Returns the name that a proxy has put into its header; None: there is no header, or it does not come from
        that proxy. Raises Forbidden."""
        if self._user_header is None or parse_address(peer or NO_PEER) not in self._user_header_from:
            return None
        values = headers.get_list(self._user_header)
        if not values:
            return None
        if len(values) > 1 or not values[0].strip():
            raise Forbidden(f"The proxy in front of the console must set {self._user_header} once, to a name.")
        return _decoded(values[0].strip())

    async def _admin_of_header(self, name: str) -> AdminRow:
        credentials = await admins.find_admin_by_name(self._store, name) if is_name(name) else None
        if credentials is None:
            raise Forbidden(f"The proxy in front of the console has signed in {name[:40]!r}, who is no admin here.")
        return credentials.admin

    # Sessions.

    async def log_in(self, name: str, password: str, address: str) -> Session:
        """Signs an admin in. Raises InvalidCredentials, with one text for an unknown name, a wrong password and a
        revoked admin; RateLimited after too many failures; StoreError."""
        client = parse_address(address)
        self._by_address.record(client)
        try:
            credentials = await self._find(name, client)
        except StoreError:
            self._by_address.take_back(client)
            raise
        stored = credentials.password_hash if credentials else None
        matches = await self._passwords.verify(stored, password)
        if credentials is None or stored is None or not matches:
            if credentials is not None:
                log.warning("a sign-in of admin %s to the console failed: wrong password", name)
            raise InvalidCredentials("wrong password" if credentials else "unknown or revoked")
        session = await self._start(credentials.admin, stored)
        self._by_address.take_back(client)
        self._by_name.succeed(name, client)
        await self._replace_hash(credentials.admin, stored, password, address)
        return session

    async def _find(self, name: str, client: Address) -> admins.Credentials | None:
        """Returns the admin of this name, and counts the attempt. Raises RateLimited, StoreError."""
        if not is_name(name):
            return None
        credentials = await admins.find_admin_by_name(self._store, name)
        self._by_name.begin(name, client)
        return credentials

    async def _start(self, admin: AdminRow, password_hash: str) -> Session:
        secret, digest = self._opened.new_session()
        now = self._now()
        if not await sessions.add_session(
            self._store, digest=digest, admin_id=admin.id, password_hash=password_hash, now=now
        ):
            raise InvalidCredentials("changed meanwhile")
        await sessions.delete_ended_sessions(self._store, now)
        log.info("admin %s has signed in to the console", admin.name)
        return Session(secret=secret, admin=admin)

    async def _replace_hash(self, admin: AdminRow, stored: str, password: str, address: str) -> None:
        """Replaces a hash with the parameters of an older version. The sign-in does not depend on it."""
        if self._passwords.is_outdated(stored):
            with contextlib.suppress(StoreError):
                await admins.replace_hash(
                    self._audited(admin.name, address),
                    admin.id,
                    before=stored,
                    password_hash=await self._passwords.hash(password),
                )

    async def log_out(self, secret: str | None) -> None:
        """Ends a session. Raises StoreError."""
        if digest := self._opened.session_digest(secret or ""):
            await sessions.delete_session(self._store, digest)

    # The first run.

    async def needs_first_run(self) -> bool:
        """Whether no admin with the role admin can sign in. Raises StoreError."""
        by_header = self._user_header is not None
        return not await admins.has_admin_who_can_sign_in(self._store, by_header=by_header)

    async def prepare_first_run(self) -> str | None:
        """Returns the code of the link that creates the first admin, once for this process; None: no admin is needed.
        Raises StoreError."""
        if self.first_run_code is None and await self.needs_first_run():
            self.first_run_code = secrets.token_urlsafe(32)
        return self.first_run_code

    async def claim_first_run(self, code: str, name: str, password: str, address: str) -> Session:
        """Creates the first admin and signs in. Raises OneTimeLinkUsed, RateLimited after too many wrong codes,
        InvalidValue, Conflict, StoreError."""
        client = parse_address(address)
        self._by_address.record(client)
        sent = code.encode(errors="replace")
        if self.first_run_code is None or not hmac.compare_digest(sent, self.first_run_code.encode()):
            raise OneTimeLinkUsed
        self._by_address.take_back(client)
        check_name("name", name)
        check_likely_name("name", name)
        check_password(name, password)
        password_hash = await self._passwords.hash(password)
        admin = await admins.add_first_admin(
            self._audited(name, address),
            name=name,
            password_hash=password_hash,
            by_header=self._user_header is not None,
            now=self._now(),
        )
        if admin is None:
            await self._refuse_claim(name)
            raise OneTimeLinkUsed
        self.first_run_code = None
        log.info("admin %s has been created with the one-time link", name)
        return await self._start(admin, password_hash)

    async def _refuse_claim(self, name: str) -> None:
        """Raises Conflict if the name is the reason; otherwise another agent's link, or a command, came first."""
        if await self.needs_first_run():
            raise Conflict(f"name: {name!r} is a viewer: choose another name", param="name")
        self.first_run_code = None

    def _audited(self, name: str, address: str) -> AuditedStore:
        return self._store.with_actor(Actor(name, Via.CONSOLE, address), now=self._now)

    @property
    def _opened(self) -> Keyring:
        if self._keyring is None:
            raise StoreUnavailable("the database has not been reached yet")
        return self._keyring


def _decoded(value: str) -> str:
    """Returns the value of a header field as UTF-8, if it is; Tornado reads the bytes as Latin-1."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value
