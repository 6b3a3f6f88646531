"""Administrators: their tokens, and who is asking on the administration listener.

A token is looked up in the database at each request, so that a revocation is in force at once.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres import admins
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.access.networks import Networks, client_address
from chatgpt_agent.core.access.tokens import ADMIN_PREFIX, SHOWN, is_well_formed, token_from_headers
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.errors import Conflict, InvalidApiKey, InvalidValue, NotFound, StoreUnavailable
from chatgpt_agent.runtime.authentication import FailedAttempts

MAX_NAME = 128


class Role(StrEnum):
    """What an administrator may do: everything, or read everything."""

    ADMIN = "admin"
    VIEWER = "viewer"


class Admins:
    """The administrators. Commands issue their tokens, and REST does not: whoever can read a token of an administrator
    must not be able to make one that lasts longer."""

    def __init__(self, store: Store, keyring: Keyring, actor: Actor) -> None:
        self._store = store.with_actor(actor)
        self._keyring = keyring

    async def issue(self, name: str, role: Role) -> str:
        """A new token, for a new name or for one whose token is revoked. Raises InvalidValue, Conflict."""
        if not (0 < len(name) <= MAX_NAME and name.isprintable() and name == name.strip()):
            raise InvalidValue(
                f"name: {name[:40]!r} must have 1 to {MAX_NAME} printable characters, no space at the ends"
            )
        token, digest = self._keyring.new_admin_token()
        if not await admins.put_admin(
            self._store, name=name, role=role, digest=digest, shown=token[:SHOWN], now=datetime.now(UTC)
        ):
            raise Conflict(f"the administrator {name!r} has a token already: revoke it first")
        return token

    async def list(self) -> list[admins.AdminRow]:
        """All of them, those whose token is revoked included."""
        return await admins.list_admins(self._store)

    async def revoke(self, name: str) -> admins.AdminRow:
        """Ends an administrator's token. Raises NotFound."""
        revoked = await admins.revoke_admin(self._store, name, datetime.now(UTC))
        if revoked is None:
            raise NotFound(f"there is no administrator {name!r}")
        return revoked

    async def revoke_remotely(self, name: str) -> None:
        """Ends an administrator's token, but not that of the last one who may change something: nobody could undo it
        from afar. Raises NotFound, Conflict."""
        if await admins.revoke_but_the_last(self._store, name, datetime.now(UTC)):
            return
        if all(admin.name != name for admin in await self.list()):
            raise NotFound(f"there is no administrator {name!r}")
        raise Conflict(
            f"{name!r} is the last administrator who may change something: issue a token for somebody else first, or "
            "run `chatgpt-agent admin revoke`"
        )


class AdminAuthenticator:
    """Knows who is asking. `clock` is monotonic seconds."""

    def __init__(self, store: Store, *, trusted_proxies: Iterable[str], clock: Callable[[], float]) -> None:
        self._store = store
        self._validated = Networks(trusted_proxies)
        self._wrong = FailedAttempts(clock)
        self._keyring: Keyring | None = None

    def open(self, keyring: Keyring) -> None:
        """From here on tokens can be told apart."""
        self._keyring = keyring

    @property
    def keyring(self) -> Keyring:
        """What tokens are hashed and keys are sealed with. Raises StoreUnavailable before the database was seen."""
        if self._keyring is None:
            raise StoreUnavailable("the database has not been seen yet")
        return self._keyring

    async def identify(
        self, authorization: list[str], peer: str, forwarded: Sequence[str]
    ) -> tuple[admins.AdminRow, str]:
        """Whose request this is, and the address that it came from. Raises InvalidApiKey, RateLimited where too many of
        those came from there, StoreError."""
        address = client_address(peer, forwarded, self._validated)
        try:
            return await self._find(token_from_headers(authorization)), str(address)
        except InvalidApiKey:
            if authorization:  # nobody guesses with nothing
                self._wrong.count(address)
            raise

    async def _find(self, token: str) -> admins.AdminRow:
        if not is_well_formed(token, ADMIN_PREFIX):
            raise InvalidApiKey("no token of an administrator")
        found = await admins.find_admin(self._store, self.keyring.admin_digest(token))
        if found is None:
            raise InvalidApiKey("unknown or revoked")
        return found
