"""Administrators and their tokens."""

from datetime import UTC, datetime
from enum import StrEnum

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres import admins
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.access.tokens import SHOWN
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.errors import Conflict, InvalidValue, NotFound

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
            self._store, name=name, role=role, digest=digest, token_prefix=token[:SHOWN], now=datetime.now(UTC)
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
