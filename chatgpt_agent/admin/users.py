"""Users: add, change, rename, disable, remove. An OpenAI key goes in and never comes out."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres import users
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.users import UserRow
from chatgpt_agent.admin.lookups import missing_user
from chatgpt_agent.admin.warnings import Warn, no_warning, taken_message, warn_of_look_alikes, warn_of_unpriced
from chatgpt_agent.core.access.settings import (
    NewUser,
    UserChanges,
    check_openai_key,
    check_settings,
    check_user_name,
    set_fields,
)
from chatgpt_agent.core.access.tokens import PREFIX_LENGTH
from chatgpt_agent.core.errors import Conflict, InvalidValue, NotFound, VersionMismatch

__all__ = ["IssuedToken", "UserRow", "Users"]


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token in the clear, which cannot be shown again."""

    user: str
    token: str
    id: int


class Users:
    """Use cases on users. `version`: the change applies only to this version of the user, else VersionMismatch."""

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

    async def add(self, new: NewUser) -> IssuedToken:
        """Adds a user and issues a first token. Raises InvalidValue, Conflict."""
        check_settings(new)
        [user_id] = await users.next_user_ids(self._store)
        token, digest = self._keyring.new_token()
        token_id = await users.add_user(
            self._store,
            id=user_id,
            name=new.name,
            upstream_key=self._keyring.encrypt(user_id, new.openai_key),
            digest=digest,
            token_prefix=token[:PREFIX_LENGTH],
            settings=set_fields(new),
            now=self._now(),
        )
        if token_id is None:
            await self._check_free(new.name)
            raise Conflict(f"user {new.name!r} already exists")
        await warn_of_look_alikes(self._store, [new.name], self._warn)
        await warn_of_unpriced(self._store, new.allowed_models, self._warn)
        return IssuedToken(user=new.name, token=token, id=token_id)

    async def check_new(self, name: str) -> None:
        """Checks that `add` would accept this name. Raises InvalidValue, Conflict."""
        check_user_name(name)
        await self._check_free(name)

    async def _check_free(self, name: str) -> None:
        in_use = await users.taken_names(self._store, [name])
        if name in in_use:
            raise Conflict(taken_message(name, in_use[name]))

    async def get(self, name: str) -> UserRow:
        """Returns a user, removed or not. Raises NotFound."""
        rows = await users.list_users(self._store, name)
        if not rows:
            raise await missing_user(self._store, name)
        return rows[0]

    async def check_changeable(self, name: str, version: int | None = None) -> UserRow:
        """Returns a user who is not removed and has this version. Raises NotFound, VersionMismatch."""
        user = await self.get(name)
        if user.removed_at is not None:
            raise NotFound(f"user {name!r} was removed on {user.removed_at:%Y-%m-%d}")
        if version not in (None, user.version):
            raise VersionMismatch(f"user {name!r} has been changed since you read it: read it again")
        return user

    async def change(self, name: str, changes: UserChanges, *, version: int | None = None) -> UserRow:
        """Changes the fields that are set. Raises InvalidValue, NotFound, VersionMismatch."""
        check_settings(changes)
        disabled = None if changes.disabled is UNSET else changes.disabled
        user = await users.change_user(
            self._store, name, set_fields(changes), disabled=disabled, version=version, now=self._now()
        )
        if user is None:
            return await self._explain_no_change(name, version)
        await warn_of_unpriced(self._store, changes.allowed_models, self._warn)
        return user

    async def rename(self, name: str, new_name: str, *, version: int | None = None) -> UserRow:
        """Gives a user another name; tokens, budgets and rows stay theirs. A removed user can be renamed, too, so that
        the name is free. Raises InvalidValue, NotFound, Conflict, VersionMismatch."""
        check_user_name(new_name)
        if new_name == name:
            raise InvalidValue(f"user {name!r} has this name already")
        renamed = await users.rename_user(self._store, name, new_name, version)
        if renamed is None:
            user = await self.get(name)
            if version in (None, user.version):
                await self._check_free(new_name)
            raise VersionMismatch(f"user {name!r} has been changed since you read it: read it again")
        await warn_of_look_alikes(self._store, [new_name], self._warn)
        return renamed

    async def set_openai_key(self, name: str, openai_key: str) -> UserRow:
        """Replaces a user's OpenAI key. Raises InvalidValue, NotFound."""
        check_openai_key(openai_key)
        user = await self.check_changeable(name)
        await users.set_upstream_keys(self._store, {user.id: self._keyring.encrypt(user.id, openai_key)})
        return await self.check_changeable(name)

    async def set_openai_keys(self, keys: Mapping[str, str]) -> list[str]:
        """Replaces the OpenAI keys of several users, by name: all, or none. Returns the names. Raises InvalidValue,
        NotFound."""
        for key in keys.values():
            check_openai_key(key)
        existing = {user.name: user for user in await self.list()}
        for name in keys:
            if name not in existing or existing[name].removed_at is not None:
                await self.check_changeable(name)
        ids = {name: existing[name].id for name in keys}
        # In a thread: encrypting 5,000 keys would hold the event loop up.
        encrypted = await asyncio.to_thread(
            lambda: {ids[name]: self._keyring.encrypt(ids[name], key) for name, key in keys.items()}
        )
        await users.set_upstream_keys(self._store, encrypted)
        return list(keys)

    async def remove(self, name: str, *, version: int | None = None) -> UserRow:
        """Destroys a user's OpenAI key and revokes their tokens. The rows and the name stay; the name is taken
        until the removed user is renamed. Raises NotFound, VersionMismatch."""
        if not await users.remove_user(self._store, name, self._now(), version):
            await self._explain_no_change(name, version)
        return await self.get(name)

    async def _explain_no_change(self, name: str, version: int | None) -> UserRow:
        await self.check_changeable(name, version)
        raise VersionMismatch(f"user {name!r} is being changed by another request: read it again")

    async def list(self, *, after: str | None = None, limit: int | None = None) -> list[UserRow]:
        """Lists users by name: all, or at most `limit` after a name."""
        return await users.list_users(self._store, after=after, limit=limit)
