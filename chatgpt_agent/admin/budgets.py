"""Budgets: what users and tokens may spend, and what they have spent."""

from datetime import UTC, datetime
from decimal import Decimal

from chatgpt_agent.adapters.postgres import budgets, users
from chatgpt_agent.adapters.postgres.budgets import BudgetRow
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.admin.lookups import check_token, check_user, missing_user
from chatgpt_agent.core.budget.period import Period, check_amount
from chatgpt_agent.core.errors import NotFound, VersionMismatch

__all__ = ["BudgetAdmin", "BudgetRow"]


class BudgetAdmin:
    """Use cases on budgets. `version`: the change applies only to this version of the budget, else VersionMismatch."""

    def __init__(self, store: AnyStore) -> None:
        self._store = store

    async def list(
        self, *, user: str | None = None, token_id: int | None = None, after: int = 0, limit: int | None = None
    ) -> list[BudgetRow]:
        """Lists budgets by id: all of them, those of a user and their tokens, or those of one token. Raises
        NotFound."""
        await check_user(self._store, user)
        await check_token(self._store, token_id)
        return await budgets.list_budgets(self._store, _now(), user=user, token_id=token_id, after=after, limit=limit)

    async def get(self, id: int) -> BudgetRow:
        """Returns a budget. Raises NotFound."""
        rows = await budgets.list_budgets(self._store, _now(), id=id)
        if not rows:
            raise NotFound(f"there is no budget {id}")
        return rows[0]

    async def set(
        self,
        *,
        user: str | None = None,
        token_id: int | None = None,
        period: Period,
        amount: Decimal,
        version: int | None = None,
    ) -> BudgetRow:
        """Sets the USD that a user, or a token, may spend in each period. Raises InvalidValue, NotFound,
        VersionMismatch."""
        check_amount(amount)
        return await self.get(
            await self._write(user=user, token_id=token_id, period=period, amount=amount, version=version)
        )

    async def remove(self, id: int, *, version: int | None = None) -> BudgetRow:
        """Removes a budget, so that nothing limits the spending any more, and returns what it was. Raises NotFound,
        VersionMismatch."""
        budget = await self.get(id)
        user = budget.user if budget.token_id is None else None
        await self._write(user=user, token_id=budget.token_id, period=budget.period, amount=None, version=version)
        return budget

    async def _write(
        self, *, user: str | None, token_id: int | None, period: Period, amount: Decimal | None, version: int | None
    ) -> int:
        assert (user is None) is not (token_id is None), "a budget is a user's or a token's"
        id_ = await budgets.set_budget(
            self._store, user=user, token_id=token_id, period=period, amount=amount, version=version, now=_now()
        )
        if id_ is not None:
            return id_
        await self._check_owner(user, token_id)
        raise VersionMismatch("the budget does not exist in this version: read it again")

    async def _check_owner(self, user: str | None, token_id: int | None) -> None:
        """Raises NotFound for an owner that cannot have a budget."""
        await check_token(self._store, token_id)
        if user is None:
            return
        rows = await users.list_users(self._store, user)
        if not rows:
            raise await missing_user(self._store, user)
        if rows[0].removed_at is not None:
            raise NotFound(f"the user {user!r} was removed on {rows[0].removed_at:%Y-%m-%d}")


def _now() -> datetime:
    return datetime.now(UTC)
