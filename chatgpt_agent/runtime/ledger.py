"""The ledger: a durable intent before a request is sent, a durable row before the last byte of its answer leaves, and
a shipper that sends rows to PostgreSQL until PostgreSQL confirms them.

Only rows with an outcome are shipped. An intent stays in the outbox, on this machine's disk, until its request ends or
until the next start, which turns it into a row. So each request costs PostgreSQL one row, written once.
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
from chatgpt_agent.adapters.postgres.agents import AgentState, report_agent
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import add_dead_letter, ensure_partition, ship
from chatgpt_agent.core.errors import LedgerUnavailable, StoreBadValue, StoreError
from chatgpt_agent.core.ledger import Intent, Outcome, Row, State, orphan, settle
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.runtime.background import Background, OnDeath, Throttle, report_to_loop

log = logging.getLogger(__name__)

BATCH = 500  # rows in one statement, at most
SHIP_TIMEOUT = 2.5  # seconds for one batch: so that a server that no longer answers is given up soon
COLLECT_SECONDS = 0.25  # for which new rows are collected into one batch
MAX_BACKOFF = 5.0
MONTHS_AHEAD = 2
REPORT_SECONDS = (
    30.0  # between two reports that this agent is alive, at most: `migrate --rollback` expects one a minute
)
SHIPPER = "shipper"  # the name of its task
CLOSE_SECONDS = 5.0  # for the last rows, when the process ends


class OpenRequest(msgspec.Struct, frozen=True):
    """A request without an outcome: its intent, and the prices of the moment when it was admitted."""

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
    """Opens and settles requests, and ships their rows. `now` is the time of day in UTC."""

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
        self._id: UUID | None = None
        self._unwritten: dict[str, Row] = {}  # rows that the disk refused, to be written again
        # Figures for operators.
        self.states: Counter[str] = Counter()  # of the rows since the start
        self.backlog = 0  # rows in the outbox
        self.oldest_at: datetime | None = None  # when the oldest request in the backlog began
        self.dead_letters = 0  # rows since the start that PostgreSQL refused
        self._last_shipped_at: datetime | None = None
        # The shipper.
        self._months: set[tuple[int, int]] = set()  # that have a partition
        self._batch = BATCH
        self._wake = asyncio.Event()
        self._backlog_warning = Throttle(log)
        self.background = Background(on_death)
        self._shipping = asyncio.Lock()

    @property
    def is_shipping(self) -> bool:
        """Whether the shipper was started."""
        return SHIPPER in self.background

    @property
    def unwritten(self) -> int:
        """The number of rows that the disk refused."""
        return len(self._unwritten)

    @property
    def writable(self) -> bool:
        """Whether the last write to the outbox succeeded, and no row waits for the disk."""
        return self._outbox.writable and not self._unwritten

    async def open_outbox(self) -> None:
        """Opens the outbox. Requests that were open when the last process died get their rows. Raises SetupError,
        LedgerUnavailable."""
        await self._outbox.open()
        orphans = await self._outbox.intents()
        for intent in orphans:
            await self._outbox.settle(orphan(intent))
            self.states[State.UNKNOWN] += 1
        self._id = await self._outbox.identity()
        self.backlog = await self._outbox.depth()
        if orphans:
            log.warning("%d requests were cut off when the agent last ended; their state is `unknown`", len(orphans))
        self.background.start("unwritten rows", self._write_forever())

    async def report(self) -> UUID:
        """Reports to PostgreSQL that this agent is alive; returns the agent's id. Raises StoreError."""
        await self._report()
        assert self._id is not None
        return self._id

    async def backlog_rows(self) -> list[Row]:
        """The rows in the outbox, the oldest first. Raises LedgerUnavailable."""
        return (await self._outbox.peek_batch(-1))[1]

    async def depth(self) -> int:
        """The number of rows that PostgreSQL has not confirmed, including those that the disk refused. Raises
        LedgerUnavailable."""
        return len(self._unwritten) + await self._outbox.depth()

    async def open_intents(self) -> list[Intent]:
        """The intents of requests without an outcome. Raises LedgerUnavailable."""
        return await self._outbox.intents()

    async def start_shipping(self) -> None:
        """Starts the shipper, unless it was started before. The database's schema must be up to date."""
        if not self.is_shipping:
            self.background.start(SHIPPER, self._ship_forever())

    async def open(self, intent: Intent, price: Price, book: PriceBook) -> OpenRequest:
        """Writes the intent of a request. Raises LedgerUnavailable: then the request must not be sent."""
        if self._unwritten:  # a row waits for the disk: no record, no service
            raise LedgerUnavailable
        await self._outbox.add_intent(intent)
        return OpenRequest(intent, price, book)

    async def settle(self, request: OpenRequest, outcome: Outcome) -> Row:
        """Writes the row of a request. Raises LedgerUnavailable: then no more of the answer may leave; the row is kept
        in memory and written once the disk accepts it."""
        row = settle(request.intent, outcome, request.price, request.book)
        try:
            await self._outbox.settle(row)
        except LedgerUnavailable:
            self._unwritten[str(request.intent.request_id)] = row
            log.critical("a row could not be written: %s", _summary(row))
            raise
        finally:
            self.states[row.state] += 1
        self.backlog += 1
        self.oldest_at = self.oldest_at or row.intent.started_at
        self._wake.set()
        return row

    async def flush(self) -> None:
        """Ships the whole backlog now. Raises StoreError, LedgerUnavailable."""
        while await self._ship_batch():
            pass

    async def close(self) -> None:
        """Ships rows for a few seconds at most, and closes the outbox, which keeps the rest."""
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
                # A partial batch means that the outbox is drained. Then new rows are collected first, because a
                # statement of twenty rows costs PostgreSQL nearly as much as one of five hundred.
                limit = shipped = 1
                while shipped >= limit:
                    limit = self._batch
                    shipped = await self._ship_batch()
                await self._report()
                if failures:
                    log.info("rows are shipped again")
                failures = 0
                self._backlog_warning.reset()
                await self._wait_for_rows(REPORT_SECONDS)
            except (StoreError, LedgerUnavailable) as error:
                failures += 1
                self._batch = max(1, self._batch // 2)  # the timeout may have been too short for so many
                self._months.clear()  # a partition may have been dropped
                self._backlog_warning.warning("%d rows wait in the outbox: %s", self.backlog, error)
                await asyncio.sleep(min(MAX_BACKOFF, COLLECT_SECONDS * 2**failures) * random.uniform(0.5, 1))  # noqa: S311

    async def _wait_for_rows(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        await asyncio.sleep(COLLECT_SECONDS)

    async def _ship_batch(self) -> int:
        """Ships the oldest rows; returns their number. After an error they are shipped again, which does no harm."""
        async with self._shipping:
            last, rows = await self._outbox.peek_batch(self._batch)
            if not rows:
                return 0
            self.oldest_at = rows[0].intent.started_at
            self._observer.shipping(rows)
            await self._ship_rows(rows)
            self._observer.shipped(rows)
            await self._outbox.ack(last)
            self._batch = min(BATCH, self._batch * 2)
            self._last_shipped_at = self._now()
            self.backlog = await self._outbox.depth()
            if self.backlog == 0:
                self.oldest_at = None
            return len(rows)

    async def _ship_rows(self, rows: list[Row]) -> None:
        """Ships rows. A row that PostgreSQL refuses is found by bisection and becomes a dead letter."""
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
                await self._ship_or_dead_letter(rows[0])

    async def _ship_or_dead_letter(self, row: Row) -> None:
        self._months.clear()  # the partition may have been dropped, which is not the row's fault
        await self._have_partition(row.intent.started_at)
        try:
            await ship(self._store, [row])
        except StoreBadValue as error:
            await self._dead_letter(row, error)

    async def _dead_letter(self, row: Row, error: StoreBadValue) -> None:
        await add_dead_letter(self._store, row, error.message, self._now())
        self.dead_letters += 1
        log.error("PostgreSQL refused a row, which is now a dead letter: %s: %s", error.message, _summary(row))

    async def _report(self) -> None:
        assert self._id is not None
        state = AgentState(
            id=self._id,
            seen_at=self._now(),
            last_shipped_at=self._last_shipped_at,
            backlog=self.backlog,
            oldest_at=self.oldest_at,
        )
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
                    # While the agent is not ready, a load balancer sends no request whose intent would test the disk.
                    await self._outbox.probe()
                await self._write_unwritten()
            except LedgerUnavailable:
                continue

    async def _write_unwritten(self) -> None:
        for key, row in list(self._unwritten.items()):
            await self._outbox.settle(row)
            del self._unwritten[key]
            self._wake.set()


def _summary(row: Row) -> str:
    """A row for a log line: if the disk never recovers, this is the record."""
    usage = row.usage
    tokens = f"{usage.input} in, {usage.cached} cached, {usage.output} out" if usage else "tokens unknown"
    intent = row.intent
    return (
        f"request {intent.request_id} user {intent.user_id} token {intent.token_id} model {intent.model} "
        f"at {intent.started_at.isoformat()}: {row.state}, {tokens}, {row.cost} USD"
    )
