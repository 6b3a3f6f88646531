"""Who may still spend: each budget's sum, what is set aside for calls under way, and what they cost in the end.

Check and reservation are one synchronous step in memory. What PostgreSQL knows of a budget is read when the ledger says
that rows of its user have come, whichever agent shipped them; until a row is seen there it counts from memory. Of
several agents each tells the others what it has set aside, a fifth of a second later at most, and sets aside no more
than its share of what is left, or one call. So together they overshoot a budget by no more than what the others set
aside in that time, which is less than all that was left, and one call each.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

from chatgpt_agent.adapters.postgres.agents import count_agents
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.spending import (
    ALL_USERS,
    SPENT_CHANNEL,
    ReservedAmount,
    Spending,
    clear_reservations,
    publish_reservations,
    read_reservations,
    read_spending,
)
from chatgpt_agent.core.access.admission import Identity
from chatgpt_agent.core.budget.budget_state import BudgetState, PendingCost, Status, UserBudgets, statuses
from chatgpt_agent.core.budget.period import Budget, Period, Window, denial_message, window
from chatgpt_agent.core.errors import DirectoryStale, InsufficientQuota, StoreError
from chatgpt_agent.core.ledger import Row
from chatgpt_agent.core.money.exact import ZERO
from chatgpt_agent.runtime.background import Background, OnDeath, report_to_loop

log = logging.getLogger(__name__)

WHOLE_SECONDS = 60.0  # between two looks at everything, for a notice that was lost
EARS_SECONDS = 5.0  # without a notice, until the server is asked whether it is still there
RETRY_SECONDS = 1.0
TELL_SECONDS = 0.2  # until other agents are told what is set aside
ALIVE = timedelta(seconds=150)  # an agent that was not seen for longer is not there


class Reservation:
    """What is set aside for one call, until it is settled or released."""

    __slots__ = ("_account", "_budgets", "_id")

    def __init__(self, budgets: "Budgets", account: UserBudgets, id: UUID) -> None:
        self._budgets = budgets
        self._account = account
        self._id = id

    def settle(self, row: Row | None) -> None:
        """Says what the call cost. `row` None: it has one that waits for the disk; what is set aside stands until it
        is shipped."""
        self._budgets._settle(self._account, self._id, None if row is None else row.budget_cost)

    def release(self) -> None:
        """Says that nothing was sent, and that there is no row."""
        self._budgets._drop(self._account, [self._id])


# Called when a budget has crossed a threshold: the budget, its current window, the threshold in percent, USD spent.
OnThreshold = Callable[[Budget, Window, int, Decimal], None]


class Budgets:
    """All budgets. `store` reads, `ears` is a connection of its own that listens; `now` is the time of day in UTC."""

    def __init__(
        self,
        store: Store,
        ears: Store,
        *,
        on_threshold: OnThreshold,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_death: OnDeath = report_to_loop,
    ) -> None:
        self._store = store
        self._ears = ears
        self._on_threshold = on_threshold
        self._now = now
        self._zone = ZoneInfo("UTC")
        self._agents = 1
        self._accounts: dict[int, UserBudgets] = {}  # by user
        self._orphans: dict[int, dict[UUID, PendingCost]] = {}  # entries of the last run, by user
        # Reading along.
        self.loaded = False  # whether what was spent has ever been read
        self._stale: set[int] = set()  # users to be read
        self._begin_anew = False  # all are to be read
        self._whole_at = -WHOLE_SECONDS  # when that was done last, in monotonic seconds
        self._look_again = asyncio.Event()
        # Telling others.
        self._id: UUID | None = None
        self._entered = False  # what it had set aside in its last run is forgotten
        self._untold: set[int] = set()  # users of whom other agents do not know the latest
        self._something_untold = asyncio.Event()
        self.background = Background(on_death)

    # On the request path: no await in any of these.

    def reserve(
        self, identity: Identity, request_id: UUID, amount: Decimal, started_at: datetime
    ) -> Reservation | None:
        """Sets an amount aside in every budget that a call is under; None: there is no budget. Raises
        InsufficientQuota, and then nothing is set aside, or DirectoryStale: what was spent was never read yet."""
        account = self._accounts.get(identity.user.id)
        if account is None:
            return None
        if not self.loaded:
            raise DirectoryStale
        entry = PendingCost(identity.token.id, amount, started_at)
        self._turn(account, started_at)
        for state in account.covering(entry):
            if not state.allows(amount, self._agents):
                raise self._refusal(state, amount)
        account.reserve(request_id, entry)
        self._tell(account.user)
        return Reservation(self, account, request_id)

    def status(self, identity: Identity) -> list[Status]:
        """The budgets that this token is under, as they are now."""
        account = self._accounts.get(identity.user.id)
        if account is None:
            return []
        self._turn(account, self._now())
        return statuses([state for state in account.states if state.budget.token_id in (None, identity.token.id)])

    def _refusal(self, state: BudgetState, amount: Decimal) -> InsufficientQuota:
        if state.spent + amount > state.amount and state.cross(100):  # not for want of what is set aside for now
            self._on_threshold(state.budget, state.window, 100, state.spent)
        of = "user account" if state.budget.token_id is None else "token"
        left, ends_at = state.left - state.pending, state.window.ends_at
        message = denial_message(state.budget, owner=of, left=left, needed=amount, ends_at=ends_at)
        return InsufficientQuota(message)

    def _settle(self, account: UserBudgets, id: UUID, counted: Decimal | None) -> None:
        for state in account.charge(id, counted):
            self._look(state)
        self._tell(account.user)

    def _drop(self, account: UserBudgets, ids: Iterable[UUID]) -> None:
        if account.remove(ids):
            self._tell(account.user)

    def _turn(self, account: UserBudgets, now: datetime) -> None:
        """Begins new windows. What is known of them is read soon; until then only what this agent has seen counts."""
        if account.roll_windows(now, self._zone):
            self._begin_anew = True
            self._look_again.set()

    def _look(self, state: BudgetState) -> None:
        for percent in state.newly_crossed():
            self._on_threshold(state.budget, state.window, percent, state.spent)

    def _tell(self, user: int) -> None:
        """Lets other agents know, soon, what is set aside for a user now."""
        if self._agents > 1:
            self._untold.add(user)
            self._something_untold.set()

    # What the directory and the ledger tell.

    def set_budgets(self, found: Iterable[Budget], owners: Callable[[int], int | None], zone: str) -> None:
        """Takes over the budgets that there are. `owners`: the user of a token."""
        now = self._now()
        self._zone = ZoneInfo(zone)
        wanted: dict[int, list[Budget]] = {}
        for budget in found:
            user = budget.user_id if budget.token_id is None else owners(budget.token_id)
            if budget.amount is not None and user is not None:
                wanted.setdefault(user, []).append(budget)
        windows = {period: window(period, now, self._zone) for period in Period}
        for user in self._accounts.keys() | wanted.keys():
            account = self._accounts.get(user)
            if account is None:
                account = self._accounts[user] = UserBudgets(user, self._orphans.pop(user, {}))
            elif user not in wanted and not account.pending:
                del self._accounts[user]
                continue
            # One whose budgets are gone goes on with its entries: there may be budgets again before these have ended.
            if account.set_budgets(wanted.get(user, ()), windows):
                self._stale.add(user)
        self._look_again.set()

    def add_unshipped(self, rows: Iterable[Row]) -> None:
        """Counts rows that wait in the outbox since before the start."""
        for row in rows:
            entry = PendingCost(row.intent.token_id, row.budget_cost, row.intent.started_at, ended=True)
            self._orphans.setdefault(row.intent.user_id, {})[row.intent.request_id] = entry

    def shipping(self, rows: Sequence[Row]) -> None:
        """Says that these rows are about to be shipped: what is read from now on may show them."""
        for row in rows:
            account = self._accounts.get(row.intent.user_id)
            entry = None if account is None else account.pending.get(row.intent.request_id)
            if entry is not None:
                entry.shipping = True

    def shipped(self, rows: Sequence[Row]) -> None:
        """Says that PostgreSQL has these rows: what is read from now on shows them."""
        for row in rows:
            user, id_ = row.intent.user_id, row.intent.request_id
            account = self._accounts.get(user)
            if account is None:
                self._orphans.get(user, {}).pop(id_, None)
            elif (entry := account.pending.get(id_)) is not None:
                entry.shipped = True
                self._stale.add(user)
        if self._stale:
            self._look_again.set()

    # Reading along.

    async def start(self, agent: UUID) -> None:
        """Reads what was spent, and follows from then on. `agent`: its own id, under which it is known already."""
        self._id = agent
        try:
            await self._read_all()
        except StoreError as error:
            log.warning("cannot read budget spending: %s", error)
            self._look_again.set()
        self.background.start("budget notices", self._listen())
        self.background.start("budgets", self._follow())
        self.background.start("reservations", self._publish_forever())

    async def close(self) -> None:
        """Stops following."""
        await self.background.close()
        if self._id is not None and self._agents > 1:
            with contextlib.suppress(StoreError, TimeoutError):
                async with asyncio.timeout(1):
                    await clear_reservations(self._store, self._id)
        await self._store.close()
        await self._ears.close()

    async def _listen(self) -> None:
        """Notes whose rows have come. What goes wrong here the directory, which listens to the same server, says."""
        while True:
            try:
                heard = await self._ears.wait_for_notice(EARS_SECONDS, SPENT_CHANNEL)
                if not heard and heard is not None:
                    await self._ears.ping()
            except StoreError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if heard is None or ALL_USERS in heard:
                self._begin_anew = True
            else:
                named = {int(name) for names in heard for name in names.split(",") if name.isdecimal()}
                self._stale |= named & self._accounts.keys()
            if self._begin_anew or self._stale:
                self._look_again.set()

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WHOLE_SECONDS):
                    await self._look_again.wait()
            self._look_again.clear()
            try:
                # Also where there is always something to look at.
                if self._begin_anew or time.monotonic() - self._whole_at >= WHOLE_SECONDS:
                    await self._read_all()
                else:
                    await self._read(set(self._stale))
            except StoreError:
                await asyncio.sleep(RETRY_SECONDS)
                self._look_again.set()

    async def _publish_forever(self) -> None:
        while True:
            await self._something_untold.wait()
            await asyncio.sleep(TELL_SECONDS)
            self._something_untold.clear()
            users, self._untold = self._untold, set()
            try:
                await self._publish(users)
            except StoreError:
                self._untold |= users
                await asyncio.sleep(RETRY_SECONDS)
                self._something_untold.set()

    async def _publish(self, users: set[int]) -> None:
        assert self._id is not None
        found: dict[tuple[int, int], Decimal] = {}
        for user in users & self._accounts.keys():
            for entry in self._accounts[user].pending.values():
                found[user, entry.token_id] = found.get((user, entry.token_id), ZERO) + entry.amount
        lines = [ReservedAmount(user, token, amount) for (user, token), amount in found.items()]
        await publish_reservations(self._store, self._id, sorted(users), lines)

    async def _read_all(self) -> None:
        self._begin_anew = False
        try:
            if self._id is not None and not self._entered:
                await clear_reservations(self._store, self._id)
                self._entered = True
            agents, self._agents = self._agents, max(1, await count_agents(self._store, self._now() - ALIVE))
            if agents == 1:
                for user in self._accounts:
                    self._tell(user)
            await self._read(set(self._accounts))
            self.loaded = True
            self._whole_at = time.monotonic()
        except StoreError:
            self._begin_anew = True
            raise

    async def _read(self, users: set[int]) -> None:
        """Reads what these users have spent. What was shipped before the question is in the answer."""
        self._stale -= users
        accounts = {user: self._accounts[user] for user in users if user in self._accounts}
        if not accounts:
            return
        shown = {
            user: [id_ for id_, entry in account.pending.items() if entry.shipped] for user, account in accounts.items()
        }
        # Where the answer to shipping them is late or lost, they would count twice.
        asked = [
            (id_, entry.started_at)
            for account in accounts.values()
            for id_, entry in account.pending.items()
            if entry.shipping and not entry.shipped
        ]
        now = self._now()
        for account in accounts.values():
            self._turn(account, now)
        windows = {period: window(period, now, self._zone) for period in Period}
        total = any(state.budget.period is Period.TOTAL for account in accounts.values() for state in account.states)
        try:
            spent, there = await read_spending(
                self._store, list(accounts), _first_days(windows), total=total, rows=asked
            )
            others = await self._read_others(list(accounts))
        except StoreError:
            self._stale |= users
            raise
        by_user: dict[int, list[Spending]] = {}
        for line in spent:
            by_user.setdefault(line.user_id, []).append(line)
        others_by_user: dict[int, list[ReservedAmount]] = {}
        for other in others:
            others_by_user.setdefault(other.user_id, []).append(other)
        for user, account in accounts.items():
            self._drop(account, [*shown[user], *(there & account.pending.keys())])
            for state in account.states:
                if state.window == windows[state.budget.period]:
                    state.shipped = _known(state.budget, by_user.get(user, []))
                    self._look(state)
                state.reserved_elsewhere = _others(state.budget, others_by_user.get(user, ()))

    async def _read_others(self, users: list[int]) -> list[ReservedAmount]:
        if self._agents == 1 or self._id is None:
            return []
        return await read_reservations(self._store, users, except_agent=self._id, since=self._now() - ALIVE)


def _first_days(windows: dict[Period, Window]) -> tuple[date, date, date]:
    day, week, month = (windows[period].first_day for period in (Period.DAY, Period.WEEK, Period.MONTH))
    assert day is not None
    assert week is not None
    assert month is not None
    return day, week, month


def _known(budget: Budget, lines: Iterable[Spending]) -> Decimal:
    own = (line for line in lines if budget.token_id in (None, line.token_id))
    return sum((getattr(line, budget.period.value) for line in own), ZERO)


def _others(budget: Budget, lines: Iterable[ReservedAmount]) -> Decimal:
    own = (line for line in lines if budget.token_id in (None, line.token_id))
    return sum((line.amount for line in own), ZERO)
