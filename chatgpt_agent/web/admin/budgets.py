"""Budgets over REST."""

from decimal import Decimal
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from chatgpt_agent.admin.budgets import BudgetRow
from chatgpt_agent.core.access.settings import Name
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.request_schemas import ById, Id, IdPage, Nothing, Strict, given
from chatgpt_agent.web.admin.routing import Call, Route

# As many digits as the largest allowed amount has: a larger one is refused by the same rule as a command's.
BudgetText = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,10})?$", description="USD, exactly.")]


class UserBudgetPath(Strict, frozen=True, kw_only=True):
    name: Name
    period: Period


class TokenBudgetPath(Strict, frozen=True, kw_only=True):
    id: Id
    period: Period


class BudgetQuery(IdPage, frozen=True, kw_only=True):
    user: Name | UnsetType = UNSET
    token: Id | UnsetType = UNSET


class BudgetBody(Strict, frozen=True, kw_only=True):
    amount: BudgetText


async def list_budgets(call: Call[Nothing, BudgetQuery, None]) -> Page[BudgetRow]:
    query = call.query
    budgets = await call.administration.budgets.list(
        user=given(query.user),
        token_id=given(query.token),
        after=cursors.id_of(query.after) or 0,
        limit=query.limit + 1,
    )
    return cursors.page(budgets, query.limit, lambda budget: cursors.id_cursor(budget.id))


async def get_budget(call: Call[ById, Nothing, None]) -> BudgetRow:
    return await call.administration.budgets.get(call.path.id)


async def set_user_budget(call: Call[UserBudgetPath, Nothing, BudgetBody]) -> BudgetRow:
    return await call.administration.budgets.set(
        user=call.path.name, period=call.path.period, amount=Decimal(call.body.amount), version=call.version
    )


async def set_token_budget(call: Call[TokenBudgetPath, Nothing, BudgetBody]) -> BudgetRow:
    return await call.administration.budgets.set(
        token_id=call.path.id, period=call.path.period, amount=Decimal(call.body.amount), version=call.version
    )


async def remove_budget(call: Call[ById, Nothing, None]) -> None:
    await call.administration.budgets.remove(call.path.id, version=call.version)


ROUTES = [
    Route(
        method="GET", path="/budgets", handler=list_budgets, summary="List budgets and what is spent of them",
        query=BudgetQuery, answer=Page[BudgetRow], tag="budgets",
    ),
    Route(
        method="GET", path="/budgets/{id}", handler=get_budget, summary="Show a budget",
        path_params=ById, answer=BudgetRow, tag="budgets",
    ),
    Route(
        method="PUT", path="/users/{name}/budgets/{period}", handler=set_user_budget,
        summary="Set what a user may spend in each period",
        path_params=UserBudgetPath, body=BudgetBody, answer=BudgetRow, conditional=True, tag="budgets",
    ),
    Route(
        method="PUT", path="/tokens/{id}/budgets/{period}", handler=set_token_budget,
        summary="Set what one token may spend in each period",
        path_params=TokenBudgetPath, body=BudgetBody, answer=BudgetRow, conditional=True, tag="budgets",
    ),
    Route(
        method="DELETE", path="/budgets/{id}", handler=remove_budget, summary="Remove a budget",
        path_params=ById, status=204, conditional=True, tag="budgets",
    ),
]  # fmt: skip
