"""What budgets read from PostgreSQL and publish there: spending, and the reservations of all agents."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Protocol
from uuid import UUID

from chatgpt_agent.adapters.postgres import agents, spending
from chatgpt_agent.adapters.postgres.connection import ALL_USERS, SPENT_CHANNEL, Store
from chatgpt_agent.adapters.postgres.spending import ReservedAmount, Spending


class BudgetStore(Protocol):
    """All methods raise StoreError."""

    async def read_spending(
        self,
        users: Sequence[int],
        spans: Sequence[tuple[date, date]],
        *,
        total: bool,
        rows: Sequence[tuple[UUID, datetime]],
    ) -> tuple[list[Spending], set[UUID]]:
        """What the tokens of these users have spent in `spans`, the first and last days of the current day, week and
        month, and in total unless `total` is False; and which of `rows` (request id and start) these sums contain."""

    async def count_agents(self) -> int:
        """The number of agents that are alive."""

    async def read_reservations(self, users: Sequence[int], *, except_agent: UUID) -> list[ReservedAmount]:
        """The reservations of other agents for these users, as far as the agents are alive."""

    async def publish_reservations(
        self, agent: UUID, users: Sequence[int], amounts: Sequence[ReservedAmount], *, notify: bool
    ) -> None:
        """Replaces the reservations of an agent for these users; `notify`: tells the other agents."""

    async def clear_reservations(self, agent: UUID) -> None:
        """Deletes all reservations of an agent, and notifies the other agents."""

    async def wait_for_changes(self, seconds: float) -> set[int] | None:
        """Waits for a notice, `seconds` at most. The users whose spending or reservations have changed; None: any may
        have changed."""

    async def close(self) -> None:
        """Ends the connections."""


class PostgresBudgetStore:
    """A BudgetStore in PostgreSQL. `listener` is a separate connection for LISTEN."""

    def __init__(self, store: Store, listener: Store) -> None:
        self._store = store
        self._listener = listener

    async def read_spending(
        self,
        users: Sequence[int],
        spans: Sequence[tuple[date, date]],
        *,
        total: bool,
        rows: Sequence[tuple[UUID, datetime]],
    ) -> tuple[list[Spending], set[UUID]]:
        """See BudgetStore."""
        return await spending.read_spending(self._store, users, spans, total=total, rows=rows)

    async def count_agents(self) -> int:
        """See BudgetStore."""
        return await agents.count_agents(self._store)

    async def read_reservations(self, users: Sequence[int], *, except_agent: UUID) -> list[ReservedAmount]:
        """See BudgetStore."""
        return await spending.read_reservations(self._store, users, except_agent=except_agent)

    async def publish_reservations(
        self, agent: UUID, users: Sequence[int], amounts: Sequence[ReservedAmount], *, notify: bool
    ) -> None:
        """See BudgetStore."""
        await spending.publish_reservations(self._store, agent, users, amounts, notify=notify)

    async def clear_reservations(self, agent: UUID) -> None:
        """See BudgetStore."""
        await spending.clear_reservations(self._store, agent)

    async def wait_for_changes(self, seconds: float) -> set[int] | None:
        """See BudgetStore."""
        notices = await self._listener.wait_for_notice(seconds, SPENT_CHANNEL)
        if notices is None or ALL_USERS in notices:
            return None
        if not notices:
            await self._listener.ping()  # a server that has disappeared sends no notices, and no error either
        return {int(user) for notice in notices for user in notice.split(",") if user.isdecimal()}

    async def close(self) -> None:
        """See BudgetStore."""
        await self._store.close()
        await self._listener.close()
