"""Who may come in: a request's token and address in, an identity out, before any of its body is read.

An address is used here and forgotten, but for those that wrong tokens come from.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres.admins import AdminRow, find_admin
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.access.admission import Identity
from chatgpt_agent.core.access.networks import Address, Networks, client_address, rate_limit_key
from chatgpt_agent.core.access.tokens import ADMIN_PREFIX, is_well_formed, token_from_headers
from chatgpt_agent.core.errors import InvalidApiKey, RateLimited, StoreUnavailable
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.last_used import LastUsed

BURST = 10  # wrong tokens that an address may send at once
EVERY_SECONDS = 6.0  # and then one more: ten a minute
ADDRESSES = 10_000  # that are remembered, about 2 MB


class Authenticator:
    """`clock` is monotonic seconds."""

    def __init__(
        self, directory: Directory, uses: LastUsed, *, trusted_proxies: Iterable[str], clock: Callable[[], float]
    ) -> None:
        self._directory = directory
        self._uses = uses
        self._validated = Networks(trusted_proxies)
        self._wrong = FailedAttempts(clock)

    def identify(self, authorization: list[str], peer: str, forwarded: Sequence[str]) -> Identity:
        """Whose request this is, by the fields of its Authorization and X-Forwarded-For headers and its connection's
        other end. Raises InvalidApiKey, RateLimited where too many of those came, DirectoryStale."""
        address = client_address(peer, forwarded, self._validated)
        try:
            identity = self._directory.identify(token_from_headers(authorization), address)
        except InvalidApiKey:
            # Only now: behind one address a whole office may be, and one wrong program must not lock the others out.
            # So a good token always works, and looking one up costs less than any refusal does.
            self._wrong.count(address)
            raise
        self._uses.used(identity.token.id)
        return identity

    def still_holds(self, identity: Identity) -> bool:
        """Whether who was identified by this request's headers may still come in, as they were then."""
        return self._directory.still_holds(identity)


class AdminAuthenticator:
    """Identifies administrators, on the administration listener. `clock` is monotonic seconds.

    A token is looked up in the database at each request, so that a revocation is in force at once."""

    def __init__(self, store: Store, *, trusted_proxies: Iterable[str], clock: Callable[[], float]) -> None:
        self._store = store
        self._trusted_proxies = Networks(trusted_proxies)
        self._failed = FailedAttempts(clock)
        self._keyring: Keyring | None = None

    def open(self, keyring: Keyring) -> None:
        """Takes the key that tokens are hashed with. Before this, every request is answered StoreUnavailable."""
        self._keyring = keyring

    @property
    def keyring(self) -> Keyring:
        """What tokens are hashed and OpenAI keys are sealed with. Raises StoreUnavailable before `open`."""
        if self._keyring is None:
            raise StoreUnavailable("the database has not been reached yet")
        return self._keyring

    async def identify(self, authorization: list[str], peer: str, forwarded: Sequence[str]) -> tuple[AdminRow, str]:
        """The administrator of a request, and the client's address. Raises InvalidApiKey, RateLimited after too many
        wrong tokens from that address, StoreError."""
        address = client_address(peer, forwarded, self._trusted_proxies)
        try:
            return await self._find(token_from_headers(authorization)), str(address)
        except InvalidApiKey:
            if authorization:  # a request without credentials is not a guess
                self._failed.count(address)
            raise

    async def _find(self, token: str) -> AdminRow:
        if not is_well_formed(token, ADMIN_PREFIX):
            raise InvalidApiKey("not an administrator's token")
        admin = await find_admin(self._store, self.keyring.admin_digest(token))
        if admin is None:
            raise InvalidApiKey("unknown or revoked")
        return admin


class FailedAttempts:
    """How many wrong tokens came from where; of addresses that were not heard of for longest, nothing is kept.

    The generic cell rate algorithm (ITU-T I.371): for each address the moment at which all that it sent will have been
    worked off. One that is refused does not move it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._worked_off: OrderedDict[int, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._worked_off)

    def count(self, address: Address) -> None:
        """Counts a wrong token. Raises RateLimited where it is one too many."""
        now, who = self._clock(), rate_limit_key(address)
        due = max(self._worked_off.pop(who, now), now)
        wait = due - now - (BURST - 1) * EVERY_SECONDS
        self._worked_off[who] = due if wait > 0 else due + EVERY_SECONDS
        if len(self._worked_off) > ADDRESSES:
            self._worked_off.popitem(last=False)
        if wait > 0:
            raise RateLimited("Too many wrong API keys came from your address. Wait, and try again.", retry_after=wait)
