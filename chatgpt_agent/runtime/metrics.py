"""The values of all metrics, read from the services that count them. It waits for nothing: neither for PostgreSQL nor
for the disk."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from chatgpt_agent import __version__
from chatgpt_agent.core import metrics as names
from chatgpt_agent.core.metrics import PARTS, Metric
from chatgpt_agent.core.money.kinds import SIDES
from chatgpt_agent.core.name_counter import OTHER
from chatgpt_agent.runtime.alerts import Alerts
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.figures import Figures
from chatgpt_agent.runtime.histogram import Histogram
from chatgpt_agent.runtime.ledger import Ledger
from chatgpt_agent.runtime.loop_lag import LoopLag
from chatgpt_agent.runtime.stored_figures import StoredFigures

Value = float | int | Histogram
Samples = Mapping[tuple[str, ...], Value]  # by the values of the metric's labels


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """The services that are read."""

    figures: Figures
    ledger: Ledger
    directory: Directory
    alerts: Alerts
    loop_lag: LoopLag
    stored: StoredFigures

    def read(self) -> dict[Metric, Samples]:
        """The values of now. A metric whose value is not known is left out."""
        single = {**self._of_process(), **self._of_database()}
        return {
            **self._of_requests(),
            **{metric: {(): value} for metric, value in single.items() if value is not None},
            names.BUILD_INFO: {(__version__,): 1},
        }

    def _of_requests(self) -> dict[Metric, Samples]:
        counted = self.figures.requests
        endpoints, models = counted.endpoints, counted.models
        return {
            names.REQUESTS: {
                (name, state): count for name, each in endpoints.items() for state, count in each.states.items()
            },
            names.REQUEST_SECONDS: {(name,): each.duration for name, each in endpoints.items()},
            names.FIRST_BYTE_SECONDS: {(name,): each.first_byte for name, each in endpoints.items()},
            names.REFUSED: {(code,): count for code, count in counted.refusals.items()},
            names.UPSTREAM_FAILED: {(status,): count for status, count in counted.upstream_errors.items()},
            names.TOKENS: {(name, side): each.counts[side] for name, each in models.items() for side in SIDES},
            names.TOKEN_PARTS: {
                (name, part): each.counts[part] for name, each in models.items() for part in PARTS if each.counts[part]
            },
            names.COST: {(name,): each.cost for name, each in models.items()},
            names.UNCERTAIN_COST: {(name,): each.uncertain_cost for name, each in models.items()},
        }

    def _of_process(self) -> dict[Metric, Value | None]:
        figures, ledger, directory = self.figures, self.ledger, self.directory
        return {
            names.OWN_SECONDS: figures.requests.own,
            names.REQUESTS_IN_PROGRESS: figures.in_progress(),
            names.UNKNOWN_FIELDS: sum(figures.unknown_fields.counts.values()),
            names.UNPRICED_MODELS: sum(1 for _ in self._unpriced_models()),
            names.LEDGER_WRITABLE: int(ledger.writable),
            names.OUTBOX_ROWS: ledger.backlog + ledger.unwritten,
            names.OUTBOX_BYTES: self.stored.outbox_bytes,
            names.OUTBOX_OLDEST: _age(ledger.oldest_at),
            names.SHIPPED_ROWS: ledger.shipped_rows,
            names.DATABASE_UP: int(directory.connected),
            names.DIRECTORY_LAG: directory.lag,
            names.LOOP_LAG: self.loop_lag.seconds,
        }

    def _of_database(self) -> dict[Metric, Value | None]:
        stored = self.stored.stored
        if stored is None:
            return {}
        return {
            names.DEAD_LETTERS: stored.dead_letters,
            names.ALERTS_WAITING: stored.alerts_waiting + self.alerts.unstored,
            names.TOKENS_EXPIRING: stored.tokens_expiring,
            names.VERIFY_OK: None if stored.verify_ok is None else int(stored.verify_ok),
            names.VERIFY_TIME: _unix(stored.verify_at),
            names.RECONCILE_TIME: _unix(stored.reconcile_at),
            names.BACKUP_TIME: _unix(stored.backup_at),
            names.RECONCILE_DIFFERENCE: None if stored.difference is None else float(stored.difference),
            names.DATABASE_READ_TIME: stored.at,
        }

    def _unpriced_models(self) -> Iterator[str]:
        book, now = self.directory.book, datetime.now(UTC)
        for name in self.figures.unpriced_models.counts:
            if name != OTHER and book.at(name, now) is None:
                yield name


def _age(since: datetime | None) -> float:
    return 0.0 if since is None else max(0.0, (datetime.now(UTC) - since).total_seconds())


def _unix(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
