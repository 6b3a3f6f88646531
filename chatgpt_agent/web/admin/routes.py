"""The route table."""

import functools
from typing import Any

from chatgpt_agent.web.admin import admins as administrators
from chatgpt_agent.web.admin import imports as bulk
from chatgpt_agent.web.admin import ledger as books
from chatgpt_agent.web.admin import prices as money
from chatgpt_agent.web.admin import users as people
from chatgpt_agent.web.admin.cursors import Page
from chatgpt_agent.web.admin.openapi import document
from chatgpt_agent.web.admin.outcome_schemas import (
    CorrectedOut,
    PeopleImportedOut,
    PricesImportedOut,
    ReconciledOut,
    WhatIfOut,
)
from chatgpt_agent.web.admin.request_schemas import (
    AuditQuery,
    BudgetQuery,
    ById,
    ByModel,
    ByRequest,
    Correction,
    ExportQuery,
    FigureQuery,
    FindingQuery,
    HistoryQuery,
    IdPage,
    NewBudget,
    NewKey,
    NewPrice,
    NewToken,
    NewUser,
    Nothing,
    OfToken,
    PeopleQuery,
    PriceListQuery,
    Rotation,
    RowQuery,
    TextPage,
    TokenPatch,
    TokenQuery,
    UsageQuery,
    UserBudgetPath,
    UserPatch,
    UserPath,
    WhatIf,
)
from chatgpt_agent.web.admin.response_schemas import (
    AdminOut,
    AuditOut,
    BudgetOut,
    FindingsOut,
    IssuedOut,
    LedgerOut,
    PriceOut,
    RowOut,
    TokenOut,
    UsageOut,
    UserOut,
)
from chatgpt_agent.web.admin.routing import MAX_FILE, Call, Route

PREFIX = "/api/v1"

_CSV = {"text/csv": {"type": "string"}}
_PRICE_LIST = {**_CSV, "application/json": {"type": "object", "description": "LiteLLM's list of prices."}}
_FIGURES = {
    **_CSV,
    "application/json": {"type": ["object", "array"], "description": "OpenAI's page, or a list of them."},
}

_USERS = [
    Route(
        method="GET", path="/users", does=people.list_users, summary="List users by name",
        query=TextPage, answer=Page[UserOut], tag="users",
    ),
    Route(
        method="POST", path="/users", does=people.add_user, summary="Add a user and issue a first token",
        body=NewUser, answer=IssuedOut, status=201, conflicts=True, tag="users",
    ),
    Route(
        method="POST", path="/user-import", does=bulk.import_users,
        summary="Add all users of a CSV file, or nobody where a line has a fault",
        query=PeopleQuery, body=bytes, files=_CSV, max_body=MAX_FILE, answer=PeopleImportedOut, conflicts=True,
        tag="users",
    ),
    Route(
        method="GET", path="/users/{name}", does=people.get_user, summary="Show a user",
        of=UserPath, answer=UserOut, tag="users",
    ),
    Route(
        method="PATCH", path="/users/{name}", does=people.change_user, summary="Change a user",
        of=UserPath, body=UserPatch, answer=UserOut, conditional=True, tag="users",
    ),
    Route(
        method="POST", path="/users/{name}/remove", does=people.remove_user,
        summary="Remove a user: the key is destroyed, the books stay",
        of=UserPath, status=204, conditional=True, tag="users",
    ),
    Route(
        method="PUT", path="/users/{name}/key", does=people.set_key, summary="Replace a user's OpenAI key",
        of=UserPath, body=NewKey, status=204, tag="users",
    ),
    Route(
        method="GET", path="/users/{name}/tokens", does=people.list_user_tokens, summary="List a user's tokens",
        of=UserPath, query=IdPage, answer=Page[TokenOut], tag="tokens",
    ),
    Route(
        method="POST", path="/users/{name}/tokens", does=people.issue_token, summary="Issue one more token",
        of=UserPath, body=NewToken, answer=IssuedOut, status=201, tag="tokens",
    ),
]  # fmt: skip
_TOKENS = [
    Route(
        method="GET", path="/tokens", does=people.list_tokens, summary="List tokens",
        query=TokenQuery, answer=Page[TokenOut], tag="tokens",
    ),
    Route(
        method="GET", path="/tokens/{id}", does=people.get_token, summary="Show a token",
        of=ById, answer=TokenOut, tag="tokens",
    ),
    Route(
        method="PATCH", path="/tokens/{id}", does=people.change_token, summary="Change a token",
        of=ById, body=TokenPatch, answer=TokenOut, conditional=True, tag="tokens",
    ),
    Route(
        method="POST", path="/tokens/{id}/revoke", does=people.revoke_token, summary="Revoke a token for good",
        of=ById, status=204, conditional=True, tag="tokens",
    ),
    Route(
        method="POST", path="/tokens/{id}/rotate", does=people.rotate_token,
        summary="Issue a token like this one, which works on for a while",
        of=ById, body=Rotation, answer=IssuedOut, status=201, tag="tokens",
    ),
]  # fmt: skip
_MONEY = [
    Route(
        method="GET", path="/prices", does=money.list_prices, summary="List the prices in force by model",
        query=TextPage, answer=Page[PriceOut], tag="prices",
    ),
    Route(
        method="POST", path="/prices", does=money.set_price,
        summary="Set a model's price, which follows the one before",
        body=NewPrice, answer=PriceOut, status=201, tag="prices",
    ),
    Route(
        method="POST", path="/price-import", does=bulk.import_prices,
        summary="Show what a list of prices would change, and, where `apply` says so, set them",
        query=PriceListQuery, body=bytes, files=_PRICE_LIST, max_body=MAX_FILE, answer=PricesImportedOut, tag="prices",
    ),
    Route(
        method="GET", path="/price-export", does=bulk.export_prices, summary="Show the prices as CSV",
        query=ExportQuery, answer=bytes, tag="prices",
    ),
    Route(
        method="POST", path="/price-what-if", does=bulk.what_if,
        summary="Show what past requests would have cost at other prices; nothing is changed",
        body=WhatIf, answer=WhatIfOut, reads=True, names_others=True, tag="prices",
    ),
    Route(
        method="DELETE", path="/prices/{model}", does=money.remove_price,
        summary="Take a model's price away from now on",
        of=ByModel, status=204, tag="prices",
    ),
    Route(
        method="GET", path="/price-history", does=money.list_history, summary="List every price that ever was",
        query=HistoryQuery, answer=Page[PriceOut], tag="prices",
    ),
]  # fmt: skip
_BUDGETS = [
    Route(
        method="GET", path="/budgets", does=money.list_budgets, summary="List budgets and what is spent of them",
        query=BudgetQuery, answer=Page[BudgetOut], tag="budgets",
    ),
    Route(
        method="GET", path="/budgets/{id}", does=money.get_budget, summary="Show a budget",
        of=ById, answer=BudgetOut, tag="budgets",
    ),
    Route(
        method="PUT", path="/users/{name}/budgets/{period}", does=money.set_user_budget,
        summary="Set what a user may spend in each period",
        of=UserBudgetPath, body=NewBudget, answer=BudgetOut, conditional=True, tag="budgets",
    ),
    Route(
        method="PUT", path="/tokens/{id}/budgets/{period}", does=money.set_token_budget,
        summary="Set what one token may spend in each period",
        of=OfToken, body=NewBudget, answer=BudgetOut, conditional=True, tag="budgets",
    ),
    Route(
        method="DELETE", path="/budgets/{id}", does=money.remove_budget, summary="Take a budget away",
        of=ById, status=204, conditional=True, tag="budgets",
    ),
]  # fmt: skip
_BOOKS = [
    Route(
        method="GET", path="/usage", does=books.report_usage, summary="Sum up requests, tokens and cost",
        query=UsageQuery, answer=UsageOut, tag="usage",
    ),
    Route(
        method="GET", path="/ledger/rows", does=books.list_ledger, summary="List rows, the newest first",
        query=RowQuery, answer=Page[RowOut], tag="ledger",
    ),
    Route(
        method="GET", path="/ledger/rows/{request_id}", does=books.get_row, summary="Show the row of a request",
        of=ByRequest, answer=RowOut, tag="ledger",
    ),
    Route(
        method="POST", path="/ledger/rows/{request_id}/correction", does=books.correct_row,
        summary="Correct a row's tokens and cost, once, by another row",
        of=ByRequest, body=Correction, answer=CorrectedOut, status=201, conflicts=True, tag="ledger",
    ),
    Route(
        method="POST", path="/ledger/reconcile", does=books.reconcile,
        summary="Compare the ledger with OpenAI's figures; nothing is changed",
        query=FigureQuery, body=bytes, files=_FIGURES, max_body=MAX_FILE, answer=ReconciledOut, reads=True,
        names_others=True, tag="ledger",
    ),
    Route(
        method="GET", path="/ledger/status", does=books.ledger_status,
        summary="Show rows by state, the agents and the dead letters",
        answer=LedgerOut, tag="ledger",
    ),
    Route(
        method="GET", path="/ledger/findings", does=books.verify_ledger,
        summary="Prove the books; whatever is found is wrong",
        query=FindingQuery, answer=FindingsOut, tag="ledger",
    ),
    Route(
        method="GET", path="/audit", does=books.list_audit, summary="List changes, the newest first",
        query=AuditQuery, answer=Page[AuditOut], tag="audit",
    ),
]  # fmt: skip


_ADMINS = [
    Route(
        method="GET", path="/admins", does=administrators.list_admins, summary="List administrators by name",
        query=TextPage, answer=Page[AdminOut], admins_only=True, tag="admins",
    ),
    Route(
        method="POST", path="/admins/{name}/revoke", does=administrators.revoke_admin,
        summary="Revoke an administrator's token, but not that of the last one who may change something",
        of=UserPath, status=204, conflicts=True, tag="admins",
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
        method="GET", path="/openapi.json", does=show_document, summary="Show this document",
        answer=dict[str, Any], tag="about",
    ),
]  # fmt: skip

ROUTES = [*_USERS, *_TOKENS, *_MONEY, *_BUDGETS, *_BOOKS, *_ADMINS, *_ABOUT]
