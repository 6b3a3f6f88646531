"""What each role may do on every page of the table."""

from decimal import Decimal

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.web.console.routes import PAGES
from tests.support.console import ConsoleClient, add_admin
from tests.support.console_pages import address, pages_to_show
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent

FILES = {"/requests.csv", "/price-export", "/system/openapi.json"}


@pytest.fixture
def row(admin: ConsoleClient, upstream: Upstream, io_loop: IOLoop) -> str:
    """The id of a request; there are a budget and a second admin, too."""

    async def make() -> str:
        await add_admin(admin.agent, "eve")
        await admin.agent.administration.budgets.set(user="alice", period=Period.MONTH, amount=Decimal(5))
        answer = await admin.agent.chat()
        await admin.agent.flush()
        return str(answer.header("X-Agent-Request-Id"))

    return str(io_loop.run_sync(make))


async def test_admin_sees_every_page(admin: ConsoleClient, row: str) -> None:
    """Each answers 200 with a page or a file, or leads to one."""
    for page in pages_to_show():
        answer = await admin.fetch("GET", address(page, row))
        assert answer.status in (200, 303), page.path
        if answer.status == 200 and page.path not in FILES:
            assert answer.header("Content-Type") == "text/html; charset=utf-8", page.path


async def test_viewer_sees_what_is_not_for_admins_only(viewer: ConsoleClient, row: str) -> None:
    """The pages of changes are closed, and no page has a form that changes something."""
    for page in pages_to_show():
        if page.public:
            continue
        answer = await viewer.fetch("GET", address(page, row))
        assert answer.status == (403 if page.admins_only else 200), page.path


async def test_viewer_can_change_nothing(viewer: ConsoleClient, row: str) -> None:
    """Each form is refused before it is read."""
    form = (await viewer.get("/password")).form("password")
    [(before,)] = await viewer.agent.store.fetch("SELECT count(*) FROM audit_log")
    for page in PAGES:
        if page.post is None or page.public or page.read_only:
            continue
        answer = await viewer.send(address(page, row), form)
        assert answer.status == 403, page.path
    [(after,)] = await viewer.agent.store.fetch("SELECT count(*) FROM audit_log")
    assert after == before


async def test_stranger_is_asked_to_sign_in(stranger: ConsoleClient, row: str) -> None:
    """On every page that is not open to all."""
    for page in pages_to_show():
        if not page.public:
            answer = await stranger.fetch("GET", address(page, row))
            assert (answer.status, (answer.header("Location") or "")[:14]) == (303, "/console/login"), page.path


async def test_form_of_a_stranger_is_not_carried_out(stranger: ConsoleClient, row: str) -> None:
    """The sign-in page is the answer."""
    token = (await stranger.get("/login")).form("login")["_xsrf"]
    [(before,)] = await stranger.agent.store.fetch("SELECT count(*) FROM audit_log")
    for page in PAGES:
        if page.post is not None and not page.public:
            answer = await stranger.send(address(page, row), {"_xsrf": token})
            assert answer.status == 401, page.path
    [(after,)] = await stranger.agent.store.fetch("SELECT count(*) FROM audit_log")
    assert after == before


async def test_form_without_its_token_is_refused(admin: ConsoleClient, row: str) -> None:
    """On every page that does something."""
    for page in PAGES:
        if page.post is not None:
            assert (await admin.send(address(page, row), {"form": "x"})).status == 403, page.path


async def test_page_of_another_host_name_is_refused(admin: ConsoleClient, row: str) -> None:
    """On every page, so that a name that was pointed at this address gets nothing."""
    for page in pages_to_show():
        assert (await admin.fetch("GET", address(page, row), Host="evil.example")).status == 421, page.path
