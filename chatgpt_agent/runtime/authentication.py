"""Authentication: a request's headers and its peer in, an identity out, before any of the body is read.

Client addresses are not kept, except those that wrong tokens come from.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres.admins import AdminRow, find_admin
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.access.identity import Identity
from chatgpt_agent.core.access.networks import NO_PEER, Address, Proxies, client_address, parse_address
from chatgpt_agent.core.access.tokens import ADMIN_PREFIX, is_well_formed, token_from_headers
from chatgpt_agent.core.errors import InvalidApiKey, StoreUnavailable
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.failed_attempts import BURST, FailedAttempts
from chatgpt_agent.runtime.last_used import LastUsed


class Headers(Protocol):
    """The header fields of a request."""

    def get_list(self, name: str) -> list[str]:
        """The values of all fields of this name."""


class Authenticator:
    """Identifies users by their tokens. `clock` is monotonic seconds."""

    def __init__(
        self,
        directory: Directory,
        last_used: LastUsed,
        *,
        trusted_proxies: Iterable[str],
        clock: Callable[[], float],
        burst: int = BURST,
    ) -> None:
        self._directory = directory
        self._last_used = last_used
        self._trusted_proxies = Proxies(trusted_proxies)
        self._failed = FailedAttempts(clock, burst)

    def set_trusted_proxies(self, networks: Iterable[str]) -> None:
        """Believes the header fields of these proxies from now on."""
        self._trusted_proxies = Proxies(networks)

    def identify(self, headers: Headers, peer: str | None) -> Identity:
        """The user and token of a request. Raises InvalidApiKey, RateLimited after too many wrong tokens from the
        client's address, DirectoryStale."""

        def address() -> Address:
            return self.client_address(headers, peer)

        authorization = headers.get_list("Authorization")
        try:
            identity = self._directory.identify(token_from_headers(authorization), address)
        except InvalidApiKey:
            # Counted after the look-up, which costs less than any refusal: clients behind one NAT address must not lose
            # valid tokens.
            if authorization:  # a request without credentials is not a guess
                self._failed.record(address())
            raise
        self._last_used.touch(identity.token.id)
        return identity

    def client_address(self, headers: Headers, peer: str | None) -> Address:
        """The address of the client, which may be behind a trusted proxy."""
        return client_address(peer or NO_PEER, headers.get_list("X-Forwarded-For"), self._trusted_proxies)

    def is_proxy(self, peer: str | None) -> bool:
        """Whether a connection comes from a trusted proxy, whose header fields are believed."""
        return parse_address(peer or NO_PEER) in self._trusted_proxies

    def still_holds(self, identity: Identity) -> bool:
        """Whether an identity is still valid. Its network is not checked again: the connection is the same."""
        return self._directory.still_holds(identity)


class AdminAuthenticator:
    """Identifies administrators, on the administration listener. `clock` is monotonic seconds.

    A token is looked up in the database at each request, so that a revocation is in force at once."""

    def __init__(
        self, store: Store, *, trusted_proxies: Iterable[str], clock: Callable[[], float], burst: int = BURST
    ) -> None:
        self._store = store
        self._trusted_proxies = Proxies(trusted_proxies)
        self._failed = FailedAttempts(clock, burst)
        self._keyring: Keyring | None = None

    def set_trusted_proxies(self, networks: Iterable[str]) -> None:
        """Believes the header fields of these proxies from now on."""
        self._trusted_proxies = Proxies(networks)

    def open(self, keyring: Keyring) -> None:
        """Takes the key that tokens are hashed with. Before this, every request is answered StoreUnavailable."""
        self._keyring = keyring

    @property
    def keyring(self) -> Keyring:
        """The key that hashes tokens and encrypts OpenAI keys. Raises StoreUnavailable before `open`."""
        if self._keyring is None:
            raise StoreUnavailable("the database has not been reached yet")
        return self._keyring

    def key_ids(self) -> list[str]:
        """The ids of the master keys that are in the key file now, the newest first; none before `open`."""
        if self._keyring is None:
            return []
        self._keyring.refresh()
        return self._keyring.key_ids

    async def identify(self, headers: Headers, peer: str | None) -> tuple[AdminRow, str]:
        """The administrator of a request, and the client's address. Raises InvalidApiKey, RateLimited after too many
        wrong tokens from that address, StoreError."""
        address = client_address(peer or NO_PEER, headers.get_list("X-Forwarded-For"), self._trusted_proxies)
        authorization = headers.get_list("Authorization")
        try:
            return await self._find(token_from_headers(authorization)), str(address)
        except InvalidApiKey:
            if authorization:
                self._failed.record(address)
            raise

    async def _find(self, token: str) -> AdminRow:
        if not is_well_formed(token, ADMIN_PREFIX):
            raise InvalidApiKey("not an administrator's token")
        admin = await find_admin(self._store, self.keyring.admin_digest(token))
        if admin is None:
            raise InvalidApiKey("unknown or revoked")
        return admin
