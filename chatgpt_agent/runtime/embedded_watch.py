"""Starts the embedded PostgreSQL again when it has died, while an agent runs: rows wait in the outbox meanwhile."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from chatgpt_agent.adapters.own_thread import in_own_thread
from chatgpt_agent.core.errors import SetupError
from chatgpt_agent.runtime.background import Throttle

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
FIRST_DELAY = 1.0  # before the second try; it doubles with each further one
MAX_DELAY = 60.0
STABLE_SECONDS = 60.0  # for which a server must have run, so that its next end is the first one again


class PrivateServer(Protocol):
    """The server, of which `runs_as` returns at once; the others may wait for a long time."""

    def running_process(self) -> int | None:
        """Returns the id of the server's process; 0: it runs in another container; None: it does not run."""

    def runs_as(self, process: int) -> bool:
        """Whether this process is the server's, and alive."""

    def start_again(self) -> bool:
        """Starts the server, unless it runs. Returns whether it was started. Raises SetupError."""


class EmbeddedWatch:
    """Looks every second whether the server is alive. `is_down`: it is not, and is started again."""

    def __init__(
        self,
        server: PrivateServer,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._server = server
        self._clock = clock
        self._sleep = sleep
        self._warning = Throttle(log)
        self._process: int | None = None
        self._started_at = float("-inf")
        self._delay = 0.0  # before the next start
        self.is_down = False

    async def watch_forever(self) -> None:
        """Watches the server. Waits longer after each start that fails, or whose server dies soon."""
        while True:
            await self._sleep(CHECK_SECONDS)
            try:
                is_alive = await self._is_alive()
            except (SetupError, OSError) as error:  # it is not known: that does not end the agent
                self._warning.warning("it is not known whether the embedded PostgreSQL runs: %s", error)
                continue
            if is_alive:
                self.is_down = False
            else:
                await self._start()

    async def _is_alive(self) -> bool:
        if self._process and self._server.runs_as(self._process):
            return True
        self._process = await in_own_thread(self._server.running_process)
        return self._process is not None

    async def _start(self) -> None:
        if self._clock() - self._started_at >= STABLE_SECONDS:
            self._delay = 0.0
        self.is_down = True
        log.error("the embedded PostgreSQL has died; it is started again in %.0f s", self._delay)
        await self._sleep(self._delay)
        self._delay = min(MAX_DELAY, 2 * self._delay or FIRST_DELAY)
        try:
            if await in_own_thread(self._server.start_again):
                log.warning("the embedded PostgreSQL runs again")
        except (SetupError, OSError) as error:
            log.error("%s", error)
        self._started_at = self._clock()
