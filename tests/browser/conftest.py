"""Fixtures for tests in a real browser. They are skipped where there is no Chromium; `-m "not browser"` leaves them
out."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.web.console.cookies import SESSION
from tests.support.agent import Agent
from tests.support.browser import CHROMIUM, Browser, Device, Visit
from tests.support.console import sign_in

Browse = Callable[..., Awaitable[Visit]]

SECONDS = 600  # for a test: those that visit all pages take 55 seconds on a busy machine with two cores


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that need a browser."""
    for item in items:
        if "browse" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
            item.add_marker(pytest.mark.gen_test(timeout=SECONDS), append=False)
            item.add_marker(pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, such as Debian's package"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser of all tests of this process."""
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browse(browser: Browser, io_loop: IOLoop, request: pytest.FixtureRequest) -> Iterator[Browse]:
    """Begins a visit with `await browse(width=375, dark=True, language="zh-CN", script=False)`: these are the fields of
    `Device`, and may be left out. Every page of every visit must be without fault; see `Visit`."""
    if "agent" in request.fixturenames:
        request.getfixturevalue("agent")  # which then ends later: the browser may still ask for an icon
    visits: list[Visit] = []

    async def begin(**device: Any) -> Visit:
        visits.append(Visit(browser, Device(**device)))
        await visits[-1].begin()
        return visits[-1]

    async def end() -> list[str]:
        return [fault for visit in visits for fault in await visit.end()]

    yield begin
    faults = io_loop.run_sync(end)
    assert not faults, "\n".join(faults)


@pytest.fixture
def browse_console(browse: Browse, agent: Agent) -> Browse:
    """Begins a visit of an admin who is signed in to the console; see `browse`."""

    async def begin(**device: Any) -> Visit:
        client = await sign_in(agent)
        visit = await browse(**device)
        await visit.set_cookie(agent.admin_url, SESSION, client.cookies[SESSION])
        return visit

    return begin
