"""The console's pages of errors, and those before the sign-in, in a real browser."""

from typing import Any

import pytest

from tests.browser.conftest import Browse
from tests.support.agent import Agent

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "device",
    [
        pytest.param({}, id="wide"),
        pytest.param({"width": 375, "dark": True, "language": "zh-CN"}, id="narrow-dark-chinese"),
    ],
)
async def test_pages_of_errors_are_without_fault(
    browse_console: Browse, browse: Browse, agent: Agent, device: dict[str, Any]
) -> None:
    """`Visit` says what is checked on each of them."""
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
