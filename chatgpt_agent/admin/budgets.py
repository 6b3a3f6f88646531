"""Budgets: what users and tokens may spend, and what they have spent."""

from datetime import UTC, datetime
from decimal import Decimal

from chatgpt_agent.adapters.postgres import budgets, users
from chatgpt_agent.adapters.postgres.budget_rows import BudgetRow, list_budgets
from chatgpt_agent.adapters.postgres.connection import AnyStore
from chatgpt_agent.admin.lookups import check_token, check_user, missing_user
from chatgpt_agent.admin.warnings import Warn, no_warning
from chatgpt_agent.core.budget.period import Period, check_amount, check_raise
from chatgpt_agent.core.errors import NotFound, VersionMismatch
from chatgpt_agent.core.moments import check_moment
from chatgpt_agent.core.money.exact import format_usd

__all__ = ["BudgetAdmin", "BudgetRow"]


class BudgetAdmin:
    """Use cases on budgets. `version`: the change applies only to this version of the budget, else VersionMismatch.
    `warn` is called when a change ends a raise."""

    def __init__(self, store: AnyStore, warn: Warn = no_warning) -> None:
        self._store = store
        self._warn = warn

    async def list(
        self, *, user: str | None = None, token_id: int | None = None, after: int = 0, limit: int | None = None
    ) -> list[BudgetRow]:
        """Lists budgets by id: all of them, those of a user and their tokens, or those of one token. Raises
        NotFound."""
        await check_user(self._store, user)
        await check_token(self._store, token_id)
        return await list_budgets(self._store, _now(), user=user, token_id=token_id, after=after, limit=limit)

    async def get(self, id: int) -> BudgetRow:
        """Returns a budget. Raises NotFound."""
        rows = await list_budgets(self._store, _now(), id=id)
        if not rows:
            raise NotFound(f"there is no budget {id}")
        return rows[0]

    async def find(self, *, user: str | None = None, token_id: int | None = None, period: Period) -> BudgetRow:
        """Returns the budget of a user or of a token for a period. Raises NotFound."""
        row = await self._find(user, token_id, period)
        if row is None:
            await self._check_owner(user, token_id)
            owner = f"user {user!r}" if token_id is None else f"token {token_id}"
            raise NotFound(f"{owner} has no budget for the period {period}: set one first")
        return row

    async def _find(self, user: str | None, token_id: int | None, period: Period) -> BudgetRow | None:
        rows = await list_budgets(self._store, _now(), user=user, token_id=token_id)
        return next((row for row in rows if row.token_id == token_id and row.period == period), None)

    async def set(
        self,
        *,
        user: str | None = None,
        token_id: int | None = None,
        period: Period,
        amount: Decimal,
        version: int | None = None,
    ) -> BudgetRow:
        """Sets the USD that a user, or a token, may spend in each period, which ends a raise. Raises InvalidValue,
        NotFound, VersionMismatch."""
        check_amount(amount)
        before = await self._find(user, token_id, period)
        id_ = await self._write(user=user, token_id=token_id, period=period, amount=amount, version=version)
        self._warn_of_raise(before)
        return await self.get(id_)

    async def remove(self, id: int, *, version: int | None = None) -> BudgetRow:
        """Removes a budget and its raise, so that nothing limits the spending any more, and returns what it was. Raises
        NotFound, VersionMismatch."""
        budget = await self.get(id)
        user = budget.user if budget.token_id is None else None
        await self._write(user=user, token_id=budget.token_id, period=budget.period, amount=None, version=version)
        self._warn_of_raise(budget)
        return budget

    async def raise_until(self, id: int, *, amount: Decimal, until: datetime, version: int | None = None) -> BudgetRow:
        """Raises a budget to another amount until a moment, from which on the plain one is in force again; replaces an
        earlier raise. Raises InvalidValue, NotFound, VersionMismatch."""
        until = check_moment("until", until)
        budget = await self.get(id)
        check_raise(budget.amount, amount, until, _now())
        return await self._write_raise(budget, amount, until, version)

    async def end_raise(self, id: int, *, version: int | None = None) -> BudgetRow:
        """Ends the raise of a budget: its plain amount is in force. Raises NotFound, VersionMismatch."""
        budget = await self.get(id)
        if budget.raised_until is None:
            raise NotFound(f"budget {id} is not raised")
        return await self._write_raise(budget, None, None, version)

    async def _write_raise(
        self, budget: BudgetRow, amount: Decimal | None, until: datetime | None, version: int | None
    ) -> BudgetRow:
        if not await budgets.raise_budget(
            self._store, budget.id, plain=budget.amount, amount=amount, until=until, version=version
        ):
            raise VersionMismatch("the budget does not exist in this version: read it again")
        return await self.get(budget.id)

    def _warn_of_raise(self, before: BudgetRow | None) -> None:
        if before is not None and before.raised_amount is not None and before.raised_until is not None:
            end = f"{before.raised_until:%Y-%m-%dT%H:%M:%SZ}"
            self._warn(f"this ended the raise of the budget to {format_usd(before.raised_amount)} USD until {end}")

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
