"""Administrators, their tokens and passwords. Only commands issue tokens: an administrator's token that leaks must not
be able to make another one that works longer."""

from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.passwords import Passwords
from chatgpt_agent.adapters.postgres import admins
from chatgpt_agent.adapters.postgres.admins import AdminRow
from chatgpt_agent.adapters.postgres.connection import AuditedStore
from chatgpt_agent.admin.lookups import missing_admin
from chatgpt_agent.admin.warnings import Warn, no_warning, warn_of_similar
from chatgpt_agent.core.access.passwords import check_password
from chatgpt_agent.core.access.tokens import PREFIX_LENGTH
from chatgpt_agent.core.errors import Conflict
from chatgpt_agent.core.likely import check_likely_name
from chatgpt_agent.core.names import check_name

__all__ = ["AdminRow", "Admins", "IssuedAdminToken", "Role"]


class Role(StrEnum):
    """What an admin may do: with the role admin everything, a viewer only read."""

    ADMIN = "admin"
    VIEWER = "viewer"


class IssuedAdminToken(msgspec.Struct, frozen=True, kw_only=True):
    """An admin's token in the clear, which cannot be shown again."""

    name: str
    role: Role
    token: str


class Admins:
    """Use cases on administrators."""

    def __init__(self, store: AuditedStore, keyring: Keyring, warn: Warn = no_warning) -> None:
        self._store = store
        self._keyring = keyring
        self._warn = warn

    async def issue(self, name: str, role: Role) -> IssuedAdminToken:
        """Issues a token for a new name, or for one that has none or is revoked. Raises InvalidValue, Conflict."""
        self.check_name(name)
        token, digest = self._keyring.new_admin_token()
        if not await admins.add_admin(
            self._store, name=name, role=role, digest=digest, token_prefix=token[:PREFIX_LENGTH], now=datetime.now(UTC)
        ):
            raise Conflict(await self._why_no_token(name))
        warn_of_similar("another admin", [admin.name for admin in await self.list()], [name], self._warn)
        return IssuedAdminToken(name=name, role=role, token=token)

    async def _why_no_token(self, name: str) -> str:
        admin = next((admin for admin in await self.list() if admin.name == name), None)
        if admin is not None and admin.token_prefix is None:
            return f"admin {name!r} has a password and the role {admin.role}: give --role {admin.role}"
        return f"admin {name!r} already has a token: revoke it first"

    def check_name(self, name: str) -> None:
        """Raises InvalidValue if this cannot be the name of an admin."""
        check_name("name", name)
        check_likely_name("name", name)

    async def set_password(self, name: str, password: str, role: Role | None = None) -> AdminRow:
        """Sets a password and ends all sessions of the admin, who is added if the name is new. `role` None: as it
        is, or admin for a new one. A revoked admin is active again, without the old token. Raises
        InvalidValue."""
        self.check_name(name)
        check_password(name, password)
        password_hash = await Passwords().hash(password)
        admin = await admins.set_password(
            self._store, name=name, role=role, password_hash=password_hash, now=datetime.now(UTC)
        )
        warn_of_similar("another admin", [each.name for each in await self.list()], [name], self._warn)
        return admin

    async def revoke(self, name: str) -> AdminRow:
        """Revokes an administrator's token and password, and ends all sessions. Raises NotFound."""
        admin = await admins.revoke_admin(self._store, name, datetime.now(UTC))
        if admin is None:
            raise await missing_admin(name, [each.name for each in await self.list()])
        return admin

    async def revoke_unless_last(self, name: str) -> None:
        """Revokes an administrator's token and password, but not those of the last one with the role admin: over REST,
        this could not be undone. Raises NotFound, Conflict."""
        if await admins.revoke_unless_last(self._store, name, datetime.now(UTC)):
            return
        names = [admin.name for admin in await self.list()]
        if name not in names:
            raise await missing_admin(name, names)
        raise Conflict(
            f"{name!r} is the last admin with the role admin: issue a token for another one first, or run "
            "`chatgpt-agent admin revoke`"
        )

    async def list(self) -> list[AdminRow]:
        """Lists all administrators by name, revoked ones included."""
        # PostgreSQL sorts by its locale.
        return sorted(await admins.list_admins(self._store), key=lambda admin: admin.name)
