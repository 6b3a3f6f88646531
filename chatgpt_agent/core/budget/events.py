"""What a budget reports: a threshold that its spending has crossed, and a request that it refuses."""

from datetime import datetime
from decimal import Decimal

import msgspec

from chatgpt_agent.core.budget.budget_state import BudgetState
from chatgpt_agent.core.budget.period import Budget, Window


class BudgetEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A budget in its window, with what is in force: `amount`, and `raised_until` when that is a raised one. Amounts in
    USD."""

    budget: Budget
    window: Window
    amount: Decimal
    raised_until: datetime | None
    spent: Decimal


class Crossing(BudgetEvent, frozen=True, kw_only=True):
    """Spending has crossed a threshold in percent."""

    percent: int


class Refusal(BudgetEvent, frozen=True, kw_only=True):
    """The first request that is refused in a window. `reserved`: for requests in progress; `needed`: what the refused
    one may cost at most."""

    reserved: Decimal
    needed: Decimal


def crossing(state: BudgetState, percent: int) -> Crossing:
    """Returns the event of a crossed threshold."""
    return Crossing(
        budget=state.budget,
        window=state.window,
        amount=state.amount,
        raised_until=state.raised_until,
        spent=state.spent,
        percent=percent,
    )


def refusal(state: BudgetState, needed: Decimal) -> Refusal:
    """Returns the event of a refused request."""
    return Refusal(
        budget=state.budget,
        window=state.window,
        amount=state.amount,
        raised_until=state.raised_until,
        spent=state.spent,
        reserved=state.reserved,
        needed=needed,
    )
