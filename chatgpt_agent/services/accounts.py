"""Users, tokens and prices as an administrator changes them. Every face (commands, REST) calls these.

A token is shown once, by the call that makes it; an OpenAI key goes in and never comes out.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.errors import InvalidValue, NameTaken, UnknownName
from chatgpt_agent.core.pricing import Price, Rates, Tier
from chatgpt_agent.core.tokens import SHOWN
from chatgpt_agent.edges.keyring import Keyring
from chatgpt_agent.edges.store import accounts
from chatgpt_agent.edges.store.connection import Store
from chatgpt_agent.services.prices import Prices

MAX_NAME = 128
MAX_KEY = 512


# For what nobody in particular does, such as a program that sets itself up.
NOBODY = Actor("chatgpt-agent", Via.COMMAND, "local")


class IssuedToken(msgspec.Struct, frozen=True):
    """A token in the clear, for its holder: this is the only time that it is seen."""

    user: str
    token: str


class Accounts:
    """The changes, and what they can be made on."""

    def __init__(self, store: Store, keyring: Keyring, actor: Actor = NOBODY) -> None:
        self._store = store.acting_as(actor)
        self._prices = Prices(store, actor)
        self._keyring = keyring

    async def add_user(self, name: str, upstream_key: str) -> IssuedToken:
        """Adds a user and issues a first token. Raises InvalidValue, NameTaken."""
        _check_text("name", name, MAX_NAME)
        check_upstream_key(upstream_key)
        id_ = await accounts.next_user_id(self._store)
        token, digest = self._keyring.new_token()
        added = await accounts.add_user(
            self._store,
            id=id_,
            name=name,
            upstream_key=self._keyring.encrypt(id_, upstream_key),
            digest=digest,
            shown=token[:SHOWN],
            now=_now(),
        )
        if not added:
            raise NameTaken(f"there is a user {name!r} already")
        return IssuedToken(name, token)

    async def check_new_user(self, name: str) -> None:
        """Raises InvalidValue or NameTaken where `add_user` would."""
        _check_text("name", name, MAX_NAME)
        if await accounts.list_users(self._store, name):
            raise NameTaken(f"there is a user {name!r} already")

    async def set_upstream_key(self, name: str, upstream_key: str) -> None:
        """Replaces a user's OpenAI key. Raises InvalidValue, UnknownName."""
        check_upstream_key(upstream_key)
        user = await self.user(name)
        await accounts.set_upstream_key(self._store, user.id, self._keyring.encrypt(user.id, upstream_key))

    async def issue_token(self, user: str, label: str) -> IssuedToken:
        """Issues one more token. Raises InvalidValue, UnknownName."""
        if label:
            _check_text("label", label, MAX_NAME)
        token, digest = self._keyring.new_token()
        added = await accounts.add_token(
            self._store, user=user, digest=digest, shown=token[:SHOWN], label=label, now=_now()
        )
        if added is None:
            raise UnknownName(f"there is no user {user!r}")
        return IssuedToken(user, token)

    async def user(self, name: str) -> accounts.UserLine:
        """One user. Raises UnknownName."""
        found = await accounts.list_users(self._store, name)
        if not found:
            raise UnknownName(f"there is no user {name!r}")
        return found[0]

    async def users(self) -> list[accounts.UserLine]:
        """All users."""
        return await accounts.list_users(self._store)

    async def set_enabled(self, name: str, enabled: bool) -> None:
        """Lets a user's tokens work, or not. Raises UnknownName."""
        if not await accounts.set_disabled(self._store, name, None if enabled else _now()):
            raise UnknownName(f"there is no user {name!r}")

    async def tokens(self, user: str | None) -> list[accounts.TokenLine]:
        """The tokens of all users, or of one. Raises UnknownName."""
        if user is not None:
            await self.user(user)
        return await accounts.list_tokens(self._store, user)

    async def revoke_token(self, id: int) -> None:
        """Ends a token for good. Raises UnknownName."""
        if not await accounts.revoke_token(self._store, id, _now()):
            raise UnknownName(f"there is no token {id}")

    # Prices have a service of their own.

    async def set_price(
        self, model: str, rates: Rates, tiers: Sequence[Tier] = (), *, since: datetime | None = None
    ) -> None:
        """As `Prices.set_price`."""
        await self._prices.set_price(model, rates, tiers, since=since)

    async def remove_price(self, model: str) -> None:
        """As `Prices.remove_price`."""
        await self._prices.remove_price(model)

    async def prices(self) -> list[Price]:
        """As `Prices.prices`."""
        return await self._prices.prices()


def check_upstream_key(key: str) -> None:
    """Raises InvalidValue where a text cannot be an API key; the text is not repeated."""
    if not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable() and " " not in key):
        raise InvalidValue(f"the OpenAI key must be 1 to {MAX_KEY} printable ASCII characters without spaces")


def _check_text(what: str, text: str, limit: int) -> None:
    if not (0 < len(text) <= limit and text.isprintable() and text == text.strip()):
        raise InvalidValue(f"{what}: {text[:40]!r} must have 1 to {limit} printable characters, no space at the ends")


def _now() -> datetime:
    return datetime.now(UTC)
