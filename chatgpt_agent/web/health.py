"""`/`, `/healthz` (liveness) and `/readyz` (readiness)."""

from datetime import UTC, datetime

import msgspec

from chatgpt_agent import __version__
from chatgpt_agent.runtime.budgets import Budgets
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.embedded_watch import EmbeddedWatch
from chatgpt_agent.runtime.ledger import Ledger
from chatgpt_agent.runtime.lifecycle import Lifecycle
from chatgpt_agent.web.base import ApiHandler


class RootHandler(ApiHandler):
    """`GET /`: what answers here."""

    def get(self) -> None:
        self.write_json(msgspec.json.encode({"name": "chatgpt-agent", "version": __version__}))

    head = get


class AliveHandler(ApiHandler):
    """`GET /healthz`: the process runs and its event loop answers. A supervisor restarts it where this fails."""

    quiet = True

    def get(self) -> None:
        self.write_json(b'{"status":"ok"}')

    head = get


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """The services that decide whether the agent is ready."""

    directory: Directory
    budgets: Budgets
    ledger: Ledger
    lifecycle: Lifecycle
    embedded_watch: EmbeddedWatch | None


class ReadyHandler(ApiHandler):
    """`GET /readyz`: 200 while requests can be served, else 503, at which a load balancer sends none.

    A database that is away does not change that at once: known tokens go on working for `stale_after`."""

    quiet = True

    def initialize(self, readiness: Readiness) -> None:
        self._services = readiness

    def get(self) -> None:
        # While it is not known what was spent, every request under a budget is refused.
        services = self._services
        directory = services.directory.loaded and services.budgets.loaded
        ledger, draining = services.ledger.writable, services.lifecycle.draining
        ready = directory and ledger and not draining
        oldest = services.ledger.oldest_at
        state = {
            "ready": ready,
            "database": self._database(),
            "directory": "loaded" if directory else "stale",
            "ledger": "writable" if ledger else "not writable",
            "draining": draining,
            # Rows that are not in PostgreSQL yet, and the rows since the start by state.
            "backlog": services.ledger.backlog,
            "oldest_waiting_seconds": max(0, int((datetime.now(UTC) - oldest).total_seconds())) if oldest else 0,
            "dead_letters": services.ledger.dead_letters,
            "rows": services.ledger.states,
        }
        self.write_json(msgspec.json.encode(state), 200 if ready else 503)

    head = get

    def _database(self) -> str:
        watch = self._services.embedded_watch
        if watch is not None and watch.is_down:
            return "restarting"
        return "connected" if self._services.directory.connected else "away"
