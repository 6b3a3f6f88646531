"""Figures that only the database or the disk knows. They are read in the background, so that no scrape of the metrics
waits for either."""

import asyncio
import logging
import time
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import msgspec

from chatgpt_agent.adapters.outbox import file_bytes
from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.adapters.postgres.alerts import count_waiting
from chatgpt_agent.adapters.postgres.backups import read_last_backup
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.ledger_checks import RECONCILE, VERIFY, last_checks, last_difference
from chatgpt_agent.adapters.postgres.tokens import count_expiring
from chatgpt_agent.adapters.postgres.usage import count_dead_letters
from chatgpt_agent.core.errors import StoreError
from chatgpt_agent.core.metrics import EXPIRING_DAYS
from chatgpt_agent.runtime.background import Background, OnDeath, Throttle, report_to_loop

log = logging.getLogger(__name__)

READ_SECONDS = 30.0  # between two readings


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What the database knew at `at`, a Unix time. `verify_ok`: the last check of the ledger reported nothing;
    `difference`: how much more OpenAI charged than the ledger has, in USD. None: there was no such check or backup."""

    at: float
    dead_letters: int
    alerts_waiting: int
    tokens_expiring: int
    verify_ok: bool | None
    verify_at: datetime | None
    reconcile_at: datetime | None
    difference: Decimal | None
    backup_at: datetime | None


class StoredFigures:
    """The figures of the last reading; None before the first. `folder`: that of the outbox."""

    def __init__(
        self, store: Store, folder: Path, *, seconds: float = READ_SECONDS, on_death: OnDeath = report_to_loop
    ) -> None:
        self._store = store
        self._folder = folder
        self._seconds = seconds
        self._warning = Throttle(log)
        self.stored: Stored | None = None
        self.outbox_bytes: int | None = None
        self.background = Background(on_death)

    def start(self) -> None:
        """Starts to read. The database's schema must be up to date."""
        self.background.start("stored figures", self._read_forever())

    async def close(self) -> None:
        """Stops reading."""
        await self.background.close()

    async def _read_forever(self) -> None:
        while True:
            self.outbox_bytes = await self._outbox_bytes()
            try:
                self.stored = await self._read()
            except StoreError as error:
                self._warning.warning("the metrics that the database knows cannot be read: %s", error)
            await asyncio.sleep(self._seconds)

    async def _outbox_bytes(self) -> int | None:
        try:
            return await in_own_thread(lambda: file_bytes(self._folder))
        except OSError as error:  # the ledger notices by itself whether it can go on
            self._warning.warning("the size of the outbox cannot be read: %s", error.strerror)
            return None

    async def _read(self) -> Stored:
        store = self._store
        checks = await last_checks(store)
        backup = await read_last_backup(store)
        verify, reconcile = checks.get(VERIFY), checks.get(RECONCILE)
        return Stored(
            at=time.time(),
            dead_letters=await count_dead_letters(store),
            alerts_waiting=await count_waiting(store),
            tokens_expiring=await count_expiring(store, EXPIRING_DAYS),
            verify_ok=None if verify is None else not verify.findings,
            verify_at=None if verify is None else verify.at,
            reconcile_at=None if reconcile is None else reconcile.at,
            difference=await last_difference(store),
            backup_at=None if backup is None else backup.at,
        )
