"""Budgets over REST."""

from decimal import Decimal
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from chatgpt_agent.admin.budgets import BudgetRow
from chatgpt_agent.core.access.settings import Moment, Name
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.web.admin import cursors
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.routing import AdminRequest, Route
from chatgpt_agent.web.admin.schemas import Empty, Id, IdPage, IdPath, Strict, or_none

# As many digits as the largest allowed amount has: a larger one is refused by the same rule as a command's.
BudgetText = Annotated[
    str,
    Meta(
        pattern=r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,10})?$",
        description="USD, exactly.",
        extra={"words": "USD as text, with at most 10 decimal places", "example": '"12.50"'},
    ),
]


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


class RaiseBody(Strict, frozen=True, kw_only=True):
    amount: BudgetText
    until: Moment


async def list_budgets(request: AdminRequest[Empty, BudgetQuery, None]) -> Page[BudgetRow]:
    query = request.query
    budgets = await request.administration.budgets.list(
        user=or_none(query.user),
        token_id=or_none(query.token),
        after=cursors.id_of(query.after) or 0,
        limit=query.limit + 1,
    )
    return cursors.page(budgets, query.limit, lambda budget: cursors.id_cursor(budget.id))


async def get_budget(request: AdminRequest[IdPath, Empty, None]) -> BudgetRow:
    return await request.administration.budgets.get(request.path.id)


async def set_user_budget(request: AdminRequest[UserBudgetPath, Empty, BudgetBody]) -> BudgetRow:
    return await request.administration.budgets.set(
        user=request.path.name, period=request.path.period, amount=Decimal(request.body.amount), version=request.version
    )


async def set_token_budget(request: AdminRequest[TokenBudgetPath, Empty, BudgetBody]) -> BudgetRow:
    return await request.administration.budgets.set(
        token_id=request.path.id,
        period=request.path.period,
        amount=Decimal(request.body.amount),
        version=request.version,
    )


async def remove_budget(request: AdminRequest[IdPath, Empty, None]) -> None:
    await request.administration.budgets.remove(request.path.id, version=request.version)


async def raise_budget(request: AdminRequest[IdPath, Empty, RaiseBody]) -> BudgetRow:
    body = request.body
    return await request.administration.budgets.raise_until(
        request.path.id, amount=Decimal(body.amount), until=body.until, version=request.version
    )


async def end_raise(request: AdminRequest[IdPath, Empty, None]) -> None:
    await request.administration.budgets.end_raise(request.path.id, version=request.version)


ROUTES = [
    Route(
        method="GET", path="/budgets", handler=list_budgets, summary="List budgets and what is spent of them",
        query=BudgetQuery, answer=Page[BudgetRow], tag="budgets",
    ),
    Route(
        method="GET", path="/budgets/{id}", handler=get_budget, summary="Show a budget",
        path_params=IdPath, answer=BudgetRow, tag="budgets",
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
        method="PUT", path="/budgets/{id}/raise", handler=raise_budget, summary="Raise a budget until a date",
        path_params=IdPath, body=RaiseBody, answer=BudgetRow, conditional=True, tag="budgets",
    ),
    Route(
        method="DELETE", path="/budgets/{id}/raise", handler=end_raise, summary="End the raise of a budget",
        path_params=IdPath, status=204, conditional=True, tag="budgets",
    ),
    Route(
        method="DELETE", path="/budgets/{id}", handler=remove_budget, summary="Remove a budget and its raise",
        path_params=IdPath, status=204, conditional=True, tag="budgets",
    ),
]  # fmt: skip
