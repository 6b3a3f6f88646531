"""The shipper: sends the rows of the outbox to PostgreSQL, in batches and in order, until PostgreSQL confirms them.

PostgreSQL stores with the rows how many rows of this outbox it has. A server that has fewer than were shipped (a
replica that took over without the last rows, a restored backup) gets the rest again: the outbox keeps them for a while.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.agents import AgentReport, read_position, report_agent, set_position
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import add_dead_letter, ensure_partition, reserve_ids, ship_batch
from chatgpt_agent.core.errors import LedgerUnavailable, StoreBadValue, StoreError
from chatgpt_agent.core.ledger import Row
from chatgpt_agent.runtime.background import Throttle
from chatgpt_agent.runtime.figures import Figures

log = logging.getLogger(__name__)

BATCH = 500  # rows in one statement, at most
SHIP_TIMEOUT = 2.5  # seconds for one batch: so that a server that no longer answers is given up soon
COLLECT_SECONDS = 0.25  # for which new rows are collected into one batch
MAX_BACKOFF = 5.0
MONTHS_AHEAD = 2
REPORT_SECONDS = 30.0  # between two reports, at most: `migrate --rollback` expects one a minute
CHECK_SECONDS = 5.0  # without a row to ship, until PostgreSQL is asked whether it still has all rows
CLOCK_SECONDS = 60.0  # by which this machine's clock and PostgreSQL's may differ without a warning


class ShippingObserver(Protocol):
    """What learns of rows on their way to PostgreSQL."""

    def shipping(self, rows: Sequence[Row]) -> None:
        """Called before a batch is sent: PostgreSQL may have these rows from now on."""

    def shipped(self, rows: Sequence[Row]) -> None:
        """Called after PostgreSQL has confirmed that it has these rows."""

    def reconnected(self) -> None:
        """Called after a new connection, or after PostgreSQL has lost rows: another server may answer, which has lost
        more."""


class Shipper:
    """Ships the rows of an outbox. `now` is the time of day in UTC."""

    def __init__(
        self,
        outbox: Outbox,
        store: Store,
        *,
        observer: ShippingObserver,
        now: Callable[[], datetime],
        figures: Figures,
    ) -> None:
        self._outbox = outbox
        self._figures = figures
        self._store = store
        self._observer = observer
        self._now = now
        self._id: UUID | None = None
        # Figures for operators.
        self.backlog = 0  # rows in the outbox that are to be shipped
        self.oldest_at: datetime | None = None  # when the oldest request in the backlog began
        self.dead_letters = 0  # rows since the start that PostgreSQL refused
        self.shipped_rows = 0  # since the start, that PostgreSQL confirmed
        self.lost_rows = 0  # that PostgreSQL lost, and that the outbox no longer had
        # How far rows are shipped.
        self._shipped = 0  # the number of the last row that PostgreSQL has confirmed, with all before it
        self._position_known = False  # whether PostgreSQL said that it has all rows up to there
        self._again_until = 0  # the number of the last row that is shipped again
        self._contact_at = float("-inf")  # when PostgreSQL last answered, in monotonic seconds
        self._contact = 0.0  # seconds of contact with PostgreSQL that the outbox does not know yet
        self._reported_at = float("-inf")
        self._connects = 0  # how often the store had connected when that was last looked at
        # Its work.
        self._months: set[tuple[int, int]] = set()  # that have a partition
        self._batch = BATCH
        self._wake = asyncio.Event()
        self._shipping = asyncio.Lock()
        self._backlog_warning = Throttle(log)
        self._clock_warning = Throttle(log, seconds=3600)

    async def open(self) -> None:
        """Reads from the open outbox how far its rows are shipped. Raises LedgerUnavailable."""
        self._id = await self._outbox.identity()
        position = await self._outbox.position()
        self._shipped, self.lost_rows = position.shipped, position.lost
        self.backlog = await self._outbox.depth()

    def note(self, row: Row) -> None:
        """Notes that a row was added to the outbox."""
        self.backlog += 1
        self.oldest_at = self.oldest_at or row.intent.started_at
        self._wake.set()

    def wake(self) -> None:
        """Lets rows be shipped now."""
        self._wake.set()

    def report_soon(self) -> None:
        """Lets this agent report about itself now."""
        self._reported_at = float("-inf")
        self._wake.set()

    async def report(self) -> UUID:
        """Finds out whether PostgreSQL has all rows that were shipped, and reports that this agent is alive; returns
        the agent's id. Raises StoreError, LedgerUnavailable."""
        assert self._id is not None
        await self._check_position()
        await self._report()
        return self._id

    async def flush(self) -> None:
        """Ships the whole backlog now. Raises StoreError, LedgerUnavailable."""
        while await self._ship_batch():
            pass

    async def finish(self) -> None:
        """Ships the whole backlog and reports that this agent ends. Raises StoreError, LedgerUnavailable."""
        await self.flush()
        await self._report(ended=True)

    async def ship_forever(self) -> None:
        """Ships rows as they come."""
        failures = 0
        while True:
            try:
                await self._make_partitions()
                self._wake.clear()
                if not self._position_known:
                    await self._check_position()
                shipped = await self._ship_all()
                if failures:
                    log.info("rows are shipped again")
                self._note_connection()
                if shipped or failures or self._seconds() - self._reported_at >= REPORT_SECONDS:
                    await self._report()
                failures = 0
                self._backlog_warning.reset()
                await self._wait_for_rows(CHECK_SECONDS)
            except (StoreError, LedgerUnavailable) as error:
                failures += 1
                self._position_known = False  # another server may answer next
                self._connects = self._connects or self._store.connects  # the first connection was this one
                self._batch = max(1, self._batch // 2)  # the timeout may have been too short for so many
                self._months.clear()  # a partition may have been dropped
                self._backlog_warning.warning("%d rows wait in the outbox: %s", self.backlog, error)
                await asyncio.sleep(min(MAX_BACKOFF, COLLECT_SECONDS * 2**failures) * random.uniform(0.5, 1))  # noqa: S311

    async def _wait_for_rows(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            self._position_known = False
            return
        await asyncio.sleep(COLLECT_SECONDS)

    async def _ship_all(self) -> bool:
        """Ships batches until one is not full; returns whether there were rows. A partial batch means that the outbox
        has no more. Then new rows are collected first, because a statement of twenty rows costs PostgreSQL nearly as
        much as one of five hundred."""
        count = limit = self._batch
        any_rows = False
        while count >= limit:
            limit = self._batch
            count = await self._ship_batch()
            any_rows = any_rows or count > 0
        return any_rows

    async def _ship_batch(self) -> int:
        """Ships the oldest rows; returns their number. After an error they are shipped again, which does no harm."""
        async with self._shipping:
            last, rows = await self._outbox.peek_batch(self._batch)
            if not rows:
                self.backlog, self.oldest_at = 0, None  # `note` may come after its row was shipped
                return 0
            self.oldest_at = rows[0].intent.started_at
            self._observer.shipping(rows)
            if self._shipped < self._again_until:
                await reserve_ids(self._store, rows)
            position = await self._ship_rows(rows, self._shipped, last)
            if position < self._shipped:
                await self._rewind(position)
                return self._batch  # more is to be shipped
            self._observer.shipped(rows)
            self.shipped_rows += len(rows)
            self._note_contact()
            await self._outbox.ack(last, contact=self._contact)
            self._contact = 0.0
            self._shipped = last
            self._batch = min(BATCH, self._batch * 2)
            self.backlog = await self._outbox.depth()
            if self.backlog == 0:
                self.oldest_at = None
            return len(rows)

    # Rows that PostgreSQL has lost.

    async def _check_position(self) -> None:
        """Finds out whether PostgreSQL has all rows that were shipped; prepares the others to be shipped again."""
        assert self._id is not None
        async with self._shipping:
            ledger_id, shipped = await read_position(self._store, self._id)
            former = (await self._outbox.position()).ledger_id
            if former == ledger_id:
                if shipped < self._shipped:
                    await self._rewind(shipped)
            else:
                if former is not None:
                    log.warning("this is another ledger: rows that were shipped to the former one stay there")
                await set_position(self._store, self._id, self._shipped)
                await self._outbox.adopt(ledger_id)
                self.lost_rows = 0
            self._position_known = True
            self._note_contact()

    async def _rewind(self, shipped: int) -> None:
        """Lets the rows after this number be shipped again: PostgreSQL had confirmed them, and does not have them."""
        missing = self._shipped - shipped
        self._again_until = self._shipped
        deleted = await self._outbox.rewind(shipped)
        self._shipped = shipped
        self.lost_rows += deleted
        self.backlog = await self._outbox.depth()
        log.warning(
            "PostgreSQL does not have the last %d rows that it had confirmed: another server has taken over, or a "
            "backup was restored; %d of them are shipped again",
            missing,
            missing - deleted,
        )
        if deleted:
            log.error(
                "%d rows are lost: they were shipped longer ago than the outbox keeps rows (keep_shipped)", deleted
            )
        self._observer.reconnected()

    def _note_connection(self) -> None:
        """Tells the observer of each connection after the first."""
        before, self._connects = self._connects, self._store.connects
        if 0 < before < self._connects:
            self._observer.reconnected()

    def _note_contact(self) -> None:
        """Counts the time since PostgreSQL last answered, but not that of an outage."""
        now = self._seconds()
        if now - self._contact_at <= 2 * CHECK_SECONDS:
            self._contact += now - self._contact_at
        self._contact_at = now

    @staticmethod
    def _seconds() -> float:
        return asyncio.get_running_loop().time()

    # Parts of a shipped batch.

    async def _ship_rows(self, rows: list[Row], after: int, last: int) -> int:
        """Ships rows, which come after row number `after`, and moves PostgreSQL's position to `last`; returns the
        position. A row that PostgreSQL refuses is found by bisection and becomes a dead letter."""
        try:
            return await self._ship(rows, after, last)
        except StoreBadValue:
            if len(rows) == 1:
                return await self._ship_or_dead_letter(rows[0], after, last)
            middle = len(rows) // 2
            await self._ship_rows(rows[:middle], after, after)
            return await self._ship_rows(rows[middle:], after, last)

    async def _ship_or_dead_letter(self, row: Row, after: int, last: int) -> int:
        self._months.clear()  # the partition may have been dropped, which is not the row's fault
        try:
            return await self._ship([row], after, last)
        except StoreBadValue as error:
            await self._dead_letter(row, error)
            return await self._ship([], after, last)

    async def _ship(self, rows: list[Row], after: int, last: int) -> int:
        assert self._id is not None
        for row in rows:
            await self._have_partition(row.intent.started_at)
        return await ship_batch(self._store, self._id, rows, after=after, last=last)

    async def _dead_letter(self, row: Row, error: StoreBadValue) -> None:
        await add_dead_letter(self._store, row, error.message, self._now())
        self.dead_letters += 1
        log.error("PostgreSQL refused a row, which is now a dead letter: %s: %s", error.message, summary(row))

    async def _report(self, *, ended: bool = False) -> None:
        assert self._id is not None
        oldest_age = (self._now() - self.oldest_at).total_seconds() if self.oldest_at and self.backlog else None
        report = AgentReport(
            backlog=self.backlog,
            oldest_age=oldest_age,
            lost_rows=self.lost_rows,
            ended=ended,
            unknown_usage_fields=self._figures.unknown_fields.counts,
            unpriced_models=self._figures.unpriced_models.counts,
            in_progress=self._figures.in_progress(),
            master_keys=self._figures.key_ids(),
        )
        server_now = await report_agent(self._store, self._id, report)
        self._reported_at = self._seconds()
        self._note_contact()
        await self._outbox.prune(self._contact)
        ahead = (self._now() - server_now).total_seconds()
        if abs(ahead) > CLOCK_SECONDS:
            direction = "ahead of" if ahead > 0 else "behind"
            self._clock_warning.warning("this machine's clock is %.0f s %s PostgreSQL's", abs(ahead), direction)

    async def _make_partitions(self) -> None:
        first = self._now().replace(day=1)
        for ahead in range(MONTHS_AHEAD + 1):
            await self._have_partition(first + timedelta(days=31 * ahead))

    async def _have_partition(self, moment: datetime) -> None:
        month = (moment.year, moment.month)
        if month not in self._months:
            await ensure_partition(self._store, moment)
            self._months.add(month)


def summary(row: Row) -> str:
    """A row for a log line: if the disk never recovers, this is the record."""
    usage = row.usage
    tokens = f"{usage.input} in, {usage.cached} cached, {usage.output} out" if usage else "tokens unknown"
    intent = row.intent
    return (
        f"request {intent.request_id} user {intent.user_id} token {intent.token_id} model {intent.model} "
        f"at {intent.started_at.isoformat()}: {row.state}, {tokens}, {row.cost} USD"
    )
