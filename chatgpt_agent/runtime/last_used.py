"""When each token was last used: kept in memory, and written beside the requests, at most every five minutes each."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.tokens import save_last_used
from chatgpt_agent.core.errors import StoreError
from chatgpt_agent.runtime.background import Background, OnDeath, Throttle, report_to_loop

log = logging.getLogger(__name__)

WRITE_TIMEOUT = 2.0  # seconds for a statement, and so what a write at shutdown may take
WRITE_SECONDS = 300.0  # between two writes of one token
LOOK_SECONDS = 5.0  # between two looks for tokens to be written, so that a new one's first use is soon seen


class LastUsed:
    """`clock` is monotonic seconds."""

    def __init__(self, store: Store, *, clock: Callable[[], float], on_death: OnDeath = report_to_loop) -> None:
        self._store = store
        self._clock = clock
        self._waiting: dict[int, datetime] = {}
        self._written: dict[int, float] = {}
        self._warning = Throttle(log, clock=clock)
        self.background = Background(on_death)

    def touch(self, token_id: int) -> None:
        """Remembers that a token was used now."""
        self._waiting[token_id] = datetime.now(UTC)

    def start(self) -> None:
        """Begins to write."""
        self.background.start("last used", self._run())

    async def close(self) -> None:
        """Stops, and writes what waits, if the database takes it."""
        await self.background.close()
        if "last used" in self.background:
            self._written.clear()
            await self.write()
        await self._store.close()

    async def write(self) -> None:
        """Writes the tokens whose last write is long enough ago. Where that fails they wait on."""
        now = self._clock()
        due = {
            id_: when
            for id_, when in self._waiting.items()
            if now - self._written.get(id_, -WRITE_SECONDS) >= WRITE_SECONDS
        }
        if not due:
            return
        try:
            await save_last_used(self._store, due)
        except StoreError as error:
            self._warning.warning("cannot write last-used times of %d tokens: %s", len(due), error)
            return
        for id_, when in due.items():
            self._written[id_] = now
            if self._waiting[id_] == when:
                del self._waiting[id_]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.write()
