"""Users, tokens and prices as an administrator changes them. Every face (commands, REST) calls these.

A token is shown once, by the call that makes it; an OpenAI key goes in and never comes out. Whoever gives the `version`
of what they have read changes that and nothing newer: VersionMismatch says that somebody else was first.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import UNSET

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres import tokens
from chatgpt_agent.adapters.postgres import users as accounts
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.tokens import TokenRow
from chatgpt_agent.adapters.postgres.users import UserRow
from chatgpt_agent.admin.prices import Prices
from chatgpt_agent.core.access.admission import Limits
from chatgpt_agent.core.access.tokens import SHOWN
from chatgpt_agent.core.access.user_changes import (
    MAX_NAME,
    TokenChanges,
    UserChanges,
    check_changes,
    check_text,
    check_upstream_key,
    set_fields,
)
from chatgpt_agent.core.audit import SYSTEM, Actor
from chatgpt_agent.core.errors import Conflict, InvalidValue, NotFound, VersionMismatch
from chatgpt_agent.core.money.pricing import Price, Rates, Tier

MAX_GRACE = timedelta(days=366)


class IssuedToken(msgspec.Struct, frozen=True):
    """A token in the clear, for its holder: this is the only time that it is seen."""

    user: str
    token: str
    id: int


class Accounts:
    """The changes, and what they can be made on."""

    def __init__(self, store: Store, keyring: Keyring, actor: Actor = SYSTEM) -> None:
        self._store = store.with_actor(actor)
        self._prices = Prices(store, actor)
        self._keyring = keyring

    # Users.

    async def add_user(
        self,
        name: str,
        upstream_key: str,
        *,
        comment: str = "",
        allowed_models: tuple[str, ...] | None = None,
        limits: Limits = Limits(),
    ) -> IssuedToken:
        """Adds a user and issues a first token. Raises InvalidValue, Conflict."""
        changes = UserChanges(comment=comment, allowed_models=allowed_models, **msgspec.structs.asdict(limits))
        check_text("name", name, MAX_NAME)
        check_upstream_key(upstream_key)
        check_changes(changes)
        [id_] = await accounts.next_user_ids(self._store)
        token, digest = self._keyring.new_token()
        token_id = await accounts.add_user(
            self._store,
            id=id_,
            name=name,
            upstream_key=self._keyring.encrypt(id_, upstream_key),
            digest=digest,
            token_prefix=token[:SHOWN],
            settings=set_fields(changes),
            now=_now(),
        )
        if token_id is None:
            raise Conflict(f"there is a user {name!r} already")
        return IssuedToken(name, token, token_id)

    async def check_new_user(self, name: str) -> None:
        """Raises InvalidValue or Conflict where `add_user` would."""
        check_text("name", name, MAX_NAME)
        if await accounts.list_users(self._store, name):
            raise Conflict(f"there is a user {name!r} already")

    async def user(self, name: str) -> UserRow:
        """One user, removed or not. Raises NotFound."""
        found = await accounts.list_users(self._store, name)
        if not found:
            raise NotFound(f"there is no user {name!r}")
        return found[0]

    async def users(self, *, after: str | None = None, limit: int | None = None) -> list[UserRow]:
        """Users by name: all, or those after a name, at most so many."""
        return await accounts.list_users(self._store, after=after, limit=limit)

    async def check_user(self, name: str, version: int | None = None) -> UserRow:
        """A user who can be changed. Raises NotFound where there is none, or removed; VersionMismatch."""
        found = await self.user(name)
        if found.removed_at is not None:
            raise NotFound(f"the user {name!r} was removed on {found.removed_at:%Y-%m-%d}")
        if version not in (None, found.version):
            raise VersionMismatch(f"the user {name!r} was changed by somebody else: read them again")
        return found

    async def change_user(self, name: str, changes: UserChanges, *, version: int | None = None) -> UserRow:
        """Changes what is given. Raises InvalidValue, NotFound, VersionMismatch."""
        check_changes(changes)
        disabled = None if changes.disabled is UNSET else changes.disabled
        changed = await accounts.change_user(
            self._store, name, set_fields(changes), disabled=disabled, version=version, now=_now()
        )
        if changed is None:
            await self.check_user(name, version)
            raise VersionMismatch(f"the user {name!r} is being changed by somebody else: read them again")
        return changed

    async def set_enabled(self, name: str, enabled: bool) -> None:
        """Lets a user's tokens work, or not. Raises NotFound."""
        await self.change_user(name, UserChanges(disabled=not enabled))

    async def set_upstream_key(self, name: str, upstream_key: str) -> None:
        """Replaces a user's OpenAI key. Raises InvalidValue, NotFound."""
        check_upstream_key(upstream_key)
        user = await self.check_user(name)
        if not await accounts.set_upstream_key(self._store, user.id, self._keyring.encrypt(user.id, upstream_key)):
            await self.check_user(name)

    async def remove_user(self, name: str, *, version: int | None = None) -> UserRow:
        """Destroys a user's OpenAI key and revokes their tokens. Their rows stay, and their name with them: nobody else
        can have it. Raises NotFound, VersionMismatch."""
        if not await accounts.remove_user(self._store, name, _now(), version):
            await self.check_user(name, version)
            raise VersionMismatch(f"the user {name!r} is being changed by somebody else: read them again")
        return await self.user(name)

    # Tokens.

    async def issue_token(
        self,
        user: str,
        *,
        label: str = "",
        expires_at: datetime | None = None,
        allowed_models: tuple[str, ...] | None = None,
        allowed_networks: tuple[str, ...] | None = None,
        limits: Limits = Limits(),
    ) -> IssuedToken:
        """Issues one more token. Raises InvalidValue, NotFound."""
        changes = TokenChanges(
            label=label,
            expires_at=expires_at,
            allowed_models=allowed_models,
            allowed_networks=allowed_networks,
            **msgspec.structs.asdict(limits),
        )
        check_changes(changes)
        now = _now()
        if expires_at is not None and expires_at <= now:
            raise InvalidValue(f"expires_at: {expires_at:%Y-%m-%d %H:%M:%S} is over")
        token, digest = self._keyring.new_token()
        id_ = await tokens.add_token(
            self._store, user=user, digest=digest, token_prefix=token[:SHOWN], settings=set_fields(changes), now=now
        )
        if id_ is None:
            await self.check_user(user)
            raise NotFound(f"there is no user {user!r}")
        return IssuedToken(user, token, id_)

    async def token(self, id: int) -> TokenRow:
        """One token, in force or not. Raises NotFound."""
        found = await tokens.list_tokens(self._store, id=id)
        if not found:
            raise NotFound(f"there is no token {id}")
        return found[0]

    async def tokens(
        self, user: str | None = None, *, after: int | None = None, limit: int | None = None
    ) -> list[TokenRow]:
        """Tokens by id: of all users or of one, or those after an id, at most so many. Raises NotFound."""
        if user is not None:
            await self.user(user)
        return await tokens.list_tokens(self._store, user, after=after, limit=limit)

    async def change_token(self, id: int, changes: TokenChanges, *, version: int | None = None) -> TokenRow:
        """Changes what is given. Raises InvalidValue, NotFound, VersionMismatch."""
        check_changes(changes)
        changed = await tokens.change_token(self._store, id, set_fields(changes), version)
        return changed if changed is not None else await self._unchanged_token(id)

    async def revoke_token(self, id: int, *, version: int | None = None) -> TokenRow:
        """Ends a token for good. Raises NotFound, VersionMismatch."""
        revoked = await tokens.revoke_token(self._store, id, _now(), version)
        return revoked if revoked is not None else await self._unchanged_token(id)

    async def rotate_token(self, id: int, *, grace: timedelta) -> IssuedToken:
        """Issues a token with the same settings and budgets; the old one works on for the grace, if it does not expire
        before. Raises InvalidValue, NotFound."""
        if not timedelta(0) <= grace <= MAX_GRACE:
            raise InvalidValue(f"grace: give a time from 0 to {MAX_GRACE.days} days")
        now = _now()
        token, digest = self._keyring.new_token()
        issued = await tokens.rotate_token(
            self._store, id, digest=digest, token_prefix=token[:SHOWN], until=now + grace, now=now
        )
        if issued is None:
            found = await self.token(id)
            raise InvalidValue(f"token {found.id} of user {found.user!r} is not in force any more: issue another")
        return IssuedToken(issued[1], token, issued[0])

    async def _unchanged_token(self, id: int) -> TokenRow:
        await self.token(id)
        raise VersionMismatch(f"token {id} was changed by somebody else: read it again")

    # Prices, which have a service of their own.

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


def _now() -> datetime:
    return datetime.now(UTC)
