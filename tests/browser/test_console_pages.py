"""Every page of the console in a real browser, with three months of made-up usage: two widths, light and dark, both
languages, with and without script. Each page is checked as `Visit` says."""

from typing import Any

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.demo.contents import fill
from tests.browser.conftest import Browse
from tests.support.agent import Agent
from tests.support.console import add_admin, sign_in
from tests.support.console_pages import address, pages_to_show

pytestmark = pytest.mark.shared_agent

FILES = {"/requests.csv", "/price-export", "/system/openapi.json"}
UNFOLD = "document.querySelectorAll('main details').forEach((each) => (each.open = true))"
HOSTILE = ["<script>alert(1)</script>", "用" * 128, "مستخدم يكتب من اليمين", "🤖" * 40, "x" * 128]


class World:
    """An agent with made-up usage, and the session of an admin."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.session = ""
        self.row = ""

    async def build(self) -> None:
        """Adds users, prices and rows."""
        await fill(self.agent.administration, self.agent.store, days=40, busy=1)
        await add_admin(self.agent, "eve")
        client = await sign_in(self.agent)
        self.session = client.cookies["__Host-session"]
        [row] = await self.agent.administration.ledger.rows(limit=1)
        self.row = str(row.request_id)

    @property
    def url(self) -> str:
        """The address of the console."""
        return f"{self.agent.admin_url}/console"


@pytest.fixture
def world(agent: Agent, io_loop: IOLoop) -> World:
    """The agent with its usage."""
    world = World(agent)
    io_loop.run_sync(world.build, timeout=60)
    return world


async def visit(browse: Browse, world: World, **device: Any) -> Any:
    """Begins the visit of an admin who is signed in."""
    visit = await browse(**device)
    await visit.set_cookie(world.url, "__Host-session", world.session)
    return visit


@pytest.mark.parametrize(
    "device",
    [
        {"width": 1440},
        {"width": 375, "dark": True, "language": "zh-CN"},
        {"width": 375, "script": False},
    ],
    ids=["wide", "narrow-dark-chinese", "narrow-no-script"],
)
@pytest.mark.slow
async def test_every_page_is_without_fault(browse: Browse, world: World, device: dict[str, Any]) -> None:
    """No error, no other host, nothing too wide, nothing that axe-core objects to."""
    browser = await visit(browse, world, **device)
    for page in pages_to_show():
        if page.path not in FILES:
            assert await browser.open(world.url + address(page, world.row)) == 200, page.path
            await browser.evaluate(UNFOLD)


async def test_hostile_names_look_right_and_do_nothing(browse: Browse, world: World) -> None:
    """HTML, very long names, names from right to left, emoji: on each page that shows them."""
    for name in HOSTILE:
        await world.agent.add_user(name)
    browser = await visit(browse, world, width=375)
    for path in ("/users", "/users/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/audit", "/budgets"):
        assert await browser.open(world.url + path) == 200
    assert await browser.evaluate("window.alerted") is None


async def test_chart_shows_what_the_table_has(browse: Browse, world: World) -> None:
    """The sum of what Chart.js draws is the cost in the ledger."""
    browser = await visit(browse, world)
    await browser.open(world.url)
    drawn = await browser.evaluate(
        """Chart.getChart(document.querySelector(".chart canvas")).data.datasets
           .flatMap((each) => each.data).reduce((sum, value) => sum + (value ?? 0), 0)"""
    )
    overview = await world.agent.administration.overview.read([])
    assert drawn == pytest.approx(float(sum(each.cost for each in overview.models_by_day)))
    assert drawn > 1


async def test_keyboard_reaches_the_content(browse: Browse, world: World) -> None:
    """The first tab stop leads past the navigation."""
    browser = await visit(browse, world)
    await browser.open(world.url)

    async def tab(page: Any) -> Any:
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        return await page.evaluate("location.hash")

    assert await browser.act(tab) == "#content"


async def test_language_and_colors_are_chosen(browse: Browse, world: World) -> None:
    """The page is in the other language at once, and stays so."""
    browser = await visit(browse, world)
    await browser.open(world.url)
    await browser.act(lambda page: page.locator("details.account summary").click())
    await browser.press("简体中文")
    assert await browser.evaluate("document.documentElement.lang") == "zh-Hans"
    assert "概览" in await browser.text("h1")
