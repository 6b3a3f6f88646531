"""Administrators and their tokens. Only commands issue these: an administrator's token that leaks must not be able to
make another one that works longer."""

from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres import admins
from chatgpt_agent.adapters.postgres.admins import AdminRow
from chatgpt_agent.adapters.postgres.connection import AuditedStore
from chatgpt_agent.admin.lookups import missing_admin
from chatgpt_agent.admin.warnings import Warn, no_warning, warn_of_similar
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
        """Issues a token for a new name, or for one whose token is revoked. Raises InvalidValue, Conflict."""
        check_name("name", name)
        check_likely_name("name", name)
        token, digest = self._keyring.new_admin_token()
        if not await admins.add_admin(
            self._store, name=name, role=role, digest=digest, token_prefix=token[:PREFIX_LENGTH], now=datetime.now(UTC)
        ):
            raise Conflict(f"admin {name!r} already has a token: revoke it first")
        warn_of_similar("admin", [admin.name for admin in await self.list()], [name], self._warn)
        return IssuedAdminToken(name=name, role=role, token=token)

    async def revoke(self, name: str) -> AdminRow:
        """Revokes an administrator's token. Raises NotFound."""
        admin = await admins.revoke_admin(self._store, name, datetime.now(UTC))
        if admin is None:
            raise await missing_admin(name, [each.name for each in await self.list()])
        return admin

    async def revoke_unless_last(self, name: str) -> None:
        """Revokes an administrator's token, but not that of the last one with the role admin: over REST, this could not
        be undone. Raises NotFound, Conflict."""
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
        """Lists all administrators by name, those with a revoked token included."""
        # PostgreSQL sorts by its locale.
        return sorted(await admins.list_admins(self._store), key=lambda admin: admin.name)
