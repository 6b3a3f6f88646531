"""What is spent and reserved of budgets, and the rule that decides whether another request fits."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from uuid import UUID

import msgspec

from chatgpt_agent.core.budget.period import THRESHOLDS, Budget, Period, Window, window
from chatgpt_agent.core.money.exact import ZERO


class PendingCost:
    """A request whose row PostgreSQL does not show yet. `amount` is its reservation; once it has `ended`, its cost."""

    __slots__ = ("amount", "ended", "shipped", "shipping", "started_at", "token_id")

    def __init__(self, token_id: int, amount: Decimal, started_at: datetime, *, ended: bool = False) -> None:
        self.token_id = token_id
        self.amount = amount
        self.started_at = started_at
        self.ended = ended
        self.shipping = False  # PostgreSQL may have its row already
        self.shipped = False


class BudgetState:
    """A budget in its current window. Amounts in USD."""

    __slots__ = (
        "amount", "budget", "last_threshold", "pending", "pending_ended", "raised_until", "refused",
        "reserved_elsewhere", "shipped", "window",
    )  # fmt: skip

    def __init__(self, budget: Budget, window: Window, now: datetime) -> None:
        self.budget = budget
        self.window = window
        self.amount = budget.amount_at(now)  # what may be spent, raised or not
        self.raised_until = budget.raise_at(now)  # when the raise ends; None: no raise is in force
        self.shipped = ZERO  # the cost of rows in PostgreSQL
        self.reserved_elsewhere = ZERO  # by other agents
        self.pending = ZERO  # of this agent's requests without a row in PostgreSQL
        self.pending_ended = ZERO  # the part of `pending` that belongs to requests which have ended
        self.last_threshold = 0  # the highest one in percent that was crossed in this window
        self.refused = False  # whether it has refused a request in this window

    @property
    def spent(self) -> Decimal:
        """The cost of requests that have ended."""
        return self.shipped + self.pending_ended

    @property
    def left(self) -> Decimal:
        """What is neither spent according to PostgreSQL nor reserved by other agents."""
        return self.amount - self.shipped - self.reserved_elsewhere

    @property
    def reserved(self) -> Decimal:
        """What is set aside for requests in progress, at all agents."""
        return self.pending - self.pending_ended + self.reserved_elsewhere

    def covers(self, cost: PendingCost) -> bool:
        """Whether a request counts in this budget and window."""
        begins = self.window.begins_at
        return self.budget.token_id in (None, cost.token_id) and (begins is None or cost.started_at >= begins)

    def allows(self, amount: Decimal, agents: int) -> bool:
        """Whether an amount may be reserved: within this agent's share of what is left, or as its only request."""
        share = self.left if agents == 1 else self.left / agents
        return amount == 0 or self.pending + amount <= share or (self.pending == 0 and amount <= self.left)

    def update_amount(self, now: datetime) -> None:
        """Puts the amount of a moment in force: a raise ends. Thresholds of another amount can be crossed again."""
        if self.budget.raised_until is None:  # as of nearly every budget: then its amount never changes
            return
        self.raised_until = self.budget.raise_at(now)
        amount = self.budget.amount_at(now)
        if amount != self.amount:
            self.amount, self.last_threshold, self.refused = amount, 0, False

    def newly_crossed(self) -> list[int]:
        """Returns the thresholds in percent that spending has crossed since the last call, the lowest first."""
        spent, amount = self.spent * 100, self.amount
        if spent < amount * THRESHOLDS[0]:  # as after nearly every request
            return []
        reached = [percent for percent in THRESHOLDS if spent >= amount * percent and amount > 0]
        crossed = [percent for percent in reached if percent > self.last_threshold]
        self.last_threshold = max([self.last_threshold, *crossed])
        return crossed

    def refuse(self) -> bool:
        """Records that a request is refused. Returns whether it is the first one in this window."""
        first, self.refused = not self.refused, True
        return first


class UserBudgets:
    """The budgets of a user and of the user's tokens, with their pending costs by request id."""

    __slots__ = ("pending", "states", "user")

    def __init__(self, user: int, pending: dict[UUID, PendingCost]) -> None:
        self.user = user
        self.states: list[BudgetState] = []
        self.pending = pending

    def covering(self, cost: PendingCost) -> list[BudgetState]:
        """The budgets in which a request counts."""
        return [state for state in self.states if state.covers(cost)]

    def reserve(self, id: UUID, cost: PendingCost, states: Iterable[BudgetState]) -> None:
        """Adds a reservation to the budgets that it counts in, those `covering` it."""
        for state in states:
            state.pending += cost.amount
        self.pending[id] = cost

    def charge(self, id: UUID, amount: Decimal | None) -> list[BudgetState]:
        """Replaces the reservation of a request that has ended by its cost (None: by all that was reserved). Returns
        the budgets that this changes."""
        cost = self.pending.get(id)
        if cost is None:
            return []
        cost.ended = True
        reserved, cost.amount = cost.amount, cost.amount if amount is None else amount
        changed = self.covering(cost)
        for state in changed:
            state.pending += cost.amount - reserved
            state.pending_ended += cost.amount
        return changed

    def remove(self, ids: Iterable[UUID]) -> bool:
        """Removes pending costs: PostgreSQL shows them, or nothing was sent. Returns whether there were any."""
        removed = [cost for id_ in ids if (cost := self.pending.pop(id_, None)) is not None]
        for cost in removed:
            for state in self.covering(cost):
                state.pending -= cost.amount
                if cost.ended:
                    state.pending_ended -= cost.amount
        return bool(removed)

    def roll_windows(self, now: datetime, zone: tzinfo) -> bool:
        """Rolls expired windows over; spending then restarts from the pending costs. Ends raises. Returns whether any
        window rolled."""
        rolled = False
        for state in self.states:
            state.update_amount(now)
            begins, ends = state.window.begins_at, state.window.ends_at
            # The wall clock may have been ahead and go back: then no request may count in tomorrow's window.
            if begins is not None and ends is not None and not begins <= now < ends:
                state.window = window(state.budget.period, now, zone)
                state.shipped, state.last_threshold, state.refused = ZERO, 0, False
                self._recount(state)
                rolled = True
        return rolled

    def set_budgets(self, budgets: Iterable[Budget], windows: Mapping[Period, Window], now: datetime) -> bool:
        """Replaces the budgets. Returns whether there is one whose spending is not known yet."""
        before = {state.budget.id: state for state in self.states}
        self.states, unknown = [], False
        for budget in budgets:
            state = BudgetState(budget, windows[budget.period], now)
            old = before.get(budget.id)
            if old is not None and old.window == state.window:
                state.shipped, state.reserved_elsewhere = old.shipped, old.reserved_elsewhere
                if old.amount == state.amount:
                    state.last_threshold, state.refused = old.last_threshold, old.refused
            else:
                unknown = True
            self._recount(state)
            self.states.append(state)
        return unknown

    def _recount(self, state: BudgetState) -> None:
        covered = [cost for cost in self.pending.values() if state.covers(cost)]
        state.pending = sum((cost.amount for cost in covered), ZERO)
        state.pending_ended = sum((cost.amount for cost in covered if cost.ended), ZERO)


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A budget as the user of a token sees it. `owner` is `user` or `token`; amounts in USD. `amount`: what is in
    force, and `raised_until` when that is a raised one, else None. `reserved`: for requests in progress; `resets_at`
    None: never."""

    owner: str
    period: Period
    amount: Decimal
    spent: Decimal
    reserved: Decimal
    left: Decimal
    resets_at: datetime | None
    raised_until: datetime | None


def statuses(states: Sequence[BudgetState]) -> list[Status]:
    """Returns budgets as the user of a token sees them."""
    return [
        Status(
            owner="user" if state.budget.token_id is None else "token",
            period=state.budget.period,
            amount=state.amount,
            spent=state.spent,
            reserved=state.reserved,
            left=max(ZERO, state.left - state.pending),
            resets_at=state.window.ends_at,
            raised_until=state.raised_until,
        )
        for state in states
    ]
