"""Who may call and what it costs: a copy of PostgreSQL's users, tokens and prices in memory, a second old at most.

The request path asks this copy and never the database. A notice of the database says that something has changed; a
look at the version every second stands behind it, for a notice that was lost.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from chatgpt_agent.adapters.cooperative import batches
from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.directory import Changes, read_changes
from chatgpt_agent.core.access.admission import Identity, Token, User, denial_reason, may_use
from chatgpt_agent.core.access.networks import Address
from chatgpt_agent.core.budget.period import Budget
from chatgpt_agent.core.errors import DirectoryStale, InvalidApiKey, StoreError
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.runtime.background import Background, OnDeath, Throttle, report_to_loop

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
RETRY_SECONDS = 0.5
OPENED = 1000  # OpenAI keys that are kept open, 0.3 MB


# Called when the budgets or the time zone have changed: all budgets, the user of a token by its id, the time zone.
OnBudgets = Callable[[Iterable[Budget], Callable[[int], int | None], str], None]


class Directory:
    """The copy. `clock` is monotonic seconds."""

    def __init__(
        self,
        store: Store,
        *,
        on_budgets: OnBudgets,
        stale_after: float,
        clock: Callable[[], float],
        on_death: OnDeath = report_to_loop,
    ) -> None:
        self._store = store
        self._on_budgets = on_budgets
        self._stale_after = stale_after
        self._clock = clock
        self._keyring: Keyring | None = None
        # The copy itself.
        self._version = -1
        self._users: dict[int, User] = {}
        self._tokens: dict[bytes, Token] = {}
        self._digests: dict[int, bytes] = {}  # of each token id, for a token whose digest changed
        # OpenAI keys that were used, with what they were sealed as: opening one costs 15 to 100 µs. Whoever can read
        # this memory finds the master key, and all that it has sealed, too.
        self._opened: dict[int, tuple[bytes, str]] = {}
        self._prices: dict[int, Price] = {}
        self.book = PriceBook()
        self.budgets: dict[int, Budget] = {}
        self.time_zone = "UTC"  # of the books
        # How fresh it is.
        self._seen: float | None = None
        self.connected = False
        self._lost_warning = Throttle(log, clock=clock)
        self.background = Background(on_death)

    async def start(self, keyring: Keyring) -> None:
        """Loads the copy and keeps it fresh from then on. Raises StoreError where the first load fails."""
        self._keyring = keyring
        await self._refresh()
        self.background.start("directory", self._follow())

    async def close(self) -> None:
        """Stops following."""
        await self.background.close()
        await self._store.close()

    @property
    def version(self) -> int:
        """The version of the users, tokens, prices and budgets that this copy holds; -1 before the first load."""
        return self._version

    @property
    def loaded(self) -> bool:
        """Whether the copy is there and fresh enough to answer from."""
        return self._seen is not None and self._clock() - self._seen <= self._stale_after

    def identify(self, token: str, address: Address | None = None) -> Identity:
        """Whose token this is, that comes from this address. Raises InvalidApiKey with the reason, or DirectoryStale
        where the copy is too old to know."""
        if not self.loaded or self._keyring is None:
            raise DirectoryStale
        digest = self._keyring.digest(token)
        # Clients cannot choose an HMAC's bytes, so the time that the look-up takes reveals nothing about other tokens.
        found = self._tokens.get(digest)
        if found is None:
            raise InvalidApiKey("an unknown token")
        user = self._users.get(found.user_id)
        if user is None:
            raise InvalidApiKey(f"token {found.id}: of an unknown user")
        identity = Identity(user, found)
        if reason := denial_reason(identity, datetime.now(UTC), address):
            raise InvalidApiKey(f"token {found.id}: {reason}")
        return identity

    def still_holds(self, identity: Identity) -> bool:
        """Whether nothing has changed about somebody since `identify`: neither user nor token, nor that the copy is
        fresh, nor that the token is in force. It costs nothing like looking them up."""
        user, token = identity.user, identity.token
        return (
            self.loaded
            and self._users.get(user.id) is user
            and self._tokens.get(token.digest) is token
            and (token.expires_at is None or token.expires_at > datetime.now(UTC))
        )

    def upstream_key(self, user: User) -> str:
        """Returns a user's OpenAI key. Raises KeyUnusable."""
        assert self._keyring is not None
        sealed, key = self._opened.get(user.id, (b"", ""))
        if sealed != user.upstream_key:
            key = self._keyring.decrypt(user.id, user.upstream_key)
            if len(self._opened) >= OPENED:
                self._opened.clear()
            self._opened[user.id] = (user.upstream_key, key)
        return key

    def models(self, identity: Identity) -> list[Price]:
        """The models that have a price now and that somebody may use."""
        return [price for price in self.book.models(datetime.now(UTC)) if may_use(identity, price.model)]

    def user_of(self, budget: Budget) -> str:
        """The name of the user that a budget is of."""
        id_ = budget.user_id if budget.token_id is None else self.owner_of(budget.token_id)
        user = self._users.get(-1 if id_ is None else id_)
        return f"user {id_}" if user is None else user.name

    def owner_of(self, token_id: int) -> int | None:
        """The user of a token, or None."""
        found = self._tokens.get(self._digests.get(token_id, b""))
        return None if found is None else found.user_id

    async def _follow(self) -> None:
        while True:
            try:
                await self._store.wait_for_notice(POLL_SECONDS)
                await self._refresh()
            except StoreError as error:
                self._lost(error)
                await asyncio.sleep(RETRY_SECONDS)

    def _lost(self, error: StoreError) -> None:
        self.connected = False
        self._lost_warning.warning(
            "the directory cannot be refreshed, known tokens work for %s s: %s", self._stale_after, error
        )

    async def _refresh(self) -> None:
        asked = self._clock()  # what was read is at least as fresh as the moment of asking
        changes = await read_changes(self._store, self._version)
        if changes is not None:
            self._opened.clear()  # so that no key is here for longer than its user has it
            await self._apply(changes)
        if not self.connected:
            log.info("the directory is loaded: %d users, %d prices", len(self._users), len(self._prices))
        self.connected = True
        self._seen = asked

    async def _apply(self, changes: Changes) -> None:
        """Takes changes over, a part in each turn of the loop. Of a whole copy nothing is seen before all is there."""
        users, tokens, digests = ({}, {}, {}) if changes.whole else (self._users, self._tokens, self._digests)
        async for some in batches(changes.users):
            users.update((user.id, user) for user in some)
        async for some_tokens in batches(changes.tokens):
            for token in some_tokens:
                tokens.pop(digests.get(token.id, b""), None)
                tokens[token.digest] = token
                digests[token.id] = token.digest
        self._users, self._tokens, self._digests = users, tokens, digests
        if changes.whole:
            self._prices.clear()
            self.budgets.clear()
        for price in changes.prices:
            self._prices[price.id] = price
        if changes.prices or changes.whole:
            self.book = PriceBook(self._prices.values())
        for budget in changes.budgets:
            self.budgets[budget.id] = budget
        if changes.budgets or changes.whole or changes.time_zone != self.time_zone:
            self.time_zone = changes.time_zone
            self._on_budgets(self.budgets.values(), self.owner_of, self.time_zone)
        self._version = changes.version
