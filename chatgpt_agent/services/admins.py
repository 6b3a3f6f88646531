"""Administrators: their tokens, and who is asking on the administration listener.

A token is looked up in the database at each request, so that a revocation is in force at once.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.errors import InvalidApiKey, InvalidValue, NameTaken, StoreUnavailable, UnknownName
from chatgpt_agent.core.networks import Networks, client_address
from chatgpt_agent.core.tokens import ADMIN_PREFIX, SHOWN, is_well_formed, token_from_headers
from chatgpt_agent.edges.keyring import Keyring
from chatgpt_agent.edges.store import admins
from chatgpt_agent.edges.store.connection import Store
from chatgpt_agent.services.gate import WrongTokens

MAX_NAME = 128


class Role(StrEnum):
    """What an administrator may do: everything, or read everything."""

    ADMIN = "admin"
    VIEWER = "viewer"


class Admins:
    """The administrators. Commands issue their tokens, and REST does not: whoever can read a token of an administrator
    must not be able to make one that lasts longer."""

    def __init__(self, store: Store, keyring: Keyring, actor: Actor) -> None:
        self._store = store.acting_as(actor)
        self._keyring = keyring

    async def issue(self, name: str, role: Role) -> str:
        """A new token, for a new name or for one whose token is revoked. Raises InvalidValue, NameTaken."""
        if not (0 < len(name) <= MAX_NAME and name.isprintable() and name == name.strip()):
            raise InvalidValue(
                f"name: {name[:40]!r} must have 1 to {MAX_NAME} printable characters, no space at the ends"
            )
        token, digest = self._keyring.new_admin_token()
        if not await admins.put_admin(
            self._store, name=name, role=role, digest=digest, shown=token[:SHOWN], now=datetime.now(UTC)
        ):
            raise NameTaken(f"the administrator {name!r} has a token already: revoke it first")
        return token

    async def list(self) -> list[admins.AdminLine]:
        """All of them, those whose token is revoked included."""
        return await admins.list_admins(self._store)

    async def revoke(self, name: str) -> admins.AdminLine:
        """Ends an administrator's token. Raises UnknownName."""
        revoked = await admins.revoke_admin(self._store, name, datetime.now(UTC))
        if revoked is None:
            raise UnknownName(f"there is no administrator {name!r}")
        return revoked

    async def revoke_remotely(self, name: str) -> None:
        """Ends an administrator's token, but not that of the last one who may change something: nobody could undo it
        from afar. Raises UnknownName, NameTaken."""
        if await admins.revoke_but_the_last(self._store, name, datetime.now(UTC)):
            return
        if all(admin.name != name for admin in await self.list()):
            raise UnknownName(f"there is no administrator {name!r}")
        raise NameTaken(
            f"{name!r} is the last administrator who may change something: issue a token for somebody else first, or "
            "run `chatgpt-agent admin revoke`"
        )


class AdminGate:
    """Knows who is asking. `clock` is monotonic seconds."""

    def __init__(self, store: Store, *, trusted_proxies: Iterable[str], clock: Callable[[], float]) -> None:
        self._store = store
        self._trusted = Networks(trusted_proxies)
        self._wrong = WrongTokens(clock)
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
    ) -> tuple[admins.AdminLine, str]:
        """Whose request this is, and the address that it came from. Raises InvalidApiKey, RateLimited where too many of
        those came from there, StoreError."""
        address = client_address(peer, forwarded, self._trusted)
        try:
            return await self._find(token_from_headers(authorization)), str(address)
        except InvalidApiKey:
            if authorization:  # nobody guesses with nothing
                self._wrong.count(address)
            raise

    async def _find(self, token: str) -> admins.AdminLine:
        if not is_well_formed(token, ADMIN_PREFIX):
            raise InvalidApiKey("no token of an administrator")
        found = await admins.find_admin(self._store, self.keyring.admin_digest(token))
        if found is None:
            raise InvalidApiKey("unknown or revoked")
        return found
