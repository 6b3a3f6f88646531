"""When each token was last used: kept in memory, and written apart from requests, every five minutes at most."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.tokens import save_last_used
from chatgpt_agent.core.errors import StoreError
from chatgpt_agent.runtime.background import Background, OnDeath, Throttle, report_to_loop

log = logging.getLogger(__name__)

TASK = "last used"
WRITE_TIMEOUT = 2.0  # seconds for a statement: a shutdown waits no longer for the last one
CLOSE_SECONDS = 1.0  # for the last times, when the process ends
WRITE_SECONDS = 300.0  # between two writes of one token
CHECK_SECONDS = 5.0  # between two checks for tokens to write: the first use of a new token is visible soon


class LastUsed:
    """The times of last use. `clock` is monotonic seconds."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float],
        check_seconds: float = CHECK_SECONDS,
        on_death: OnDeath = report_to_loop,
    ) -> None:
        self._store = store
        self._clock = clock
        self._check_seconds = check_seconds
        self._unwritten: dict[int, datetime] = {}  # when each token was last used
        self._written_at: dict[int, float] = {}  # when each token was last written, in monotonic seconds
        self._warning = Throttle(log, clock=clock)
        self.background = Background(on_death)

    @property
    def unwritten(self) -> int:
        """The number of tokens whose last use is not written yet."""
        return len(self._unwritten)

    def touch(self, token_id: int) -> None:
        """Notes that a token is used now."""
        self._unwritten[token_id] = datetime.now(UTC)

    def start(self) -> None:
        """Starts to write."""
        self.background.start(TASK, self._write_forever())

    async def close(self) -> None:
        """Stops, and writes what is unwritten if the database can be reached."""
        await self.background.close()
        if TASK in self.background:
            self._written_at.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.write()
        await self._store.close()

    async def write(self) -> None:
        """Writes the tokens that were not written for WRITE_SECONDS. After an error they stay unwritten."""
        now = self._clock()
        due = {
            id_: used_at
            for id_, used_at in self._unwritten.items()
            if now - self._written_at.get(id_, -WRITE_SECONDS) >= WRITE_SECONDS
        }
        if not due:
            return
        try:
            await save_last_used(self._store, due)
        except StoreError as error:
            self._warning.warning("cannot write last-used times of %d tokens: %s", len(due), error)
            return
        for id_, used_at in due.items():
            self._written_at[id_] = now
            if self._unwritten[id_] == used_at:
                del self._unwritten[id_]

    async def _write_forever(self) -> None:
        while True:
            await asyncio.sleep(self._check_seconds)
            await self.write()
