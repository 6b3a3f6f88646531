"""What is spent of budgets, and what is set aside of them for calls under way: the sums, and the rule they obey."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from uuid import UUID

import msgspec

from chatgpt_agent.core.budget.period import MARKS, Budget, Period, Window, window

NOTHING = Decimal(0)


class Entry:
    """A call that PostgreSQL does not show yet: what is set aside for it, or, when it has ended, what it counts."""

    __slots__ = ("amount", "ended", "shipped", "shipping", "started_at", "token_id")

    def __init__(self, token_id: int, amount: Decimal, started_at: datetime, *, ended: bool = False) -> None:
        self.token_id = token_id
        self.amount = amount
        self.started_at = started_at
        self.ended = ended
        self.shipping = False  # PostgreSQL may have it by now
        self.shipped = False


class State:
    """A budget in its current window. `known`: what PostgreSQL shows; `others`: what other agents have set aside;
    `open`: what entries count beside that."""

    __slots__ = ("budget", "known", "marked", "open", "others", "spent_here", "window")

    def __init__(self, budget: Budget, window: Window) -> None:
        self.budget = budget
        self.window = window
        self.known = NOTHING
        self.others = NOTHING
        self.open = NOTHING
        self.spent_here = NOTHING  # the part of `open` that is of calls which have ended
        self.marked = 0  # the highest mark in percent that was passed in this window

    @property
    def amount(self) -> Decimal:
        """USD that may be spent."""
        assert self.budget.amount is not None
        return self.budget.amount

    @property
    def spent(self) -> Decimal:
        """USD that calls which have ended count."""
        return self.known + self.spent_here

    @property
    def left(self) -> Decimal:
        """USD that are neither spent as far as PostgreSQL shows nor set aside by others."""
        return self.amount - self.known - self.others

    def covers(self, entry: Entry) -> bool:
        """Whether an entry is of this budget and of this window."""
        begins = self.window.begins_at
        return self.budget.token_id in (None, entry.token_id) and (begins is None or entry.started_at >= begins)

    def allows(self, amount: Decimal, agents: int) -> bool:
        """Whether so much more may be set aside: within this agent's share of what is left, or as its only call."""
        share = self.left if agents == 1 else self.left / agents
        return amount == 0 or self.open + amount <= share or (self.open == 0 and amount <= self.left)

    def passed(self) -> list[int]:
        """The marks in percent that were not passed before, the lowest first."""
        found = [mark for mark in MARKS if self.spent * 100 >= self.amount * mark and self.amount > 0]
        return [mark for mark in found if self.mark(mark)]

    def mark(self, percent: int) -> bool:
        """Whether this mark is passed for the first time in this window."""
        first, self.marked = self.marked < percent, max(self.marked, percent)
        return first


class Account:
    """The budgets of a user and of the user's tokens, and their entries."""

    __slots__ = ("entries", "states", "user")

    def __init__(self, user: int, entries: dict[UUID, Entry]) -> None:
        self.user = user
        self.states: list[State] = []
        self.entries = entries

    def covering(self, entry: Entry) -> list[State]:
        """The budgets that an entry counts in."""
        return [state for state in self.states if state.covers(entry)]

    def add(self, id: UUID, entry: Entry) -> None:
        """Sets an amount aside."""
        for state in self.covering(entry):
            state.open += entry.amount
        self.entries[id] = entry

    def settle(self, id: UUID, counted: Decimal | None) -> list[State]:
        """Puts what a call counts (None: all that was set aside) in the place of what was set aside; the budgets that
        this changes."""
        entry = self.entries.get(id)
        if entry is None:
            return []
        entry.ended = True
        before, entry.amount = entry.amount, entry.amount if counted is None else counted
        changed = self.covering(entry)
        for state in changed:
            state.open += entry.amount - before
            state.spent_here += entry.amount
        return changed

    def drop(self, ids: Iterable[UUID]) -> bool:
        """Forgets entries, which PostgreSQL shows or which come to nothing; whether there were any."""
        dropped = [entry for id_ in ids if (entry := self.entries.pop(id_, None)) is not None]
        for entry in dropped:
            for state in self.covering(entry):
                state.open -= entry.amount
                if entry.ended:
                    state.spent_here -= entry.amount
        return bool(dropped)

    def turn(self, now: datetime, zone: tzinfo) -> bool:
        """Begins new windows where old ones have ended; only entries are known of them then. Whether there were any."""
        turned = False
        for state in self.states:
            begins, ends = state.window.begins_at, state.window.ends_at
            # The clock on the wall may have been ahead, and go back: no call would be of tomorrow's window.
            if begins is not None and ends is not None and not begins <= now < ends:
                state.window = window(state.budget.period, now, zone)
                state.known, state.marked = NOTHING, 0
                self._add_up(state)
                turned = True
        return turned

    def take(self, budgets: Iterable[Budget], windows: Mapping[Period, Window]) -> bool:
        """Takes over the budgets that there are now; whether there is one of which it is not known what was spent."""
        before = {state.budget.id: state for state in self.states}
        self.states, unknown = [], False
        for budget in budgets:
            state = State(budget, windows[budget.period])
            old = before.get(budget.id)
            if old is not None and old.window == state.window:
                state.known, state.others = old.known, old.others
                state.marked = old.marked if old.budget.amount == budget.amount else 0
            else:
                unknown = True
            self._add_up(state)
            self.states.append(state)
        return unknown

    def _add_up(self, state: State) -> None:
        covered = [entry for entry in self.entries.values() if state.covers(entry)]
        state.open = sum((entry.amount for entry in covered), NOTHING)
        state.spent_here = sum((entry.amount for entry in covered if entry.ended), NOTHING)


class Status(msgspec.Struct, frozen=True):
    """A budget as its holder sees it: `owner` is `user` or `token`, amounts in USD. `reserved`: what is set
    aside for calls under way; `resets_at` None: never."""

    owner: str
    period: Period
    amount: Decimal
    spent: Decimal
    reserved: Decimal
    left: Decimal
    resets_at: datetime | None


def status_of(states: Sequence[State]) -> list[Status]:
    """Budgets as their holder sees them."""
    return [
        Status(
            "user" if state.budget.token_id is None else "token",
            state.budget.period,
            state.amount,
            state.spent,
            state.open - state.spent_here + state.others,
            max(NOTHING, state.left - state.open),
            state.window.ends_at,
        )
        for state in states
    ]
