"""The pages of the console, and its routes."""

import re
from typing import Any

from chatgpt_agent.core.errors import NotFound
from chatgpt_agent.web.console import (
    admins,
    audit,
    books,
    books_check,
    books_compare,
    budget_changes,
    budgets,
    languages,
    overview,
    pages,
    price_details,
    price_form,
    price_import,
    prices,
    request_details,
    requests,
    rest_docs,
    setup,
    shutdowns,
    surcharges,
    system,
    tokens,
    user,
    user_changes,
    user_import,
    users,
    what_if,
)
from chatgpt_agent.web.console.assets import ASSETS, AssetHandler
from chatgpt_agent.web.console.handler import ConsoleHandler
from chatgpt_agent.web.console.parts import Result
from chatgpt_agent.web.console.routing import PREFIX, ConsoleRequest, ConsoleServices, Page

PAGES: list[Page] = [
    *overview.PAGES,
    *pages.PAGES,
    *request_details.PAGES,
    *requests.PAGES,
    *setup.PAGES,
    *system.PAGES,
    *rest_docs.PAGES,
    *users.PAGES,
    *user.PAGES,
    *user_changes.PAGES,
    *tokens.PAGES,
    *user_import.PAGES,
    *audit.PAGES,
    *books.PAGES,
    *books_check.PAGES,
    *books_compare.PAGES,
    *budget_changes.PAGES,
    *budgets.PAGES,
    *admins.PAGES,
    *prices.PAGES,
    *price_form.PAGES,
    *price_details.PAGES,
    *price_import.PAGES,
    *what_if.PAGES,
    *surcharges.PAGES,
    *shutdowns.PAGES,
]


async def _not_found(request: ConsoleRequest) -> Result:
    raise NotFound(request._("There is nothing at this address of the console."))


_NOT_FOUND = Page(path="{path}", get=_not_found)


def console_handlers(services: ConsoleServices) -> list[Any]:
    """Returns Tornado's routes of all pages."""
    languages.load()
    return [
        *((_pattern(page.path), ConsoleHandler, {"services": services, "page": page}) for page in PAGES),
        (f"{PREFIX}/static/(.+)", AssetHandler, {"assets": ASSETS}),
        (f"{PREFIX}(/.*)", ConsoleHandler, {"services": services, "page": _NOT_FOUND}),
    ]


def _pattern(path: str) -> str:
    return PREFIX + re.sub(r"{\w+}", "([^/]+)", path) + "/?"
