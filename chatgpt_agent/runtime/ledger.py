"""The ledger: a durable intent before a request is sent, a durable row before the last byte of its answer leaves.

Only rows with an outcome are shipped (runtime/shipper.py). An intent stays in the outbox, on this machine's disk, until
its request ends or until the next start, which turns it into a row. So each request costs PostgreSQL one row, written
once.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.outbox import Outbox
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.errors import LedgerUnavailable, StoreError
from chatgpt_agent.core.ledger import Intent, Outcome, Row, orphan, settle
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.runtime.background import Background, OnDeath, report_to_loop
from chatgpt_agent.runtime.figures import Figures
from chatgpt_agent.runtime.shipper import Shipper, ShippingObserver, summary

log = logging.getLogger(__name__)

SHIPPER = "shipper"  # the name of its task
CLOSE_SECONDS = 3.0  # for the last rows, when the process ends


class OpenRequest(msgspec.Struct, frozen=True):
    """A request without an outcome: its intent, and the prices of the moment when it was admitted. `price` None: its
    endpoint is free."""

    intent: Intent
    price: Price | None
    book: PriceBook


class Ledger:
    """Opens and settles requests, and ships their rows. `now` is the time of day in UTC."""

    def __init__(
        self,
        outbox: Outbox,
        store: Store,
        *,
        observer: ShippingObserver,
        figures: Figures | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_death: OnDeath = report_to_loop,
    ) -> None:
        self._outbox = outbox
        self._store = store
        self._figures = figures or Figures()
        self._shipper = Shipper(outbox, store, observer=observer, now=now, figures=self._figures)
        self._unwritten: dict[str, Row] = {}  # rows that the disk refused, to be written again
        self.background = Background(on_death)

    def keep_shipped(self, seconds: float) -> None:
        """From now on, keeps shipped rows until the agent has been in contact with PostgreSQL for so many seconds."""
        self._outbox.keep = seconds

    @property
    def is_shipping(self) -> bool:
        """Whether the shipper was started."""
        return SHIPPER in self.background

    @property
    def backlog(self) -> int:
        """The number of rows in the outbox that are to be shipped."""
        return self._shipper.backlog

    @property
    def oldest_at(self) -> datetime | None:
        """When the oldest request in the backlog began."""
        return self._shipper.oldest_at

    @property
    def dead_letters(self) -> int:
        """The number of rows since the start that PostgreSQL refused."""
        return self._shipper.dead_letters

    @property
    def shipped_rows(self) -> int:
        """The number of rows since the start that PostgreSQL confirmed."""
        return self._shipper.shipped_rows

    @property
    def states(self) -> dict[str, int]:
        """The number of rows since the start, by state."""
        return self._figures.requests.states

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
            row = orphan(intent)
            await self._outbox.settle(row)
            self._figures.requests.note_row(row, None)
        await self._shipper.open()
        if orphans:
            log.warning("%d requests were cut off when the agent last ended; their state is `unknown`", len(orphans))
        self.background.start("unwritten rows", self._write_forever())

    async def report(self) -> UUID:
        """Finds out whether PostgreSQL has all rows that were shipped, and reports that this agent is alive; returns
        the agent's id. Raises StoreError, LedgerUnavailable."""
        return await self._shipper.report()

    def report_soon(self) -> None:
        """Lets this agent report about itself now."""
        self._shipper.report_soon()

    async def backlog_rows(self) -> list[Row]:
        """The rows that are to be shipped, the oldest first. Raises LedgerUnavailable."""
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
            self.background.start(SHIPPER, self._shipper.ship_forever())

    async def open_request(self, intent: Intent, price: Price | None, book: PriceBook) -> OpenRequest:
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
            log.critical("a row could not be written: %s", summary(row))
            raise
        finally:
            self._count(request, outcome, row)
        self._shipper.note(row)
        return row

    def _count(self, request: OpenRequest, outcome: Outcome, row: Row) -> None:
        figures, answer = self._figures, outcome.answer
        figures.requests.note_row(row, request.price)
        figures.upstream.note(outcome)
        if answer.unknown_fields:
            figures.unknown_fields.add(answer.unknown_fields)
        if answer.usage is not None and answer.usage.image_tool is not None:
            model = answer.image_model or request.intent.image_model
            price = request.book.at(model, request.intent.started_at) if model else None
            figures.requests.note_image(answer.usage.image_tool, price)

    async def confirm_write(self) -> None:
        """Returns once the outbox's disk has accepted a write since the last call. Raises LedgerUnavailable."""
        await self._outbox.confirm_write()

    async def flush(self) -> None:
        """Ships the whole backlog now. Raises StoreError, LedgerUnavailable."""
        await self._shipper.flush()

    async def close(self) -> None:
        """Ships rows for CLOSE_SECONDS at most, and closes the outbox, which keeps the rest."""
        await self.background.close()
        try:
            await self._write_unwritten()
            if self.is_shipping:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._shipper.finish()
        except (StoreError, LedgerUnavailable, TimeoutError) as error:
            log.warning("rows stay in the outbox for the next start: %s", error)
        await self._store.close()
        await self._outbox.close()

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
            self._shipper.wake()
