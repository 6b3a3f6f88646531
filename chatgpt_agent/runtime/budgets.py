"""Budgets in memory: what may still be spent, what requests in progress have reserved, and what they cost in the end.

A check and its reservation are one synchronous step. A row counts from memory until it is seen in PostgreSQL, which
`budget_sync` reads. Each of several agents reserves no more than its share of what is left, or for one request, and
publishes its reservations a fifth of a second later at most. So together they exceed a budget by no more than what the
others reserved in that time, which is less than what was left, and by one request each.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from chatgpt_agent.adapters.postgres.spending import ReservedAmount, Spending
from chatgpt_agent.core.access.identity import Identity
from chatgpt_agent.core.budget.budget_state import BudgetState, PendingCost, Status, UserBudgets, statuses
from chatgpt_agent.core.budget.events import Crossing, Refusal, crossing, refusal
from chatgpt_agent.core.budget.period import Budget, Period, Window, denial_message, denial_reason, window
from chatgpt_agent.core.errors import DirectoryStale, InsufficientQuota
from chatgpt_agent.core.ledger import Row
from chatgpt_agent.core.money.exact import ZERO

OnThreshold = Callable[[Crossing], None]
OnRefusal = Callable[[Refusal], None]


def _ignore(_: Refusal) -> None:
    pass


class Refresh(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be read from PostgreSQL for some users."""

    users: list[int]
    windows: dict[Period, Window]
    total: bool  # whether one of the budgets has no window
    shipped: set[UUID]  # rows that PostgreSQL confirmed before: the result contains them
    uncertain: list[tuple[UUID, datetime]]  # rows that are being shipped, with their start: it may contain them


class Reservation:
    """What is reserved for one request, until it is settled or released."""

    __slots__ = ("_budgets", "_id", "_user_budgets")

    def __init__(self, budgets: "Budgets", user_budgets: UserBudgets, id: UUID) -> None:
        self._budgets = budgets
        self._user_budgets = user_budgets
        self._id = id

    def settle(self, row: Row | None) -> None:
        """Replaces the reservation by what the request cost. `row` None: the row waits for the disk, and the
        reservation stands until it is shipped."""
        self._budgets.charge(self._user_budgets, self._id, None if row is None else row.budget_cost)

    def release(self) -> None:
        """Ends the reservation of a request that was not sent and has no row."""
        self._budgets.remove(self._user_budgets, [self._id])


class Budgets:
    """All budgets. `now` is the time of day in UTC."""

    def __init__(
        self,
        *,
        on_threshold: OnThreshold,
        on_refusal: OnRefusal = _ignore,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._on_threshold = on_threshold
        self._on_refusal = on_refusal
        self._now = now
        self._zone = ZoneInfo("UTC")
        self.by_user: dict[int, UserBudgets] = {}  # by user
        self._unshipped: dict[int, dict[UUID, PendingCost]] = {}  # of the last run, by user, for users without budgets
        # What is to be read from PostgreSQL.
        self.loaded = False  # whether what was spent was ever read
        self.stale: set[int] = set()  # users whose spending is to be read
        self.reload_all = False
        self.read_due = asyncio.Event()
        # What other agents, and admins, are to learn.
        self.agents = 1  # that are alive, this one included
        self.unpublished: set[int] = set()  # users whose reservations are not as PostgreSQL has them
        self.publish_due = asyncio.Event()

    # On the request path: none of these awaits.

    def reserve(
        self, identity: Identity, request_id: UUID, amount: Decimal, started_at: datetime
    ) -> Reservation | None:
        """Reserves an amount in each budget that applies to a request; None: no budget applies. Raises
        InsufficientQuota, and then nothing is reserved, or DirectoryStale: what was spent was never read yet."""
        user_budgets = self.by_user.get(identity.user.id)
        if user_budgets is None:
            return None
        if not self.loaded:
            raise DirectoryStale
        cost = PendingCost(identity.token.id, amount, started_at)
        self._roll_windows(user_budgets, started_at)
        states = user_budgets.covering(cost)
        for state in states:
            if not state.allows(amount, self.agents):
                raise self._refusal(state, amount)
        user_budgets.reserve(request_id, cost, states)
        self.schedule_publish(user_budgets.user)
        return Reservation(self, user_budgets, request_id)

    def status(self, identity: Identity) -> list[Status]:
        """The budgets that apply to a token, as they are now."""
        user_budgets = self.by_user.get(identity.user.id)
        if user_budgets is None:
            return []
        self._roll_windows(user_budgets, self._now())
        return statuses([state for state in user_budgets.states if state.budget.token_id in (None, identity.token.id)])

    def nearly_spent(self, percent: int) -> list[tuple[int, Status]]:
        """Returns the budgets of which at least so many percent are spent, each with its user's id."""
        now = self._now()
        nearly = []
        for user_budgets in self.by_user.values():
            self._roll_windows(user_budgets, now)
            states = [state for state in user_budgets.states if state.spent * 100 >= state.amount * percent]
            nearly += [(user_budgets.user, status) for status in statuses(states)]
        return nearly

    def _refusal(self, state: BudgetState, amount: Decimal) -> InsufficientQuota:
        if state.refuse():
            self._on_refusal(refusal(state, amount))
        left = state.left - state.pending
        message = denial_message(
            state.budget,
            amount=state.amount,
            owner="user account" if state.budget.token_id is None else "token",
            left=left,
            needed=amount,
            ends_at=state.window.ends_at,
            raised_until=state.raised_until,
        )
        reason = denial_reason(state.budget, amount=state.amount, left=left, needed=amount)
        return InsufficientQuota(message, reason=reason)

    def charge(self, user_budgets: UserBudgets, id: UUID, cost: Decimal | None) -> None:
        """Replaces a reservation by what the request cost (None: by all that was reserved)."""
        for state in user_budgets.charge(id, cost):
            self._check_thresholds(state)
        self.schedule_publish(user_budgets.user)

    def remove(self, user_budgets: UserBudgets, ids: Iterable[UUID]) -> None:
        """Removes reservations and costs: PostgreSQL shows them, or nothing was sent."""
        if user_budgets.remove(ids):
            self.schedule_publish(user_budgets.user)

    def _roll_windows(self, user_budgets: UserBudgets, now: datetime) -> None:
        """Starts new windows. Their spending is read soon; until then only what this agent has seen counts."""
        if user_budgets.roll_windows(now, self._zone):
            self.reload_all = True
            self.read_due.set()

    def _check_thresholds(self, state: BudgetState) -> None:
        state.update_amount(self._now())
        for percent in state.newly_crossed():
            self._on_threshold(crossing(state, percent))

    def schedule_publish(self, user: int) -> None:
        """Notes that other agents, and admins, are to learn what is reserved for a user."""
        self.unpublished.add(user)
        self.publish_due.set()

    # Events of the directory and the ledger.

    def set_budgets(self, budgets: Iterable[Budget], owner_of: Callable[[int], int | None], zone: str) -> None:
        """Replaces the list of budgets. `owner_of`: the user of a token, by the token's id."""
        now = self._now()
        self._zone = ZoneInfo(zone)
        by_user: dict[int, list[Budget]] = {}
        for budget in budgets:
            user = budget.user_id if budget.token_id is None else owner_of(budget.token_id)
            if budget.amount is not None and user is not None:
                by_user.setdefault(user, []).append(budget)
        windows = self._windows(now)
        for user in self.by_user.keys() | by_user.keys():
            user_budgets = self.by_user.get(user)
            if user_budgets is None:
                user_budgets = self.by_user[user] = UserBudgets(user, self._unshipped.pop(user, {}))
            elif user not in by_user and not user_budgets.pending:
                del self.by_user[user]
                continue
            # Without budgets it stays while costs are pending: a budget may be added before their rows are shipped.
            if user_budgets.set_budgets(by_user.get(user, ()), windows, now):
                self.stale.add(user)
        self.read_due.set()

    def add_unshipped(self, rows: Iterable[Row]) -> None:
        """Counts rows of the last run that are still in the outbox."""
        for row in rows:
            cost = PendingCost(row.intent.token_id, row.budget_cost, row.intent.started_at, ended=True)
            self._unshipped.setdefault(row.intent.user_id, {})[row.intent.request_id] = cost

    def shipping(self, rows: Sequence[Row]) -> None:
        """Notes that rows are being shipped: what is read from now on may contain them."""
        for row in rows:
            user_budgets = self.by_user.get(row.intent.user_id)
            cost = None if user_budgets is None else user_budgets.pending.get(row.intent.request_id)
            if cost is not None:
                cost.shipping = True

    def shipped(self, rows: Sequence[Row]) -> None:
        """Notes that PostgreSQL has rows: what is read from now on contains them."""
        for row in rows:
            user, id_ = row.intent.user_id, row.intent.request_id
            user_budgets = self.by_user.get(user)
            if user_budgets is None:
                self._unshipped.get(user, {}).pop(id_, None)
            elif (cost := user_budgets.pending.get(id_)) is not None:
                cost.shipped = True
                self.stale.add(user)
        if self.stale:
            self.read_due.set()

    def reconnected(self) -> None:
        """Reads everything again after PostgreSQL was away. Alerts are stored once more: another server may answer that
        has lost them."""
        for user_budgets in self.by_user.values():
            for state in user_budgets.states:
                state.last_threshold, state.refused = 0, False
        self.note_changes(None)

    # What PostgreSQL knows.

    def note_changes(self, users: set[int] | None) -> None:
        """Schedules a reading for users whose spending or reservations have changed; None: for all."""
        if users is None:
            self.reload_all = True
        else:
            self.stale |= users & self.by_user.keys()
        if self.reload_all or self.stale:
            self.read_due.set()

    def begin_refresh(self, users: Iterable[int]) -> Refresh | None:
        """What is to be read for these users; None: nothing."""
        affected = [self.by_user[user] for user in users if user in self.by_user]
        if not affected:
            return None
        pending = {id_: cost for each in affected for id_, cost in each.pending.items()}
        now = self._now()
        for user_budgets in affected:
            self._roll_windows(user_budgets, now)
        return Refresh(
            users=[each.user for each in affected],
            windows=self._windows(now),
            total=any(state.budget.period is Period.TOTAL for each in affected for state in each.states),
            shipped={id_ for id_, cost in pending.items() if cost.shipped},
            uncertain=[(id_, c.started_at) for id_, c in pending.items() if c.shipping and not c.shipped],
        )

    def finish_refresh(
        self,
        refresh: Refresh,
        spending: Iterable[Spending],
        contained: set[UUID],
        reservations: Iterable[ReservedAmount],
    ) -> None:
        """Takes over what was read. `contained`: the uncertain rows that are in `spending`; if the answer to the
        shipper is late or lost, they would count twice."""
        spending_of, reservations_of = _by_user(spending), _by_user(reservations)
        in_postgres = refresh.shipped | contained
        for user in refresh.users:
            user_budgets = self.by_user.get(user)
            if user_budgets is None:
                continue
            self.remove(user_budgets, in_postgres & user_budgets.pending.keys())
            for state in user_budgets.states:
                if state.window == refresh.windows[state.budget.period]:
                    state.shipped = _spent(state.budget, spending_of.get(user, ()))
                    self._check_thresholds(state)
                state.reserved_elsewhere = _reserved(state.budget, reservations_of.get(user, ()))

    def reserved_amounts(self, users: Iterable[int]) -> list[ReservedAmount]:
        """What this agent has reserved for these users, by token; of ended requests, what they cost."""
        sums: dict[tuple[int, int], Decimal] = {}
        for user in self.by_user.keys() & users:
            for cost in self.by_user[user].pending.values():
                sums[user, cost.token_id] = sums.get((user, cost.token_id), ZERO) + cost.amount
        return [ReservedAmount(user, token, amount) for (user, token), amount in sums.items()]

    def _windows(self, now: datetime) -> dict[Period, Window]:
        return {period: window(period, now, self._zone) for period in Period}


class _OfUser(Protocol):
    @property
    def user_id(self) -> int: ...


R = TypeVar("R", bound=_OfUser)


def _by_user(rows: Iterable[R]) -> Mapping[int, list[R]]:
    users: dict[int, list[R]] = {}
    for row in rows:
        users.setdefault(row.user_id, []).append(row)
    return users


def _spent(budget: Budget, rows: Iterable[Spending]) -> Decimal:
    own = (row for row in rows if budget.token_id in (None, row.token_id))
    return sum((getattr(row, budget.period.value) for row in own), ZERO)


def _reserved(budget: Budget, rows: Iterable[ReservedAmount]) -> Decimal:
    own = (row for row in rows if budget.token_id in (None, row.token_id))
    return sum((row.amount for row in own), ZERO)
