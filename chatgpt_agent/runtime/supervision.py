"""Supervision by systemd: when the agent serves, what it waits for, and that it is alive."""

import asyncio
import contextlib

from chatgpt_agent.adapters.systemd import ServiceManager, monotonic_microseconds
from chatgpt_agent.core.errors import LedgerUnavailable
from chatgpt_agent.runtime.background import Background, OnDeath, report_to_loop
from chatgpt_agent.runtime.budgets import Budgets
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.ledger import Ledger
from chatgpt_agent.runtime.lifecycle import Lifecycle

STATUS_SECONDS = 1.0  # between two looks at the status
EXTENSION_SECONDS = 30  # for which a start or stop may go on after each message


class Supervision:
    """Sends messages to the service manager. Without one it does nothing.

    The watchdog hears from the agent twice in its period, but only while the event loop turns and the outbox's disk
    takes writes: an agent that cannot record requests may not serve them, and a restart is what systemd can do."""

    def __init__(
        self,
        manager: ServiceManager,
        *,
        directory: Directory,
        budgets: Budgets,
        ledger: Ledger,
        lifecycle: Lifecycle,
        on_death: OnDeath = report_to_loop,
    ) -> None:
        self._manager = manager
        self._directory = directory
        self._budgets = budgets
        self._ledger = ledger
        self._lifecycle = lifecycle
        self._background = Background(on_death)
        # What systemd knows.
        self._is_ready = False
        self._is_refused = False  # the last configuration that was read
        self._status = ""

    def start(self) -> None:
        """Starts to send. The outbox must be open."""
        if not self._manager.is_present:
            return
        self._background.start("status", self._report_forever())
        if self._manager.watchdog_seconds is not None:
            self._background.start("watchdog", self._watch_forever(self._manager.watchdog_seconds / 2))

    def ready(self) -> None:
        """Says that requests are served from now on."""
        if self._lifecycle.draining:
            return
        self._is_ready = True
        self._manager.send("READY=1", self._new_status())

    def begin_reload(self) -> None:
        """Says that the configuration is being read. An agent that is not ready says neither this nor the end: READY=1
        would end its start."""
        if self._is_serving:
            self._manager.send("RELOADING=1", f"MONOTONIC_USEC={monotonic_microseconds()}")

    def end_reload(self, accepted: bool) -> None:
        """Says that the reload is over. There is no message for one that was refused: the status says so."""
        self._is_refused = not accepted
        if self._is_serving:
            self._manager.send("READY=1", self._new_status())

    def stopping(self) -> None:
        """Says that the agent drains."""
        self._manager.send("STOPPING=1", self._new_status(), _extension())

    async def close(self) -> None:
        """Stops to send. The rest of the stop takes less time than the last message has given it."""
        await self._background.close()
        self._manager.close()

    async def _report_forever(self) -> None:
        while True:
            lines = [] if self._status == self._text() else [self._new_status()]
            if not self._is_serving:
                lines.append(_extension())
            if lines:
                self._manager.send(*lines)
            await asyncio.sleep(STATUS_SECONDS)

    async def _watch_forever(self, seconds: float) -> None:
        while True:
            with contextlib.suppress(LedgerUnavailable):  # which the outbox has logged
                await self._ledger.confirm_write()
                self._manager.send("WATCHDOG=1")
            await asyncio.sleep(seconds)

    @property
    def _is_serving(self) -> bool:
        return self._is_ready and not self._lifecycle.draining

    def _new_status(self) -> str:
        self._status = self._text()
        return f"STATUS={self._status}"

    def _text(self) -> str:
        if self._lifecycle.draining:
            return f"stopping, requests in progress: {self._lifecycle.in_progress}"
        if not self._is_ready:
            return "waiting for PostgreSQL"
        if not self._ledger.writable:
            return "not serving: the outbox cannot be written"
        if not (self._directory.loaded and self._budgets.loaded):
            return "not serving: PostgreSQL has been away for too long"
        text = "serving" if self._directory.connected else "serving without PostgreSQL"
        return f"{text}; the new configuration is refused, see the log" if self._is_refused else text


def _extension() -> str:
    return f"EXTEND_TIMEOUT_USEC={EXTENSION_SECONDS * 1_000_000}"
