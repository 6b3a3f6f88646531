"""All pages of the console in a real browser, with names that break layouts."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest

from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.web.console.routes import PAGES
from tests.browser.conftest import Browse
from tests.support.agent import MODEL, Agent
from tests.support.budgets import set_budget
from tests.support.upstream import Upstream

NAMES = ["<script>alert(1)</script>", "王" * 120, "שלום", "🙂 " + "e\u0301mile-" * 10 + "x"]
FILES = {"/price-export", "/requests.csv", "/system/openapi.json"}
DEVICES = [
    pytest.param({}, id="wide"),
    pytest.param({"width": 375, "dark": True, "language": "zh-CN"}, id="narrow-dark-chinese"),
]
UNFOLD = "document.querySelectorAll('main details').forEach((each) => (each.open = true))"
EXAMPLES = {"users": NAMES[1], "tokens": 1, "budgets": 1, "prices": MODEL, "admins": "carol"}


def paths(request_id: str) -> Iterator[str]:
    """The addresses of all pages that show something, with an example of each object."""
    examples = {**EXAMPLES, "requests": request_id}
    for page in PAGES:
        if page.get and not page.public and page.path not in FILES:
            example = str(examples.get(page.path.strip("/").split("/")[0], ""))
            yield re.sub(r"{\w+}", quote(example), page.path)


async def fill_in(agent: Agent) -> str:
    """Adds users with such names, a budget, and a request, whose id is returned."""
    for number, name in enumerate(NAMES):
        await agent.add_user(name, f"sk-made-up-{number}")
    await set_budget(agent, Decimal(1), period=Period.MONTH)
    await agent.chat()
    [row] = await agent.rows(1)
    return str(row["request_id"])


@pytest.mark.parametrize("device", DEVICES)
async def test_pages_are_without_fault(
    browse_console: Browse, agent: Agent, upstream: Upstream, device: dict[str, Any]
) -> None:
    """`Visit` says what is checked on each of them."""
    request_id = await fill_in(agent)
    visit = await browse_console(**device)
    statuses = {}
    for path in paths(request_id):
        statuses[path] = await visit.open(f"{agent.admin_url}/console{path}")
        await visit.evaluate(UNFOLD)
    assert len(statuses) > 30
    assert {path: status for path, status in statuses.items() if status != 200} == {}


@pytest.mark.parametrize("device", DEVICES)
async def test_pages_of_errors_are_without_fault(
    browse_console: Browse, browse: Browse, agent: Agent, device: dict[str, Any]
) -> None:
    """Those of an admin, and those before the sign-in."""
    admin, stranger = await browse_console(**device), await browse(**device)
    for visit, path, status in (
        (admin, "/nothing-is-here", 404),
        (admin, "/users/made-up", 404),
        (admin, "/budgets/999", 404),
        (stranger, "/login", 200),
        (stranger, "/users", 200),
        (stranger, "/first-run?code=made-up", 200),
    ):
        assert (path, await visit.open(f"{agent.admin_url}/console{path}")) == (path, status)
