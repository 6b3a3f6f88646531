"""The metrics of an agent: names, labels and meanings. `GET /metrics` and docs/operations/metrics.md follow from this
table.

No client can add a series: every label has values from a fixed set, or names of models that admins have priced.
"""

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from chatgpt_agent.core.errors import (
    AgentError,
    ClientError,
    InvalidCredentials,
    MisdirectedRequest,
    OneTimeLinkUsed,
    Unavailable,
    UpstreamError,
    UpstreamKeyRejected,
)
from chatgpt_agent.core.money.kinds import SIDES, TOKEN_KINDS

PREFIX = "chatgpt_agent_"
EXPIRING_DAYS = 14  # in which a token expires that is counted as expiring

# Values of labels.
OTHER = "other"  # all that has no value of its own
PARTS = tuple(kind.name for kind in TOKEN_KINDS if kind.name not in SIDES)
MAX_MODELS = 50  # with series of their own: a list of prices may have thousands
_CONSOLE_ERRORS = (InvalidCredentials, OneTimeLinkUsed, MisdirectedRequest)


def _leaves(kind: type[AgentError]) -> Iterator[type[AgentError]]:
    for subclass in kind.__subclasses__():
        yield from _leaves(subclass)
    if not kind.__subclasses__():
        yield kind


# The codes with which the agent itself refuses a request, and those of exchanges without a whole answer.
REFUSALS = (
    *dict.fromkeys(
        kind.code for top in (ClientError, Unavailable) for kind in _leaves(top) if kind not in _CONSOLE_ERRORS
    ),
    UpstreamKeyRejected.code,  # where the stored key cannot be decrypted, so that nothing was sent
    AgentError.code,
    OTHER,
)
EXCHANGE_ERRORS = tuple(kind.code for kind in _leaves(UpstreamError) if kind is not UpstreamKeyRejected)
_STATUSES = (200, 400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 502, 503, 504)
UPSTREAM_ERRORS = (*map(str, _STATUSES), OTHER, *EXCHANGE_ERRORS)


class Kind(StrEnum):
    """A type of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A metric; `name` is without the prefix. `meaning` names the unit; `buckets`: upper bounds of a histogram, in
    seconds."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """Its name in Prometheus."""
        return PREFIX + self.name


def _counter(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, meaning=meaning, labels=labels)


def _gauge(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name=name, kind=Kind.GAUGE, meaning=meaning, labels=labels)


def _histogram(name: str, meaning: str, *labels: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(name=name, kind=Kind.HISTOGRAM, meaning=meaning, labels=labels, buckets=buckets)


_ANSWER_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_OWN_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# Requests.
REQUESTS = _counter(
    "requests_total",
    "Requests that were admitted, by endpoint and by the state of their row.",
    "endpoint",
    "state",
)
REQUEST_SECONDS = _histogram(
    "request_duration_seconds",
    "Time from sending a request to OpenAI to the end of its answer, of requests that OpenAI answered.",
    "endpoint",
    buckets=_ANSWER_SECONDS,
)
FIRST_BYTE_SECONDS = _histogram(
    "first_byte_seconds",
    "Time from sending a request to OpenAI to the head of its answer.",
    "endpoint",
    buckets=_ANSWER_SECONDS,
)
OWN_SECONDS = _histogram(
    "own_seconds",
    "Time that the agent adds to a request: from the end of its body until it is sent, and from the end of OpenAI's "
    "answer until its row is on the disk.",
    buckets=_OWN_SECONDS,
)
REQUESTS_IN_PROGRESS = _gauge("requests_in_progress", "Requests that were admitted and have not ended.")
REFUSED = _counter(
    "refusals_total",
    "Requests that the agent answered with an error of its own, by its code (docs/errors.md).",
    "reason",
)
UPSTREAM_FAILED = _counter(
    "upstream_errors_total",
    "Requests that OpenAI answered with this HTTP status, or that failed on the way with this code (docs/errors.md); "
    "200: the error is inside of the answer.",
    "status",
)

# Usage and cost.
TOKENS = _counter(
    "tokens_total",
    "Input and output tokens of answers, by the model that was asked for.",
    "model",
    "kind",
)
TOKEN_PARTS = _counter(
    "token_parts_total",
    "Parts of these tokens: cached, reasoning and so on. Some overlap.",
    "model",
    "kind",
)
COST = _counter("cost_usd_total", "Cost of requests in USD, by the model that was asked for.", "model")
UNCERTAIN_COST = _counter(
    "uncertain_cost_usd_total",
    "The most that requests may have cost beyond their cost, in USD, where that is not known.",
    "model",
)
UNKNOWN_FIELDS = _counter(
    "unknown_usage_fields_total",
    "Numbers in OpenAI's usages under a name that the agent does not know; they may be charged.",
)
UNPRICED_MODELS = _gauge(
    "unpriced_models",
    "Models without a price that clients have asked this agent for since its start; 32 at most.",
)

# The ledger.
LEDGER_WRITABLE = _gauge("ledger_writable", "1 if the outbox can be written. Without it no request is served.")
OUTBOX_ROWS = _gauge("outbox_rows", "Rows that PostgreSQL does not have yet.")
OUTBOX_BYTES = _gauge("outbox_bytes", "Size of the outbox's files, with rows that are kept after they were shipped.")
OUTBOX_OLDEST = _gauge("outbox_oldest_seconds", "Age of the oldest row that PostgreSQL does not have yet; 0: none.")
SHIPPED_ROWS = _counter("ledger_shipped_rows_total", "Rows that PostgreSQL has confirmed, of this agent.")
DEAD_LETTERS = _gauge("dead_letters", "Rows of all agents that PostgreSQL refused because of their content.")
VERIFY_OK = _gauge("verify_ok", "1 if the last `ledger verify` reported nothing.")
VERIFY_TIME = _gauge("verify_timestamp_seconds", "Unix time of the last `ledger verify`.")
RECONCILE_DIFFERENCE = _gauge(
    "reconcile_difference_usd",
    "How much more OpenAI charged than the ledger has, in USD, over the days that were compared last.",
)
RECONCILE_TIME = _gauge("reconcile_timestamp_seconds", "Unix time of the last `ledger reconcile`.")
BACKUP_TIME = _gauge("backup_timestamp_seconds", "Unix time of the last `chatgpt-agent backup`.")

# What the agent depends on.
DATABASE_UP = _gauge("database_up", "1 if PostgreSQL answered when it was last asked.")
DATABASE_READ_TIME = _gauge(
    "database_read_timestamp_seconds",
    "Unix time at which the metrics that only the database knows were read.",
)
DIRECTORY_LAG = _gauge("directory_lag_seconds", "Time since users, tokens, prices and budgets were last read.")
LOOP_LAG = _histogram(
    "event_loop_lag_seconds",
    "By how much a timer of the event loop is late, ten times a second.",
    buckets=_OWN_SECONDS,
)
ALERTS_WAITING = _gauge("budget_alerts_waiting", "Alerts of budgets that are not sent to the webhook yet.")
TOKENS_EXPIRING = _gauge("tokens_expiring", f"Tokens of users that expire within {EXPIRING_DAYS} days.")
BUILD_INFO = _gauge("build_info", "1, with the version of the program.", "version")

# In the order in which they are exposed. Those of `STORED` are read from the database in the background.
STORED = (
    DEAD_LETTERS,
    VERIFY_OK,
    VERIFY_TIME,
    RECONCILE_DIFFERENCE,
    RECONCILE_TIME,
    BACKUP_TIME,
    TOKENS_EXPIRING,
    ALERTS_WAITING,
    DATABASE_READ_TIME,
)
METRICS = (
    REQUESTS,
    REQUEST_SECONDS,
    FIRST_BYTE_SECONDS,
    OWN_SECONDS,
    REQUESTS_IN_PROGRESS,
    REFUSED,
    UPSTREAM_FAILED,
    TOKENS,
    TOKEN_PARTS,
    COST,
    UNCERTAIN_COST,
    UNKNOWN_FIELDS,
    UNPRICED_MODELS,
    LEDGER_WRITABLE,
    OUTBOX_ROWS,
    OUTBOX_BYTES,
    OUTBOX_OLDEST,
    SHIPPED_ROWS,
    DATABASE_UP,
    DIRECTORY_LAG,
    LOOP_LAG,
    BUILD_INFO,
    *STORED,
)
