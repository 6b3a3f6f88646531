"""What is counted of each request for the metrics.

The request path only adds to attributes and dictionaries here: the counters and histograms of prometheus-client lock
for each value, and cost several times as much (benchmarks/NOTES.md). Series appear with their first value, and their
labels are of fixed sets or of priced models.
"""

from collections import Counter

from chatgpt_agent.core.errors import AgentError, UpstreamError, UpstreamKeyRejected
from chatgpt_agent.core.http.endpoints import ENDPOINTS
from chatgpt_agent.core.ledger import TERMINAL, Row, State
from chatgpt_agent.core.metrics import (
    EXCHANGE_ERRORS,
    FIRST_BYTE_SECONDS,
    MAX_MODELS,
    OTHER,
    OWN_SECONDS,
    REFUSALS,
    REQUEST_SECONDS,
    UPSTREAM_ERRORS,
)
from chatgpt_agent.core.money.kinds import TOKEN_KINDS
from chatgpt_agent.core.money.pricing import Price
from chatgpt_agent.core.usage import Usage
from chatgpt_agent.runtime.histogram import Histogram

_NAMES = frozenset(endpoint.name for endpoint in ENDPOINTS)
_KINDS = tuple(kind.name for kind in TOKEN_KINDS)
_RARE = tuple(kind.name for kind in TOKEN_KINDS if kind.is_rare)


class EndpointFigures:
    """Requests of an endpoint by state, and how long those took that OpenAI answered."""

    __slots__ = ("duration", "first_byte", "states")

    def __init__(self) -> None:
        self.states: dict[str, int] = dict.fromkeys(TERMINAL, 0)
        self.duration = Histogram(REQUEST_SECONDS.buckets)
        self.first_byte = Histogram(FIRST_BYTE_SECONDS.buckets)


class ModelFigures:
    """Token counts of a model by kind, and its cost in USD."""

    __slots__ = ("cost", "counts", "uncertain_cost")

    def __init__(self) -> None:
        self.counts = dict.fromkeys(_KINDS, 0)
        self.cost = 0.0
        self.uncertain_cost = 0.0

    def add(self, usage: Usage) -> None:
        """Adds the token counts of an answer."""
        counts = self.counts
        counts["input"] += usage.input
        counts["output"] += usage.output
        counts["cached"] += usage.cached
        counts["reasoning"] += usage.reasoning
        if not usage.is_text:
            for name in _RARE:
                counts[name] += getattr(usage, name)


class RequestFigures:
    """Counted since the start of the agent. `refusals`: by code; `upstream_errors`: by HTTP status, or by the code of
    an exchange without a whole answer."""

    def __init__(self) -> None:
        self.endpoints: dict[str, EndpointFigures] = {}
        self.models: dict[str, ModelFigures] = {}
        self.own = Histogram(OWN_SECONDS.buckets)
        self.refusals = dict.fromkeys(REFUSALS, 0)
        self.upstream_errors = dict.fromkeys(UPSTREAM_ERRORS, 0)

    @property
    def states(self) -> dict[str, int]:
        """Rows of all endpoints by state, of the states that there were."""
        totals = sum((Counter(endpoint.states) for endpoint in self.endpoints.values()), Counter[str]())
        return dict(+totals)

    def note_row(self, row: Row, price: Price | None) -> None:
        """Counts a request that has ended. `price`: that of the requested model; None: its endpoint is free."""
        name = row.intent.endpoint
        endpoint = self.endpoints.get(name) or self._new_endpoint(name)
        endpoint.states[row.state] += 1
        if row.first_byte_ms is not None and row.duration_ms is not None:
            endpoint.first_byte.add(row.first_byte_ms / 1000)
            endpoint.duration.add(row.duration_ms / 1000)
        if price is not None:
            model = self.models.get(price.model) or self._new_model(price.model)
            model.cost += float(row.cost)
            if row.uncertain_cost:
                model.uncertain_cost += float(row.uncertain_cost)
            if row.usage is not None:
                model.add(row.usage)
        if row.state is not State.DONE:
            self._note_upstream_error(row)

    def note_image(self, usage: Usage, price: Price | None) -> None:
        """Counts the tokens of the model that drew for a tool. None: it has no price."""
        name = OTHER if price is None else price.model
        (self.models.get(name) or self._new_model(name)).add(usage)

    def note_error(self, error: AgentError) -> None:
        """Counts a request that the agent answered with an error. Exchanges that failed are counted by their row."""
        if not isinstance(error, UpstreamError) or (isinstance(error, UpstreamKeyRejected) and not error.sent):
            self.refusals[error.code if error.code in self.refusals else OTHER] += 1

    def _note_upstream_error(self, row: Row) -> None:
        if row.error is not None and row.error in EXCHANGE_ERRORS:
            self.upstream_errors[row.error] += 1
        elif row.status is not None and (row.status >= 400 or row.state is State.UPSTREAM_ERROR):
            status = str(row.status)
            self.upstream_errors[status if status in self.upstream_errors else OTHER] += 1

    def _new_endpoint(self, name: str) -> EndpointFigures:
        # A row of an earlier version, which a crash has left in the outbox, may be of any endpoint.
        return self.endpoints.setdefault(name if name in _NAMES else OTHER, EndpointFigures())

    def _new_model(self, name: str) -> ModelFigures:
        return self.models.setdefault(name if len(self.models) < MAX_MODELS else OTHER, ModelFigures())
