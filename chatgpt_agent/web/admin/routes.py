"""The route table: the routes of each file, and the document made from them."""

import functools
from typing import Any

from chatgpt_agent.web.admin import (
    admins,
    audit,
    budgets,
    ledger,
    prices,
    surcharges,
    system,
    tokens,
    usage,
    user_import,
    users,
)
from chatgpt_agent.web.admin.openapi import document
from chatgpt_agent.web.admin.routing import AdminRequest, Route
from chatgpt_agent.web.admin.schemas import Empty

PREFIX = "/api/v1"


@functools.cache
def openapi() -> dict[str, Any]:
    """Returns the OpenAPI document of this table."""
    return document(ROUTES, PREFIX)


async def show_document(request: AdminRequest[Empty, Empty, None]) -> dict[str, Any]:
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
    *prices.ROUTES,
    *surcharges.ROUTES,
    *budgets.ROUTES,
    *usage.ROUTES,
    *ledger.ROUTES,
    *audit.ROUTES,
    *admins.ROUTES,
    *system.ROUTES,
    *_ABOUT,
]
