"""Administrators: their tokens, and who is asking on the administration listener.

A token is looked up in the database at each request, so that a revocation is in force at once.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum

from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.errors import (
    InvalidApiKey,
    InvalidValue,
    NameTaken,
    RateLimited,
    StoreUnavailable,
    UnknownName,
)
from chatgpt_agent.core.tokens import ADMIN_PREFIX, SHOWN, token_from_headers
from chatgpt_agent.edges.keyring import Keyring
from chatgpt_agent.edges.store import admins
from chatgpt_agent.edges.store.connection import Store

MAX_NAME = 128
WRONG_TOKENS = 20  # from one address, before it has to wait
REFILL_SECONDS = 3.0  # until it may try one more
MAX_ADDRESSES = 10_000  # that are remembered; then all are forgotten
MAX_GOOD = 1000


class Role(StrEnum):
    """What an administrator may do: everything, or read everything."""

    ADMIN = "admin"
    VIEWER = "viewer"


class Admins:
    """The administrators, as commands change them. REST does not: whoever can read a token of an administrator must
    not be able to make one that lasts longer."""

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

    async def revoke(self, name: str) -> None:
        """Ends an administrator's token. Raises UnknownName."""
        if not await admins.revoke_admin(self._store, name, datetime.now(UTC)):
            raise UnknownName(f"there is no administrator {name!r}")


class AdminGate:
    """Knows who is asking. `clock` is monotonic seconds.

    An address that sends wrong tokens is turned away before any work, but for a token that was right before: those who
    share an address with somebody who guesses can go on."""

    def __init__(self, store: Store, *, clock: Callable[[], float], wrong_tokens: int = WRONG_TOKENS) -> None:
        self._store = store
        self._clock = clock
        self._wrong_tokens = wrong_tokens
        self._keyring: Keyring | None = None
        # What is remembered.
        self._wrong: dict[str, float] = {}  # when an address will have all its tries again
        self._good: set[bytes] = set()  # digests of tokens that were right

    def open(self, keyring: Keyring) -> None:
        """From here on tokens can be told apart."""
        self._keyring = keyring

    @property
    def keyring(self) -> Keyring:
        """What tokens are hashed and keys are sealed with. Raises StoreUnavailable before the database was seen."""
        if self._keyring is None:
            raise StoreUnavailable("the database has not been seen yet")
        return self._keyring

    async def identify(self, authorization: list[str], address: str) -> admins.AdminLine:
        """Whose token is in these header fields. Raises InvalidApiKey, RateLimited, StoreError."""
        if not authorization:  # nobody guesses with nothing
            raise InvalidApiKey
        try:
            token = token_from_headers(authorization, ADMIN_PREFIX)
        except InvalidApiKey:
            self._check_address(address)
            self._count(address)
            raise
        digest = self.keyring.admin_digest(token)
        if digest not in self._good:
            self._check_address(address)
        found = await admins.find_admin(self._store, digest)
        if found is None:
            self._good.discard(digest)
            self._count(address)
            raise InvalidApiKey
        if len(self._good) >= MAX_GOOD:
            self._good.clear()
        self._good.add(digest)
        return found

    def _check_address(self, address: str) -> None:
        wait = self._wrong.get(address, 0.0) - self._clock() - (self._wrong_tokens - 1) * REFILL_SECONDS
        if wait > 0:
            raise RateLimited("Too many wrong tokens came from your address. Wait, and try again.", retry_after=wait)

    def _count(self, address: str) -> None:
        if len(self._wrong) >= MAX_ADDRESSES and address not in self._wrong:
            self._wrong.clear()
        now = self._clock()
        self._wrong[address] = max(self._wrong.get(address, now), now) + REFILL_SECONDS
