"""The route table."""

import functools
from typing import Any

from chatgpt_agent.web.admin import admins, audit, tokens, user_import, users
from chatgpt_agent.web.admin import imports as bulk
from chatgpt_agent.web.admin import ledger as books
from chatgpt_agent.web.admin import prices as money
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.openapi import document
from chatgpt_agent.web.admin.outcome_schemas import (
    CorrectedOut,
    PricesImportedOut,
    ReconciledOut,
    WhatIfOut,
)
from chatgpt_agent.web.admin.request_schemas import (
    BudgetQuery,
    ById,
    ByModel,
    ByRequest,
    Correction,
    ExportQuery,
    FigureQuery,
    FindingQuery,
    HistoryQuery,
    NewBudget,
    NewPrice,
    Nothing,
    OfToken,
    PriceListQuery,
    RowQuery,
    TextPage,
    UsageQuery,
    UserBudgetPath,
    WhatIf,
)
from chatgpt_agent.web.admin.response_schemas import (
    BudgetOut,
    FindingsOut,
    LedgerOut,
    PriceOut,
    RowOut,
    UsageOut,
)
from chatgpt_agent.web.admin.routing import MAX_FILE, Call, Route

PREFIX = "/api/v1"

_CSV = {"text/csv": {"type": "string"}}
_PRICE_LIST = {**_CSV, "application/json": {"type": "object", "description": "LiteLLM's list of prices."}}
_FIGURES = {
    **_CSV,
    "application/json": {"type": ["object", "array"], "description": "OpenAI's page, or a list of them."},
}

_MONEY = [
    Route(
        method="GET", path="/prices", handler=money.list_prices, summary="List the prices in force by model",
        query=TextPage, answer=Page[PriceOut], tag="prices",
    ),
    Route(
        method="POST", path="/prices", handler=money.set_price,
        summary="Set a model's price, which follows the one before",
        body=NewPrice, answer=PriceOut, status=201, tag="prices",
    ),
    Route(
        method="POST", path="/price-import", handler=bulk.import_prices,
        summary="Show what a list of prices would change, and, where `apply` says so, set them",
        query=PriceListQuery, body=bytes, files=_PRICE_LIST, max_body=MAX_FILE, answer=PricesImportedOut, tag="prices",
    ),
    Route(
        method="GET", path="/price-export", handler=bulk.export_prices, summary="Show the prices as CSV",
        query=ExportQuery, answer=bytes, tag="prices",
    ),
    Route(
        method="POST", path="/price-what-if", handler=bulk.what_if,
        summary="Show what past requests would have cost at other prices; nothing is changed",
        body=WhatIf, answer=WhatIfOut, read_only=True, tag="prices",
    ),
    Route(
        method="DELETE", path="/prices/{model}", handler=money.remove_price,
        summary="Take a model's price away from now on",
        path_params=ByModel, status=204, tag="prices",
    ),
    Route(
        method="GET", path="/price-history", handler=money.list_history, summary="List every price that ever was",
        query=HistoryQuery, answer=Page[PriceOut], tag="prices",
    ),
]  # fmt: skip
_BUDGETS = [
    Route(
        method="GET", path="/budgets", handler=money.list_budgets, summary="List budgets and what is spent of them",
        query=BudgetQuery, answer=Page[BudgetOut], tag="budgets",
    ),
    Route(
        method="GET", path="/budgets/{id}", handler=money.get_budget, summary="Show a budget",
        path_params=ById, answer=BudgetOut, tag="budgets",
    ),
    Route(
        method="PUT", path="/users/{name}/budgets/{period}", handler=money.set_user_budget,
        summary="Set what a user may spend in each period",
        path_params=UserBudgetPath, body=NewBudget, answer=BudgetOut, conditional=True, tag="budgets",
    ),
    Route(
        method="PUT", path="/tokens/{id}/budgets/{period}", handler=money.set_token_budget,
        summary="Set what one token may spend in each period",
        path_params=OfToken, body=NewBudget, answer=BudgetOut, conditional=True, tag="budgets",
    ),
    Route(
        method="DELETE", path="/budgets/{id}", handler=money.remove_budget, summary="Take a budget away",
        path_params=ById, status=204, conditional=True, tag="budgets",
    ),
]  # fmt: skip
_BOOKS = [
    Route(
        method="GET", path="/usage", handler=books.report_usage, summary="Sum up requests, tokens and cost",
        query=UsageQuery, answer=UsageOut, tag="usage",
    ),
    Route(
        method="GET", path="/ledger/rows", handler=books.list_ledger, summary="List rows, the newest first",
        query=RowQuery, answer=Page[RowOut], tag="ledger",
    ),
    Route(
        method="GET", path="/ledger/rows/{request_id}", handler=books.get_row, summary="Show the row of a request",
        path_params=ByRequest, answer=RowOut, tag="ledger",
    ),
    Route(
        method="POST", path="/ledger/rows/{request_id}/correction", handler=books.correct_row,
        summary="Correct a row's tokens and cost, once, by another row",
        path_params=ByRequest, body=Correction, answer=CorrectedOut, status=201, tag="ledger",
    ),
    Route(
        method="POST", path="/ledger/reconcile", handler=books.reconcile,
        summary="Compare the ledger with OpenAI's figures; nothing is changed",
        query=FigureQuery, body=bytes, files=_FIGURES, max_body=MAX_FILE, answer=ReconciledOut, read_only=True,
        tag="ledger",
    ),
    Route(
        method="GET", path="/ledger/status", handler=books.ledger_status,
        summary="Show rows by state, the agents and the dead letters",
        answer=LedgerOut, tag="ledger",
    ),
    Route(
        method="GET", path="/ledger/findings", handler=books.verify_ledger,
        summary="Prove the books; whatever is found is wrong",
        query=FindingQuery, answer=FindingsOut, tag="ledger",
    ),
]  # fmt: skip


@functools.cache
def openapi() -> dict[str, Any]:
    """The document of this table."""
    return document(ROUTES, PREFIX)


async def show_document(call: Call[Nothing, Nothing, None]) -> dict[str, Any]:
    return openapi()


_ABOUT = [
    Route(
        method="GET", path="/openapi.json", handler=show_document, summary="Show this document",
        answer=dict[str, Any], tag="about",
    ),
]  # fmt: skip

ROUTES = [
    *users.ROUTES,
    *user_import.ROUTES,
    *tokens.ROUTES,
    *_MONEY,
    *_BUDGETS,
    *_BOOKS,
    *audit.ROUTES,
    *admins.ROUTES,
    *_ABOUT,
]
