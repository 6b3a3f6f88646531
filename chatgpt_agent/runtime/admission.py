"""May this request be made now, and at what price? The decision, and what an admitted request holds until it ends.

All steps run without an await between them, so that no other request can be admitted in between.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from chatgpt_agent.core.access.identity import (
    Identity,
    check_model,
    check_tools,
    image_price_for,
    price_for,
    shown_model,
)
from chatgpt_agent.core.budget.max_cost import Assumptions, Size, estimate_tokens, max_cost
from chatgpt_agent.core.errors import AgentError, ModelNotFound, Overloaded
from chatgpt_agent.core.http.request import ApiRequest
from chatgpt_agent.core.ledger import UNCERTAIN, Intent, Row
from chatgpt_agent.core.money.exact import ZERO
from chatgpt_agent.core.money.kinds import WEB_SEARCH
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.core.name_counter import NameCounter
from chatgpt_agent.runtime.budgets import Budgets, Reservation
from chatgpt_agent.runtime.directory import Directory
from chatgpt_agent.runtime.rate_limiter import RateLimiter, Slot


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Admissions:
    """Admits requests, at most `max_requests` at once, and knows how many are in progress."""

    def __init__(
        self,
        *,
        directory: Directory,
        rate_limiter: RateLimiter,
        budgets: Budgets,
        assumptions: Assumptions,
        max_requests: int,
        unpriced_models: NameCounter,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._directory = directory
        self._rate_limiter = rate_limiter
        self._budgets = budgets
        self.assumptions = assumptions
        self.max_requests = max_requests
        self._unpriced_models = unpriced_models  # that were refused, for operators
        self.now = now  # the agent's clock: a row's time, and the time at which prices and budgets are looked up
        self.running = 0  # requests that were admitted and not yet released

    @property
    def full(self) -> bool:
        """Whether no more requests are admitted until one ends."""
        return self.running >= self.max_requests

    def admit(self, identity: Identity, request: ApiRequest, *, request_id: UUID) -> "Admission":
        """The decision, in the order in which its reasons are given. Whatever is refused has taken nothing.

        Raises Overloaded, ModelNotFound (no price, or not for this token), InvalidRequest (no price for its service
        tier), RateLimited, InsufficientQuota, DirectoryStale (what was spent of a budget is not known yet).
        """
        if self.full:
            raise Overloaded
        now = self.now()
        book = self._directory.book  # pinned: whatever changes later, this request is charged by this book
        price, size = self._price(identity, request, book, now), request.size
        reserved = ZERO if price is None else self._max_cost(identity, request, size, price, book, now)
        slot: Slot | None = None
        try:
            slot = self._rate_limiter.acquire(identity, None if price is None else estimate_tokens(size))
            reservation = None if price is None else self._budgets.reserve(identity, request_id, reserved, now)
        except AgentError as error:
            subject = shown_model(request.model) if request.model else request.endpoint.name
            error.reason = f"{subject}{error.reason and f': {error.reason}'}"
            if slot is not None:
                slot.settle(0)
                slot.release()
            raise
        self.running += 1
        intent = Intent(
            request_id=request_id,
            user_id=identity.user.id,
            token_id=identity.token.id,
            endpoint=request.endpoint.name,
            model=request.model,
            price_id=None if price is None else price.id,
            streamed=request.stream,
            started_at=now,
            max_cost=reserved,
            image_model=request.image_model,
            unreported_search=request.endpoint.searches and WEB_SEARCH in request.tools,
        )
        return Admission(self, intent, price, book, slot=slot, reservation=reservation)

    def _price(self, identity: Identity, request: ApiRequest, book: PriceBook, now: datetime) -> Price | None:
        """Returns the price of a request, None if its endpoint is free. Raises ModelNotFound, InvalidRequest."""
        endpoint, model = request.endpoint, request.model
        if not endpoint.is_free:
            service_tier, price_tier = request.service_tier, endpoint.price_tier
            try:
                return price_for(identity, model, book, now, service_tier=service_tier, price_tier=price_tier)
            except ModelNotFound:
                if book.at(model, now) is None:
                    self._unpriced_models.add([model])
                raise
        if model:
            check_model(identity, model)
        return None

    def _max_cost(
        self, identity: Identity, request: ApiRequest, size: Size, price: Price, book: PriceBook, now: datetime
    ) -> Decimal:
        """Returns the most that a request can cost, in USD. Raises InvalidRequest if a tool of it has no price."""
        surcharges = book.surcharges.at(price.model, now)
        image_price = None
        if request.tools or request.image_model is not None:
            check_tools(request.tools, surcharges)
            image_price = image_price_for(identity, request.image_model, book, now)
        return max_cost(
            price,
            size,
            self.assumptions,
            standard_tier_only=identity.user.standard_tier_only,
            surcharges=surcharges,
            image_price=image_price,
            memo=book.memo,
        )


class Admission:
    """What an admitted request holds: a place, a share of its rate limits, and a reservation in its budgets.

    `settle` it once its row is written, or `cancel` it where nothing was sent; then `release` it.
    """

    __slots__ = ("_admissions", "_reservation", "_slot", "book", "intent", "price")

    def __init__(
        self,
        admissions: Admissions,
        intent: Intent,
        price: Price | None,
        book: PriceBook,
        *,
        slot: Slot,
        reservation: Reservation | None,
    ) -> None:
        self._admissions = admissions
        self._slot = slot
        self._reservation = reservation
        self.intent = intent
        self.price = price
        self.book = book

    def settle(self, row: Row | None) -> None:
        """Replaces what was reserved by what the request cost. None: its row waits for the disk, and the reservation
        stands until it is written."""
        if self._reservation is not None:
            self._reservation.settle(row)
        if row is not None and row.usage is not None:
            self._slot.settle(row.usage.input + row.usage.output)
        elif row is not None and row.state not in UNCERTAIN and not row.uncertain_cost:
            self._slot.settle(0)

    def cancel(self) -> None:
        """Gives back everything: no row was written and nothing was sent."""
        self._slot.settle(0)
        if self._reservation is not None:
            self._reservation.release()

    def release(self) -> None:
        """Gives back the place."""
        self._admissions.running -= 1
        self._slot.release()
