"""The row of one dispatched request, and how it comes about: an intent before, an outcome after.

`intent → done | usage_unknown | upstream_error | incomplete | not_sent | unknown`; a terminal row never changes.
A row holds numbers, ids, enums and short names: no message, no secret.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import msgspec

from chatgpt_agent.core.money.exact import ZERO
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.core.usage import Answer, Usage


class State(StrEnum):
    """The state of a row: how a dispatched request ended, or what else the row is."""

    DONE = "done"  # answered, with OpenAI's own counts
    USAGE_UNKNOWN = "usage_unknown"  # answered in full, but without counts to trust
    UPSTREAM_ERROR = "upstream_error"  # OpenAI answered with an error
    INCOMPLETE = "incomplete"  # the answer broke off; tokens and cost are what was known by then
    NOT_SENT = "not_sent"  # nothing reached OpenAI
    UNKNOWN = "unknown"  # it may have reached OpenAI, and no answer was seen
    CORRECTION = "correction"  # not a request: the differences to be added to another row
    IMPORTED = "imported"  # a request of the original program, with the cost that it recorded


# The states in which an agent writes the row of a request.
TERMINAL = tuple(state for state in State if state not in (State.CORRECTION, State.IMPORTED))
# Reports count these requests as not done.
NOT_DONE = tuple(state for state in TERMINAL if state is not State.DONE)
# OpenAI may have billed such a request although its tokens are not known.
UNCERTAIN = (State.USAGE_UNKNOWN, State.INCOMPLETE, State.UNKNOWN)
# OpenAI began to answer, so it counts the request.
COUNTED_BY_OPENAI = (State.DONE, State.USAGE_UNKNOWN, State.INCOMPLETE)


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """Written before a request is sent: its user, endpoint and model, the price then in force, and the most that it can
    cost in USD, as far as that is known beforehand."""

    request_id: UUID
    user_id: int
    token_id: int
    endpoint: str
    model: str
    price_id: int
    streamed: bool
    started_at: datetime
    max_cost: Decimal = ZERO


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a dispatched request. `status` is OpenAI's HTTP status; times are in milliseconds."""

    state: State
    status: int | None = None
    answer: Answer = Answer()
    upstream_request_id: str | None = None
    client_closed: bool = False
    error: str | None = None
    duration_ms: int = 0
    first_byte_ms: int | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the ledger: an intent and its outcome. Amounts are in USD. `uncertain_cost` is the most that the request
    may have cost where its cost is not known."""

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
    uncertain_cost: Decimal = ZERO

    @property
    def budget_cost(self) -> Decimal:
        """What a budget counts for this row, in USD."""
        return self.cost + self.uncertain_cost


def settle(intent: Intent, outcome: Outcome, requested: Price, book: PriceBook) -> Row:
    """Returns the terminal row, priced with the book as it was at dispatch."""
    answer = outcome.answer
    usage = answer.usage
    uncertain = outcome.state in UNCERTAIN or (answer.failed and answer.began)
    price = book.charged(requested, answer.model, intent.started_at)
    return Row(
        intent=intent,
        state=outcome.state,
        price_id=price.id,
        cost=ZERO if usage is None else price.cost(usage, answer.service_tier),
        usage=usage,
        served_model=answer.model,
        upstream_id=answer.id,
        upstream_request_id=outcome.upstream_request_id,
        status=outcome.status,
        client_closed=outcome.client_closed,
        error=outcome.error,
        duration_ms=max(0, outcome.duration_ms),
        first_byte_ms=outcome.first_byte_ms,
        service_tier=answer.service_tier,
        uncertain_cost=intent.max_cost if usage is None and uncertain else ZERO,
    )


def orphan(intent: Intent) -> Row:
    """Returns the row of an intent whose process died: the request may have been billed, at an unknown cost."""
    return Row(
        intent=intent,
        state=State.UNKNOWN,
        price_id=intent.price_id,
        cost=ZERO,
        error="agent_died",
        uncertain_cost=intent.max_cost,
    )


def answered_state(status: int, answer: Answer) -> State:
    """Returns the state of a request whose answer arrived in full."""
    if not 200 <= status < 300 or answer.failed:
        return State.UPSTREAM_ERROR
    return State.DONE if answer.usage is not None else State.USAGE_UNKNOWN


def failed_state(*, sent: bool, answering: bool) -> State:
    """Returns the state of a request without a full answer. `sent`: OpenAI may have the request; `answering`: it had
    begun to answer."""
    if answering:
        return State.INCOMPLETE
    return State.UNKNOWN if sent else State.NOT_SENT
