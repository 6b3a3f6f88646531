"""Tokens: issue, change, rotate, revoke. A token is shown once, by the call that issues it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from msgspec import UNSET

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres import tokens
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.tokens import TokenRow
from chatgpt_agent.admin.lookups import missing_user
from chatgpt_agent.admin.users import IssuedToken, Users
from chatgpt_agent.admin.warnings import Warn, no_warning, warn_of_unpriced
from chatgpt_agent.core.access.settings import TokenSettings, check_settings, set_fields
from chatgpt_agent.core.access.tokens import PREFIX_LENGTH
from chatgpt_agent.core.errors import Conflict, InvalidValue, NotFound, VersionMismatch

__all__ = ["IssuedToken", "TokenRow", "Tokens"]

GRACE = timedelta(hours=24)  # if none is given
MAX_GRACE = timedelta(days=366)


class Tokens:
    """Use cases on tokens. `version`: the change applies only to this version of the token, else VersionMismatch."""

    def __init__(
        self,
        store: AnyStore,
        keyring: Keyring,
        warn: Warn = no_warning,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._warn = warn
        self._now = now
        self._users = Users(store, keyring)

    async def issue(self, user: str, settings: TokenSettings = TokenSettings()) -> IssuedToken:
        """Issues one more token for a user. Raises InvalidValue, NotFound."""
        check_settings(settings)
        now, expires_at = self._now(), settings.expires_at
        if isinstance(expires_at, datetime) and expires_at <= now:
            raise InvalidValue(f"expires_at: {expires_at:%Y-%m-%d %H:%M:%S} is in the past")
        token, digest = self._keyring.new_token()
        token_id = await tokens.add_token(
            self._store,
            user=user,
            digest=digest,
            token_prefix=token[:PREFIX_LENGTH],
            settings=set_fields(settings),
            now=now,
        )
        if token_id is None:
            await self._users.check_changeable(user)
            raise await missing_user(self._store, user)
        await warn_of_unpriced(self._store, settings.allowed_models, self._warn)
        return IssuedToken(user=user, token=token, id=token_id)

    async def get(self, id: int) -> TokenRow:
        """Returns a token, in force or not. Raises NotFound."""
        rows = await tokens.list_tokens(self._store, id=id)
        if not rows:
            raise NotFound(f"there is no token {id}")
        return rows[0]

    async def change(self, id: int, changes: TokenSettings, *, version: int | None = None) -> TokenRow:
        """Changes the fields that are set. A token that is replaced keeps an expiry. Raises InvalidValue, NotFound,
        VersionMismatch."""
        check_settings(changes)
        if changes.expires_at is not UNSET:
            await self._check_expiry_of_replaced(id, changes.expires_at)
        token = await tokens.change_token(self._store, id, set_fields(changes), version)
        if token is None:
            return await self._explain_no_change(id)
        await warn_of_unpriced(self._store, changes.allowed_models, self._warn)
        return token

    async def revoke(self, id: int, *, version: int | None = None) -> TokenRow:
        """Revokes a token for good. Raises NotFound, VersionMismatch."""
        token = await tokens.revoke_token(self._store, id, self._now(), version)
        return token if token is not None else await self._explain_no_change(id)

    async def rotate(self, id: int, *, grace: timedelta = GRACE) -> IssuedToken:
        """Issues a token with the same settings and budgets. The old one works for the grace period, unless it expires
        earlier. Raises InvalidValue, NotFound, and Conflict for a token that is replaced already: its expiry is the end
        of a grace period, which the new token would inherit."""
        if not timedelta(0) <= grace <= MAX_GRACE:
            raise InvalidValue(f"grace: give a time from 0 to {MAX_GRACE.days} days")
        now = self._now()
        token, digest = self._keyring.new_token()
        issued = await tokens.rotate_token(
            self._store, id, digest=digest, token_prefix=token[:PREFIX_LENGTH], until=now + grace, now=now
        )
        if issued is None:
            await self._explain_no_rotation(await self.get(id))
        return IssuedToken(user=issued[1], token=token, id=issued[0])

    async def _explain_no_rotation(self, old: TokenRow) -> NoReturn:
        await self._users.check_changeable(old.user)
        if old.replaced_by is None:
            raise InvalidValue(f"token {old.id} of user {old.user!r} is not in force: issue a new one")
        new = await self.get(old.replaced_by)
        expired = new.expires_at is not None and new.expires_at <= self._now()
        text = f"token {old.id} of user {old.user!r} is replaced already, by token {new.id}"
        if new.revoked_at:
            raise Conflict(f"{text}, which is revoked: issue a new one")
        if expired:
            raise Conflict(f"{text}, which is expired: issue a new one")
        raise Conflict(f"{text}: rotate that one")

    async def _check_expiry_of_replaced(self, id: int, expires_at: datetime | None) -> None:
        token, latest = await self.get(id), self._now() + MAX_GRACE
        if token.replaced_by is not None and (expires_at is None or expires_at > latest):
            raise InvalidValue(
                f"expires_at: token {id} is replaced by token {token.replaced_by}, so it must expire, within "
                f"{MAX_GRACE.days} days"
            )

    async def _explain_no_change(self, id: int) -> TokenRow:
        await self.get(id)
        raise VersionMismatch(f"token {id} has been changed since you read it: read it again")

    async def list(
        self, user: str | None = None, *, after: int | None = None, limit: int | None = None
    ) -> list[TokenRow]:
        """Lists tokens by id: of all users or of one; all, or at most `limit` after an id. Raises NotFound."""
        if user is not None:
            await self._users.get(user)
        return await tokens.list_tokens(self._store, user, after=after, limit=limit)
