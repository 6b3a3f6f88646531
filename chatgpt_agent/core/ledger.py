"""The row of one dispatched request, and how it comes about: an intent before, an outcome after.

`intent → done | usage_unknown | upstream_error | incomplete | not_sent | unknown`; a terminal row never changes.
A row holds numbers, ids, enums and short names: no message, no secret.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import msgspec

from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.core.usage import Answer, Usage


class State(StrEnum):
    """How a dispatched request ended."""

    DONE = "done"  # answered, with OpenAI's own counts
    USAGE_UNKNOWN = "usage_unknown"  # answered whole, but without counts to trust
    UPSTREAM_ERROR = "upstream_error"  # OpenAI said no
    INCOMPLETE = "incomplete"  # the answer broke off; tokens and cost are what was known by then
    NOT_SENT = "not_sent"  # nothing reached OpenAI
    UNKNOWN = "unknown"  # it may have reached OpenAI, and nobody saw an answer


# Where tokens are not known, OpenAI may have billed all the same.
UNCERTAIN = frozenset({State.USAGE_UNKNOWN, State.INCOMPLETE, State.UNKNOWN})


class Intent(msgspec.Struct, frozen=True):
    """Written before a request is sent: who asked for what, the price then in force, and the most that it can cost in
    USD as far as that can be told."""

    request_id: UUID
    user_id: int
    token_id: int
    endpoint: str
    model: str
    price_id: int
    streamed: bool
    started_at: datetime
    max_cost: Decimal = Decimal(0)


class Outcome(msgspec.Struct, frozen=True):
    """What became of a dispatched request. `status` is OpenAI's HTTP status; times in milliseconds."""

    state: State
    status: int | None = None
    answer: Answer = Answer()
    upstream_request_id: str | None = None
    client_closed: bool = False
    error: str | None = None
    duration_ms: int = 0
    first_byte_ms: int | None = None


class Row(msgspec.Struct, frozen=True):
    """One line of the ledger: an intent and its outcome. Cost in USD; `uncertain_cost`: the maximum
    that a row of unknown cost may have cost."""

    intent: Intent
    state: State
    price_id: int
    cost: Decimal
    usage: Usage | None = None
    served_model: str | None = None
    upstream_id: str | None = None
    upstream_request_id: str | None = None
    status: int | None = None
    client_closed: bool = False
    error: str | None = None
    duration_ms: int | None = None
    first_byte_ms: int | None = None
    service_tier: str | None = None
    uncertain_cost: Decimal = Decimal(0)

    @property
    def counted(self) -> Decimal:
        """What a budget counts of it, in USD."""
        return self.cost + self.uncertain_cost


def settle(intent: Intent, outcome: Outcome, asked: Price, book: PriceBook) -> Row:
    """The terminal row, priced with the book as it was at dispatch."""
    answer = outcome.answer
    price = book.charged(asked, answer.model, intent.started_at)
    return Row(
        intent,
        outcome.state,
        price.id,
        Decimal(0) if answer.usage is None else price.cost(answer.usage, answer.service_tier),
        answer.usage,
        answer.model,
        answer.id,
        outcome.upstream_request_id,
        outcome.status,
        outcome.client_closed,
        outcome.error,
        max(0, outcome.duration_ms),
        outcome.first_byte_ms,
        answer.service_tier,
        intent.max_cost if answer.usage is None and outcome.state in UNCERTAIN else Decimal(0),
    )


def orphan(intent: Intent) -> Row:
    """The row of an intent whose process died: it may have been billed, and nobody knows how much."""
    return Row(intent, State.UNKNOWN, intent.price_id, Decimal(0), error="agent_died", uncertain_cost=intent.max_cost)


def answered_state(status: int, answer: Answer) -> State:
    """The state of an answer that came whole."""
    if not 200 <= status < 300 or answer.failed:
        return State.UPSTREAM_ERROR
    return State.DONE if answer.usage is not None else State.USAGE_UNKNOWN


def failed_state(*, sent: bool, answering: bool) -> State:
    """The state without a whole answer. `sent`: OpenAI may have the request; `answering`: it had begun to answer."""
    if answering:
        return State.INCOMPLETE
    return State.UNKNOWN if sent else State.NOT_SENT
