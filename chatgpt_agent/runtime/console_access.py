"""Who may use the console. Passwords come with the next change: until then, only sessions that a test grants exist."""

import secrets

import msgspec

from chatgpt_agent.adapters.postgres.admins import AdminRow
from chatgpt_agent.core.errors import Forbidden
from chatgpt_agent.runtime.authentication import NO_PEER, Headers


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """An admin, and the client's address. `by_header`: a proxy has signed the admin in."""

    admin: AdminRow
    address: str
    by_header: bool = False


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A new session: the secret that the browser keeps, and the admin."""

    secret: str
    admin: AdminRow


class ConsoleAccess:
    """Signs admins in and out."""

    def __init__(self) -> None:
        self._sessions: dict[str, AdminRow] = {}

    def grant(self, admin: AdminRow) -> str:
        """Returns the secret of a new session."""
        secret = secrets.token_urlsafe(32)
        self._sessions[secret] = admin
        return secret

    def client_address(self, headers: Headers, peer: str | None) -> str:
        """The client's address."""
        return peer or NO_PEER

    def is_allowed_host(self, host: str) -> bool:
        """Whether the console may be reached under this name."""
        return host.rpartition(":")[0] in ("127.0.0.1", "localhost")

    async def identify(self, secret: str | None, headers: Headers, peer: str | None) -> SignedIn | None:
        """The admin of a session."""
        admin = self._sessions.get(secret or "")
        return None if admin is None else SignedIn(admin=admin, address=self.client_address(headers, peer))

    async def needs_first_run(self) -> bool:
        """Whether no admin has a password."""
        return False

    async def log_in(self, name: str, password: str, address: str) -> Session:
        """Signs an admin in. Raises Forbidden."""
        raise Forbidden("There are no passwords yet.")

    async def log_out(self, secret: str | None) -> None:
        """Ends a session."""
        self._sessions.pop(secret or "", None)
