"""The one change that users make themselves: they rotate a token of theirs, which they know."""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.tokens import GRACE, IssuedToken, Tokens
from chatgpt_agent.core.access.identity import Identity
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.core.errors import StoreUnavailable, UsageUnavailable
from chatgpt_agent.runtime.account_limiter import AccountLimiter


class RotatedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A new token in the clear, and until when the old one works."""

    user: str
    token: str
    id: int
    old_id: int
    old_expires_at: datetime | None


class OwnToken:
    """Use case on the token of a request. `keyring` returns the key that hashes tokens, or raises StoreUnavailable."""

    def __init__(self, store: Store, keyring: Callable[[], Keyring], limiter: AccountLimiter) -> None:
        self._store = store
        self._keyring = keyring
        self._limiter = limiter

    async def rotate(self, identity: Identity, address: str, *, grace: timedelta = GRACE) -> RotatedToken:
        """Replaces the token of a request; see Tokens.rotate. `address`: the client's, for the audit log. Raises
        RateLimited, InvalidValue, Conflict, UsageUnavailable."""
        self._limiter.count(identity.user.id)
        actor = Actor(identity.user.name, Via.OWN_TOKEN, address)
        tokens = Tokens(self._store.with_actor(actor), self._keyring())
        try:
            issued: IssuedToken = await tokens.rotate(identity.token.id, grace=grace)
            old = await tokens.get(identity.token.id)
        except StoreUnavailable:
            raise UsageUnavailable from None
        return RotatedToken(
            user=issued.user, token=issued.token, id=issued.id, old_id=old.id, old_expires_at=old.expires_at
        )
