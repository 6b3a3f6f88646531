"""The ledger: a durable intent before a request is sent, a durable row before its last byte is given out, and a
shipper that carries rows to PostgreSQL until PostgreSQL says that it has them.

Only rows with an outcome are shipped. An intent stays in the outbox, which is on this machine's disk, until its request
ends or the next start finds it: so a request costs PostgreSQL one row, written once.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import AgentState, bury, ensure_partition, report_agent, ship
from chatgpt_agent.core.errors import LedgerUnavailable, StoreBadValue, StoreError
from chatgpt_agent.core.ledger import Intent, Outcome, Row, State, orphan, settle
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.runtime.background import Background, OnDeath, Throttle, report_to_loop

log = logging.getLogger(__name__)

BATCH = 500  # rows in one statement, at most
SHIP_TIMEOUT = 2.5  # for one batch: a server that is gone without a word is given up soon after
SHIP_SECONDS = 0.25  # rows wait so long for company
MAX_BACKOFF = 5.0
MONTHS_AHEAD = 2
REPORT_SECONDS = 60.0  # at the latest, an agent says that it is there
SHIPPER = "shipper"  # the name of its task
CLOSE_SECONDS = 5.0  # for the last rows, when the process ends


class Entry(msgspec.Struct, frozen=True):
    """An open line: an intent, and the prices as they were then."""

    intent: Intent
    price: Price
    book: PriceBook


class ShippingObserver(Protocol):
    """What learns of rows on their way to PostgreSQL."""

    def shipping(self, rows: Sequence[Row]) -> None:
        """Called before a batch is sent: PostgreSQL may have these rows from now on."""

    def shipped(self, rows: Sequence[Row]) -> None:
        """Called after PostgreSQL has confirmed that it has these rows."""


class Ledger:
    """Opens and settles entries, and ships them. `now` is the time of day in UTC."""

    def __init__(
        self,
        outbox: Outbox,
        store: Store,
        *,
        observer: ShippingObserver,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_death: OnDeath = report_to_loop,
    ) -> None:
        self._outbox = outbox
        self._store = store
        self._observer = observer
        self._now = now
        self._months: set[tuple[int, int]] = set()  # with a partition
        self._unwritten: dict[str, Row] = {}  # rows whose write failed, to be tried again
        # What operators ask for.
        self.states: Counter[str] = Counter()  # of the rows since the start
        self.waiting = 0  # rows in the outbox
        self.oldest_at: datetime | None = None  # when the oldest of them began
        self.buried = 0  # rows since the start that PostgreSQL refused
        self._id: UUID | None = None
        self._last_shipped_at: datetime | None = None
        # The shipper.
        self._batch = BATCH
        self._wake = asyncio.Event()
        self._backlog_warning = Throttle(log)
        self.background = Background(on_death)
        self._shipping = asyncio.Lock()

    @property
    def is_shipping(self) -> bool:
        """Whether rows go to PostgreSQL."""
        return SHIPPER in self.background

    @property
    def writable(self) -> bool:
        """Whether the outbox took what it was last given."""
        return self._outbox.writable and not self._unwritten

    async def open_outbox(self) -> None:
        """Opens the outbox; what a process that died had begun gets its row. Raises SetupError, LedgerUnavailable."""
        await self._outbox.open()
        orphans = await self._outbox.intents()
        for intent in orphans:
            await self._outbox.settle(orphan(intent))
            self.states[State.UNKNOWN] += 1
        self._id = await self._outbox.identity()
        self.waiting = await self._outbox.depth()
        if orphans:
            log.warning("requests cut off when the agent last ended, whose rows say `unknown`: %d", len(orphans))
        self.background.start("unwritten rows", self._write_forever())

    async def report(self) -> UUID:
        """Tells PostgreSQL that this agent is there; returns its id. Raises StoreError."""
        await self._report()
        assert self._id is not None
        return self._id

    async def backlog_rows(self) -> list[Row]:
        """The rows in the outbox. Raises LedgerUnavailable."""
        return (await self._outbox.batch(-1))[1]

    async def start_shipping(self) -> None:
        """From here on rows go to PostgreSQL, whose schema must be there. Once is enough."""
        if self.is_shipping:
            return
        self.background.start(SHIPPER, self._ship_forever())

    async def open(self, intent: Intent, price: Price, book: PriceBook) -> Entry:
        """Writes that a request is about to be sent. Raises LedgerUnavailable: then it must not be."""
        if self._unwritten:  # a row is waiting for the disk: no record, no service
            raise LedgerUnavailable
        await self._outbox.add_intent(intent)
        return Entry(intent, price, book)

    async def settle(self, entry: Entry, outcome: Outcome) -> Row:
        """Writes what became of a request. Raises LedgerUnavailable, when no more of the answer may go out; the row is
        kept in memory and written when the disk takes it."""
        row = settle(entry.intent, outcome, entry.price, entry.book)
        try:
            await self._outbox.settle(row)
        except LedgerUnavailable:
            self._unwritten[str(entry.intent.request_id)] = row
            log.critical("a row could not be written: %s", _numbers(row))
            raise
        finally:
            self.states[row.state] += 1
        self.waiting += 1
        self.oldest_at = self.oldest_at or row.intent.started_at
        self._wake.set()
        return row

    async def flush(self) -> None:
        """Ships all rows that wait, at once. Raises StoreError, LedgerUnavailable."""
        while await self._ship_batch():
            pass

    async def close(self) -> None:
        """Ships what it can within a few seconds, and closes the outbox, which keeps the rest."""
        await self.background.close()
        try:
            await self._write_unwritten()
            if self.is_shipping:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.flush()
        except (StoreError, LedgerUnavailable, TimeoutError) as error:
            log.warning("rows stay in the outbox for the next start: %s", error)
        await self._store.close()
        await self._outbox.close()

    # The shipper.

    async def _ship_forever(self) -> None:
        failures = 0
        while True:
            try:
                await self._make_partitions()
                self._wake.clear()
                # One that is not full was all there was: what comes meanwhile waits for company, because a statement of
                # twenty rows costs PostgreSQL nearly as much as one of five hundred.
                asked = shipped = 1
                while shipped >= asked:
                    asked = self._batch
                    shipped = await self._ship_batch()
                await self._report()
                if failures:
                    log.info("rows are shipped again")
                failures = 0
                self._backlog_warning.reset()
                await self._nap(REPORT_SECONDS)
            except (StoreError, LedgerUnavailable) as error:
                failures += 1
                self._batch = max(1, self._batch // 2)  # the time may have been too short for so many
                self._months.clear()  # a partition may have been dropped under us
                self._backlog_warning.warning("%d rows wait in the outbox: %s", self.waiting, error)
                await asyncio.sleep(min(MAX_BACKOFF, SHIP_SECONDS * 2**failures) * random.uniform(0.5, 1))  # noqa: S311

    async def _nap(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        await asyncio.sleep(SHIP_SECONDS)

    async def _ship_batch(self) -> int:
        """Ships the oldest rows; returns how many. Any doubt, and they are shipped again: it does no harm."""
        async with self._shipping:
            last, rows = await self._outbox.batch(self._batch)
            if not rows:
                return 0
            self.oldest_at = rows[0].intent.started_at
            self._observer.shipping(rows)
            await self._ship_rows(rows)
            self._observer.shipped(rows)
            await self._outbox.drop(last)
            self._batch = min(BATCH, self._batch * 2)
            self._last_shipped_at = self._now()
            self.waiting = await self._outbox.depth()
            if self.waiting == 0:
                self.oldest_at = None
            return len(rows)

    async def _ship_rows(self, rows: list[Row]) -> None:
        """Ships rows; one that PostgreSQL does not take is found by halving, and buried."""
        try:
            for row in rows:
                await self._have_partition(row.intent.started_at)
            await ship(self._store, rows)
        except StoreBadValue:
            if len(rows) > 1:
                middle = len(rows) // 2
                await self._ship_rows(rows[:middle])
                await self._ship_rows(rows[middle:])
            else:
                await self._ship_or_bury(rows[0])

    async def _ship_or_bury(self, row: Row) -> None:
        self._months.clear()  # its partition may have been dropped under us: that would not be the row's fault
        await self._have_partition(row.intent.started_at)
        try:
            await ship(self._store, [row])
        except StoreBadValue as error:
            await self._bury(row, error)

    async def _bury(self, row: Row, error: StoreBadValue) -> None:
        await bury(self._store, row, error.message, self._now())
        self.buried += 1
        log.error("PostgreSQL refuses a row, which is now a dead letter: %s: %s", error.message, _numbers(row))

    async def _report(self) -> None:
        assert self._id is not None
        state = AgentState(self._id, self._now(), self._last_shipped_at, self.waiting, self.oldest_at)
        await report_agent(self._store, state)

    async def _make_partitions(self) -> None:
        first = self._now().replace(day=1)
        for ahead in range(MONTHS_AHEAD + 1):
            await self._have_partition(first + timedelta(days=31 * ahead))

    async def _have_partition(self, moment: datetime) -> None:
        month = (moment.year, moment.month)
        if month not in self._months:
            await ensure_partition(self._store, moment)
            self._months.add(month)

    # Rows that the disk refused.

    async def _write_forever(self) -> None:
        while True:
            await asyncio.sleep(1)
            try:
                if not self._outbox.writable:
                    # A balancer that sees it sends no request, whose intent would show that the disk is well again.
                    await self._outbox.probe()
                await self._write_unwritten()
            except LedgerUnavailable:
                continue

    async def _write_unwritten(self) -> None:
        for key, row in list(self._unwritten.items()):
            await self._outbox.settle(row)
            del self._unwritten[key]
            self._wake.set()


def _numbers(row: Row) -> str:
    """A row in a log line: if the disk never comes back, this is the record."""
    usage = row.usage
    tokens = f"{usage.input} in, {usage.cached} cached, {usage.output} out" if usage else "tokens unknown"
    intent = row.intent
    return (
        f"request {intent.request_id} user {intent.user_id} token {intent.token_id} model {intent.model} "
        f"at {intent.started_at.isoformat()}: {row.state}, {tokens}, {row.cost} USD"
    )
