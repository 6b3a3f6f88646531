"""The route table: the routes of each file, and the document made from them."""

import asyncio
import functools
from typing import Any

import msgspec

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


@functools.cache
def openapi_json() -> bytes:
    """Returns the JSON of that document. Making it takes some 0.2 s the first time: call it in a thread."""
    return msgspec.json.encode(openapi())


async def show_document(request: AdminRequest[Empty, Empty, None]) -> msgspec.Raw:
    return msgspec.Raw(await asyncio.to_thread(openapi_json))


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
