"""Users to look through: by a part of their name or by state, in several orders, with the figures of this month."""

from datetime import UTC, datetime

from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.adapters.postgres.settings import read_zone
from chatgpt_agent.adapters.postgres.user_list import (
    ListedUser,
    UserFilter,
    UserList,
    UserOrder,
    UserState,
    list_user_figures,
)
from chatgpt_agent.core.budget.period import Period, window

__all__ = ["ListedUser", "UserFilter", "UserList", "UserLister", "UserOrder", "UserState"]


class UserLister:
    """The use case. It reads daily sums, never rows of the ledger."""

    def __init__(self, store: AnyStore) -> None:
        self._store = store

    async def list(
        self,
        matching: UserFilter = UserFilter(),
        order: UserOrder = UserOrder.NAME,
        *,
        limit: int,
        offset: int = 0,
    ) -> UserList:
        """Returns at most `limit` users after the first `offset` ones. The month is that of the time zone of
        reports."""
        now = datetime.now(UTC)
        month = window(Period.MONTH, now, await read_zone(self._store))
        assert month.first_day is not None
        assert month.last_day is not None
        return await list_user_figures(
            self._store,
            matching,
            order,
            month=(month.first_day, month.last_day),
            now=now,
            limit=limit,
            offset=offset,
        )
