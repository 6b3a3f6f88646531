"""Budgets as an administrator changes them. Every face (commands, REST) calls these."""

from datetime import UTC, datetime
from decimal import Decimal

from chatgpt_agent.adapters.postgres import budgets
from chatgpt_agent.adapters.postgres.budgets import BudgetRow
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.audit import Actor
from chatgpt_agent.core.budget.period import Period, check_amount
from chatgpt_agent.core.errors import NotFound, VersionMismatch


class BudgetAdmin:
    """What may be spent, and what is spent of it."""

    def __init__(self, store: Store, actor: Actor) -> None:
        self._store = store.with_actor(actor)

    async def list(
        self, *, user: str | None = None, token_id: int | None = None, after: int = 0, limit: int | None = None
    ) -> list[BudgetRow]:
        """Budgets by id: all, of one user and their tokens, or of one token."""
        return await budgets.list_budgets(self._store, _now(), user=user, token_id=token_id, after=after, limit=limit)

    async def get(self, id: int) -> BudgetRow:
        """One budget. Raises NotFound."""
        found = await budgets.list_budgets(self._store, _now(), id=id)
        if not found:
            raise NotFound(f"there is no budget {id}")
        return found[0]

    async def set(
        self,
        *,
        user: str | None = None,
        token_id: int | None = None,
        period: Period,
        amount: Decimal,
        version: int | None = None,
    ) -> BudgetRow:
        """Sets what a user, or a token, may spend in each period, in USD.
        Raises InvalidValue, NotFound, VersionMismatch (the budget has changed since)."""
        check_amount(amount)
        return await self.get(await self._set(user, token_id, period, amount, version))

    async def remove(self, id: int, *, version: int | None = None) -> None:
        """Takes a budget away: there is no limit then. Raises NotFound, VersionMismatch."""
        found = await self.get(id)
        owner = found.user if found.token_id is None else None
        await self._set(owner, found.token_id, found.period, None, version)

    async def _set(
        self, user: str | None, token_id: int | None, period: Period, amount: Decimal | None, version: int | None
    ) -> int:
        assert (user is None) is not (token_id is None), "a budget is a user's or a token's"
        id_ = await budgets.set_budget(
            self._store, user=user, token_id=token_id, period=period, amount=amount, version=version, now=_now()
        )
        if id_ is not None:
            return id_
        known = await budgets.list_budgets(self._store, _now(), user=user, token_id=token_id)
        if version is not None and any(line.period is period for line in known):
            raise VersionMismatch("the budget has been changed since it was read")
        raise NotFound(f"there is no user {user!r}" if token_id is None else f"there is no token {token_id}")


def _now() -> datetime:
    return datetime.now(UTC)
