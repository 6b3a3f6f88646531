"""The row of one dispatched request, and how it comes about: an intent before, an outcome after.

`intent → done | usage_unknown | upstream_error | incomplete | not_sent | unknown`; a terminal row never changes.
A row holds numbers, ids, enums and short names: no message, no secret.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import msgspec

from chatgpt_agent.core.http.endpoints import ENDPOINTS
from chatgpt_agent.core.money.bill import Bill, charge
from chatgpt_agent.core.money.exact import ZERO
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.core.money.surcharges import NO_SURCHARGES
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


_PRICE_TIERS = {endpoint.path: endpoint.price_tier for endpoint in ENDPOINTS if endpoint.price_tier}


class Intent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Written before a request is sent: its user, endpoint and model, the price then in force, and the most that it can
    cost in USD, as far as that is known beforehand. `price_id` None: the endpoint is free. `image_model`: the model
    that draws for the tool image_generation, if the request has that tool."""

    request_id: UUID
    user_id: int
    token_id: int
    endpoint: str
    model: str
    price_id: int | None
    streamed: bool
    started_at: datetime
    max_cost: Decimal = ZERO
    image_model: str | None = None
    unreported_search: bool = False  # it makes OpenAI search, which its answer does not count


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


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the ledger: an intent and its outcome. Amounts are in USD. `uncertain_cost` is the most that the request
    may have cost beyond its cost, where that is not known; `uncertain_reason` says why its cost may differ from
    OpenAI's (core/money/bill.py)."""

    intent: Intent
    state: State
    price_id: int | None
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
    uncertain_reason: str | None = None
    image_price_id: int | None = None
    surcharge_ids: tuple[int, ...] = ()

    @property
    def budget_cost(self) -> Decimal:
        """What a budget counts for this row, in USD."""
        return self.cost + self.uncertain_cost


def settle(intent: Intent, outcome: Outcome, requested: Price | None, book: PriceBook) -> Row:
    """Returns the terminal row, priced with the book as it was at dispatch. `requested`: the price of the requested
    model; None: the endpoint is free."""
    answer = outcome.answer
    usage = answer.usage
    uncertain = outcome.state in UNCERTAIN or (answer.failed and answer.began)
    price = None if requested is None else book.charged(requested, answer.model, intent.started_at)
    service_tier, image_price = answer.service_tier, None
    surcharges = NO_SURCHARGES if price is None else book.surcharges.at(price.model, intent.started_at)
    if price is None or usage is None:
        bill = Bill(
            cost=ZERO,
            surcharge_ids=surcharges.multiplier_ids,  # for a correction, which adds the usage
            uncertain_cost=intent.max_cost if usage is None and uncertain else ZERO,
        )
    else:
        service_tier = _PRICE_TIERS.get(intent.endpoint) or price.tier_name(service_tier)
        image_model = answer.image_model or intent.image_model
        if usage.image_tool is not None and image_model is not None:
            image_price = book.at(image_model, intent.started_at)
        bill = charge(
            usage,
            price,
            service_tier=service_tier,
            surcharges=surcharges,
            image_price=image_price,
            unreported_search=intent.unreported_search,
            max_cost=intent.max_cost,
        )
    return Row(
        intent=intent,
        state=outcome.state,
        price_id=None if price is None else price.id,
        cost=bill.cost,
        usage=usage,
        served_model=answer.model,
        upstream_id=answer.id,
        upstream_request_id=outcome.upstream_request_id,
        status=outcome.status,
        client_closed=outcome.client_closed,
        error=outcome.error,
        duration_ms=max(0, outcome.duration_ms),
        first_byte_ms=outcome.first_byte_ms,
        service_tier=service_tier,
        uncertain_cost=bill.uncertain_cost,
        uncertain_reason=bill.uncertain_reason,
        image_price_id=None if image_price is None else image_price.id,
        surcharge_ids=bill.surcharge_ids,
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
