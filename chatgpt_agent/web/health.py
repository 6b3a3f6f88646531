"""Is it alive, may it serve, and what is it."""

from datetime import UTC, datetime

import msgspec

from chatgpt_agent import __version__
from chatgpt_agent.runtime.in_flight import Lifecycle
from chatgpt_agent.runtime.relay import Relay
from chatgpt_agent.web.base import ApiHandler


class RootHandler(ApiHandler):
    """`GET /`: what answers here."""

    def get(self) -> None:
        self.write_json(msgspec.json.encode({"name": "chatgpt-agent", "version": __version__}))

    head = get


class AliveHandler(ApiHandler):
    """`GET /healthz`: the process runs and its loop turns. A supervisor restarts it where this fails."""

    quiet = True

    def get(self) -> None:
        self.write_json(b'{"status":"ok"}')

    head = get


class ReadyHandler(ApiHandler):
    """`GET /readyz`: 200 where requests can be served. A balancer sends none where this says 503.

    A database that is away does not end that by itself: known tokens go on working for `stale_after`."""

    quiet = True

    def initialize(self, relay: Relay, lifecycle: Lifecycle) -> None:  # type: ignore[override]
        super().initialize()
        self._directory = relay.directory
        self._budgets = relay.budgets
        self._ledger = relay.ledger
        self._lifecycle = lifecycle

    def get(self) -> None:
        # Without what was spent, whoever has a budget is refused.
        directory = self._directory.loaded and self._budgets.loaded
        ledger, draining = self._ledger.writable, self._lifecycle.draining
        ready = directory and ledger and not draining
        oldest = self._ledger.oldest_at
        state = {
            "ready": ready,
            "database": "connected" if self._directory.connected else "away",
            "directory": "loaded" if directory else "stale",
            "ledger": "writable" if ledger else "not writable",
            "draining": draining,
            # Rows that PostgreSQL does not have yet, and those since the start by state: nothing goes wrong silently.
            "waiting_rows": self._ledger.waiting,
            "oldest_waiting_seconds": max(0, int((datetime.now(UTC) - oldest).total_seconds())) if oldest else 0,
            "dead_letters": self._ledger.buried,
            "rows": dict(self._ledger.states),
        }
        self.write_json(msgspec.json.encode(state), 200 if ready else 503)

    head = get
