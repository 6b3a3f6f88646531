"""The directory: a copy of PostgreSQL's users, tokens, prices and budgets in memory.

It is one second old at most; while PostgreSQL cannot be reached, it may be used until it is as old as `stale_after`.
The request path reads this copy and never the database. The database sends a notice when something has changed; in case
a notice is lost, the version is compared twice a second.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime

from chatgpt_agent.adapters.config_checks import is_time_zone
from chatgpt_agent.adapters.cooperative import batches
from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.directory import Changes, Unreadable, read_changes
from chatgpt_agent.core.access.identity import Identity, RateLimits, Token, User, denial_reason, may_use
from chatgpt_agent.core.access.networks import Address
from chatgpt_agent.core.budget.period import Budget
from chatgpt_agent.core.budget.shared_use import Owner
from chatgpt_agent.core.errors import DirectoryStale, InvalidApiKey, SetupError, StoreError
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.core.money.surcharges import Surcharge
from chatgpt_agent.runtime.background import Background, OnDeath, Throttle, report_to_loop

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
RETRY_SECONDS = 0.5
MAX_LOGGED = 50  # unreadable rows of one change
MAX_DECRYPTED = 1000  # OpenAI keys that are kept decrypted, 0.3 MB

# Called when the budgets or the time zone have changed: all budgets, the user of a token by its id, the time zone.
OnBudgets = Callable[[Iterable[Budget], Callable[[int], int | None], str], None]


class Directory:
    """The copy. `clock` is monotonic seconds, `now` the time of day; `host` is that of the upstream, which may have
    surcharges; `on_keys` is called when the key file has other keys."""

    def __init__(
        self,
        store: Store,
        *,
        on_budgets: OnBudgets,
        stale_after: float,
        clock: Callable[[], float],
        host: str = "",
        on_keys: Callable[[], None] = lambda: None,
        on_death: OnDeath = report_to_loop,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._on_keys = on_keys
        self._host = host
        self._on_budgets = on_budgets
        self.stale_after = stale_after
        self._clock = clock
        self._now = now
        self._keyring: Keyring | None = None
        # The copy.
        self.version = -1  # of the content; -1 before the first load
        self._users: dict[int, User] = {}
        self._tokens: dict[bytes, Token] = {}
        self._digests: dict[int, bytes] = {}  # by token id, for tokens whose digest changes
        # OpenAI keys by user, with their encrypted form: decrypting one takes 15 to 100 µs. This reveals no more than
        # the master key, which is in memory, too.
        self._decrypted: dict[int, tuple[bytes, str]] = {}
        self._prices: dict[int, Price] = {}
        self._surcharges: dict[int, Surcharge] = {}
        self.book = PriceBook()
        self.shutdown_dates: dict[str, date] = {}  # by model
        self.budgets: dict[int, Budget] = {}
        self.time_zone = "UTC"  # of the ledger
        # How fresh it is.
        self._read_at: float | None = None
        self.connected = False
        self._warning = Throttle(log, clock=clock)
        self.background = Background(on_death)

    async def start(self, keyring: Keyring) -> None:
        """Loads the copy and keeps it fresh from then on. Raises StoreError if the first load fails."""
        self._keyring = keyring
        await self._refresh()
        self.background.start("directory", self._follow())

    async def close(self) -> None:
        """Stops refreshing the copy."""
        await self.background.close()
        await self._store.close()

    @property
    def loaded(self) -> bool:
        """Whether the copy is loaded, and read within the last `stale_after` seconds."""
        return self._read_at is not None and self._clock() - self._read_at <= self.stale_after

    @property
    def lag(self) -> float | None:
        """Seconds since the copy was last read; None: it was never."""
        return None if self._read_at is None else self._clock() - self._read_at

    def identify(self, token: str, address: Callable[[], Address | None] = lambda: None) -> Identity:
        """The token and its user, for a request from this address, which only tokens for some networks ask for. Raises
        InvalidApiKey with the reason, or DirectoryStale if the copy is too old."""
        if not self.loaded or self._keyring is None:
            raise DirectoryStale
        digest = self._keyring.digest(token)
        # Clients cannot choose an HMAC's bytes, so the time that the look-up takes reveals nothing about other tokens.
        entry = self._tokens.get(digest)
        if entry is None:
            raise InvalidApiKey("an unknown token")
        user = self._users.get(entry.user_id)
        if user is None:
            raise InvalidApiKey(f"token {entry.id}: of an unknown user")
        identity = Identity(user, entry)
        if reason := denial_reason(identity, self._now(), address):
            raise InvalidApiKey(f"token {entry.id}: {reason}")
        return identity

    def still_holds(self, identity: Identity) -> bool:
        """Whether an identity is still valid: the copy is fresh, neither user nor token have changed since `identify`,
        and the token has not expired. Costs much less than `identify`."""
        user, token = identity.user, identity.token
        return (
            self.loaded
            and self._users.get(user.id) is user
            and self._tokens.get(token.digest) is token
            and (token.expires_at is None or token.expires_at > self._now())
        )

    def upstream_key(self, user: User) -> str:
        """Returns a user's OpenAI key. Raises KeyUnusable."""
        assert self._keyring is not None
        encrypted, key = self._decrypted.get(user.id, (b"", ""))
        if encrypted != user.upstream_key:
            key = self._keyring.decrypt(user.id, user.upstream_key)
            if len(self._decrypted) >= MAX_DECRYPTED:
                self._decrypted.clear()
            self._decrypted[user.id] = (user.upstream_key, key)
        return key

    def models(self, identity: Identity) -> list[Price]:
        """The prices of the models that a token may use now."""
        return [price for price in self.book.models(self._now()) if may_use(identity, price.model)]

    def model(self, identity: Identity, name: str) -> Price | None:
        """The price of a model, or None if it has none or a token may not use it."""
        return self.book.at(name, self._now()) if may_use(identity, name) else None

    def user_of(self, budget: Budget) -> str:
        """The name of a budget's user."""
        id_ = budget.user_id if budget.token_id is None else self.owner_of(budget.token_id)
        user = self._users.get(-1 if id_ is None else id_)
        return f"user {id_}" if user is None else user.name

    @property
    def decrypted_keys(self) -> int:
        """The number of OpenAI keys that are decrypted in memory."""
        return len(self._decrypted)

    def limits_of(self, owner: Owner) -> RateLimits | None:
        """The rate limits of a user or token, or None."""
        kind, id_ = owner
        row = self._users.get(id_) if kind == "user" else self._tokens.get(self._digests.get(id_, b""))
        return None if row is None else row.limits

    def owner_of(self, token_id: int) -> int | None:
        """The user of a token, or None."""
        token = self._tokens.get(self._digests.get(token_id, b""))
        return None if token is None else token.user_id

    async def _follow(self) -> None:
        while True:
            try:
                await self._store.wait_for_notice(POLL_SECONDS)
                await self._refresh()
            except StoreError as error:
                self._note_failure(error)
                await asyncio.sleep(RETRY_SECONDS)

    def _note_failure(self, error: StoreError) -> None:
        self.connected = False
        self._warning.warning(
            "the directory cannot be refreshed, known tokens work for %s s: %s", self.stale_after, error
        )

    async def _refresh(self) -> None:
        asked_at = self._clock()  # the result is at least as fresh as this moment
        changes = await read_changes(self._store, self.version)
        if changes is not None:
            self._decrypted.clear()  # so that no key stays in memory after its user has lost it
            self._follow_keys(changes)
            await self._apply(changes)
        if not self.connected:
            log.info("the directory is loaded: %d users, %d prices", len(self._users), len(self._prices))
        self.connected = True
        self._read_at = asked_at

    def _follow_keys(self, changes: Changes) -> None:
        """Takes over which master key encrypts, and new keys of the key file."""
        assert self._keyring is not None
        if self._keyring.refresh():
            log.info("the key file has changed: it has %d master keys", len(self._keyring.key_ids))
            self._on_keys()
        if changes.key_state is not None:
            try:
                self._keyring.use(changes.key_state)
            except SetupError as error:
                log.error("%s: copy the key file from the machine on which it was changed", error.message)

    async def _apply(self, changes: Changes) -> None:
        """Applies changes, a batch in each iteration of the event loop. A whole copy is visible only when complete."""
        users, tokens, digests = ({}, {}, {}) if changes.whole else (self._users, self._tokens, self._digests)
        async for user_batch in batches(changes.users):
            users.update((user.id, user) for user in user_batch)
        async for token_batch in batches(changes.tokens):
            for token in token_batch:
                tokens.pop(digests.get(token.id, b""), None)
                tokens[token.digest] = token
                digests[token.id] = token.digest
        self._users, self._tokens, self._digests = users, tokens, digests
        if changes.whole:
            self.budgets.clear()
        self._apply_prices(changes)
        for budget in changes.budgets:
            self.budgets[budget.id] = budget
        time_zone = changes.time_zone if is_time_zone(changes.time_zone) else self.time_zone
        if time_zone != changes.time_zone:
            log.error("settings: the time zone %r does not exist: budgets keep %s", changes.time_zone, time_zone)
        if changes.budgets or changes.whole or time_zone != self.time_zone:
            self.time_zone = time_zone
            self._on_budgets(self.budgets.values(), self.owner_of, self.time_zone)
        self.version = changes.version

    def _apply_prices(self, changes: Changes) -> None:
        if changes.whole:
            self._prices.clear()
            self._surcharges.clear()
            self.shutdown_dates.clear()
        self.shutdown_dates.update(changes.shutdown_dates)
        self._prices.update((price.id, price) for price in changes.prices)
        self._surcharges.update((surcharge.id, surcharge) for surcharge in changes.surcharges)
        self._leave_out(changes.unreadable)
        if changes.prices or changes.surcharges or changes.unreadable or changes.whole:
            surcharges = self._surcharges.values()
            self.book = PriceBook(self._prices.values(), by_clock=True, surcharges=surcharges, host=self._host)

    def _leave_out(self, rows: Iterable[Unreadable]) -> None:
        """Removes rows that cannot be read, whose former content may be in the copy: it is no longer valid."""
        for number, row in enumerate(rows):
            if row.table == "users":
                self._users.pop(row.id, None)
            elif row.table == "tokens":
                self._tokens.pop(self._digests.pop(row.id, b""), None)
            elif row.table == "prices":
                self._prices.pop(row.id, None)
            elif row.table == "surcharges":
                self._surcharges.pop(row.id, None)
            if number < MAX_LOGGED:
                rule = "in force with 0 USD" if row.table == "budgets" else "left out"
                log.error("%s: the row with id %d cannot be read and is %s: %s", row.table, row.id, rule, row.reason)
