"""Keeps budgets in step with PostgreSQL and with other agents: reads spending, publishes reservations.

What was spent is read when a notice says that rows of a user were shipped, by whichever agent.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from datetime import date
from uuid import UUID

import msgspec

from chatgpt_agent.adapters.postgres.spending import ReservedAmount
from chatgpt_agent.core.budget.period import Period, Window
from chatgpt_agent.core.errors import StoreError
from chatgpt_agent.runtime.background import Background, OnDeath, report_to_loop
from chatgpt_agent.runtime.budget_store import BudgetStore
from chatgpt_agent.runtime.budgets import Budgets

log = logging.getLogger(__name__)


class SyncTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds between two steps."""

    refresh: float = 60.0  # between two readings of all budgets, in case a notice was lost
    listen: float = 5.0  # without a notice, until the server is asked whether it is alive
    publish: float = 0.2  # until other agents learn of a reservation
    publish_alone: float = 2.0  # until lists of budgets show a reservation of the only agent
    retry: float = 1.0  # after an error of the database


class BudgetSync:
    """The background work of budgets."""

    def __init__(
        self,
        budgets: Budgets,
        store: BudgetStore,
        *,
        times: SyncTimes = SyncTimes(),
        on_death: OnDeath = report_to_loop,
    ) -> None:
        self._budgets = budgets
        self._store = store
        self._times = times
        self._agent: UUID | None = None
        self._cleared = False  # whether the reservations of this agent's last run are deleted
        self._published = False  # whether reservations of this run may be in PostgreSQL
        self._refreshed_at = float("-inf")  # when all was last read, in monotonic seconds
        self.background = Background(on_death)

    async def start(self, agent: UUID) -> None:
        """Reads what was spent, and follows changes from then on. `agent`: the id under which this agent reports."""
        try:
            await self.load(agent)
        except StoreError as error:
            log.warning("cannot read budget spending: %s", error)
            self._budgets.read_due.set()
        self.background.start("budget notices", self._listen())
        self.background.start("budgets", self._follow())
        self.background.start("reservations", self._publish_forever())

    async def load(self, agent: UUID) -> None:
        """Reads what was spent, once. Raises StoreError."""
        self._agent = agent
        await self.refresh_all()

    async def close(self) -> None:
        """Stops following, and deletes this agent's reservations."""
        await self.background.close()
        if self._agent is not None and self._published:
            with contextlib.suppress(StoreError, TimeoutError):
                async with asyncio.timeout(1):
                    await self._store.clear_reservations(self._agent)
        await self._store.close()

    # Steps.

    async def refresh_all(self) -> None:
        """Reads what all users have spent, and how many agents are alive. Raises StoreError."""
        budgets = self._budgets
        budgets.reload_all = False
        try:
            if self._agent is not None and not self._cleared:
                await self._store.clear_reservations(self._agent)
                self._cleared = True
            before, budgets.agents = budgets.agents, max(1, await self._store.count_agents())
            if before == 1 < budgets.agents:
                for user in budgets.by_user:
                    budgets.schedule_publish(user)
            await self.refresh(set(budgets.by_user))
            budgets.loaded = True
            self._refreshed_at = time.monotonic()
        except StoreError:
            budgets.reload_all = True
            raise

    async def refresh(self, users: set[int]) -> None:
        """Reads what these users have spent. Raises StoreError."""
        self._budgets.stale -= users
        refresh = self._budgets.begin_refresh(users)
        if refresh is None:
            return
        try:
            spending, contained = await self._store.read_spending(
                refresh.users, _spans(refresh.windows), total=refresh.total, rows=refresh.uncertain
            )
            reservations = await self._read_reservations(refresh.users)
        except StoreError:
            self._budgets.stale |= users
            raise
        self._budgets.finish_refresh(refresh, spending, contained, reservations)

    async def publish(self, users: set[int]) -> None:
        """Publishes what this agent has reserved for these users, and notifies other agents. Raises StoreError."""
        assert self._agent is not None
        budgets = self._budgets
        self._published = True
        await self._store.publish_reservations(
            self._agent, sorted(users), budgets.reserved_amounts(users), notify=budgets.agents > 1
        )

    async def _read_reservations(self, users: list[int]) -> list[ReservedAmount]:
        if self._budgets.agents == 1 or self._agent is None:
            return []
        return await self._store.read_reservations(users, except_agent=self._agent)

    # Tasks.

    async def _listen(self) -> None:
        """Collects the users in notices. Connection errors are logged by the directory."""
        while True:
            try:
                self._budgets.note_changes(await self._store.wait_for_changes(self._times.listen))
            except StoreError:
                await asyncio.sleep(self._times.retry)

    async def _follow(self) -> None:
        budgets = self._budgets
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._times.refresh):
                    await budgets.read_due.wait()
            budgets.read_due.clear()
            try:
                # The time counts even if there is always a stale user.
                if budgets.reload_all or time.monotonic() - self._refreshed_at >= self._times.refresh:
                    await self.refresh_all()
                else:
                    await self.refresh(set(budgets.stale))
            except StoreError:
                await asyncio.sleep(self._times.retry)
                budgets.read_due.set()

    async def _publish_forever(self) -> None:
        budgets = self._budgets
        while True:
            await budgets.publish_due.wait()
            await asyncio.sleep(self._times.publish if budgets.agents > 1 else self._times.publish_alone)
            budgets.publish_due.clear()
            users, budgets.unpublished = budgets.unpublished, set()
            try:
                await self.publish(users)
            except StoreError:
                budgets.unpublished |= users
                await asyncio.sleep(self._times.retry)
                budgets.publish_due.set()


def _spans(windows: Mapping[Period, Window]) -> list[tuple[date, date]]:
    """Returns the first and last days of the current day, week and month."""
    spans = []
    for period in (Period.DAY, Period.WEEK, Period.MONTH):
        window = windows[period]
        assert window.first_day is not None
        assert window.last_day is not None
        spans.append((window.first_day, window.last_day))
    return spans
