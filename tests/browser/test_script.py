"""The console's script: what it adds to pages that work without it."""

from playwright.async_api import Page

from tests.browser.conftest import Browse
from tests.support.agent import Agent
from tests.support.database import connected
from tests.support.upstream import Upstream

# By the page itself: Playwright waits for the answer before its next action.
TWO_CLICKS = """
  const button = document.querySelector("#new [type=submit]");
  button.click();
  setTimeout(() => { button.click(); console.info("clicked twice"); }, 50);
"""


async def test_chart_is_drawn_from_its_table(browse_console: Browse, agent: Agent, upstream: Upstream) -> None:
    """The table is folded then, and can be opened."""
    await agent.chat()
    await agent.rows(1)
    visit = await browse_console()
    await visit.open(f"{agent.admin_url}/console/users/alice")
    assert await visit.evaluate("document.querySelector('.chart canvas').getAttribute('role')") == "img"
    assert await visit.evaluate("document.querySelector('.figures-of-chart').open") is False
    ink = "Chart.getChart(document.querySelector('.chart canvas')).data.datasets[0].data.some((value) => value > 0)"
    assert await visit.evaluate(ink)


async def test_times_are_those_of_the_browser(browse_console: Browse, agent: Agent) -> None:
    """The time zone of reports stands in the tooltip."""
    visit = await browse_console()
    await visit.open(f"{agent.admin_url}/console/tokens/1")
    times = "[...document.querySelectorAll('main time')].map((each) => [each.dateTime, each.textContent, each.title])"
    for moment, text, title in await visit.evaluate(times):
        local = f"new Date('{moment}').toLocaleString('en', {{dateStyle: 'medium', timeStyle: 'medium'}})"
        assert (text, title != "") == (await visit.evaluate(local), True)


async def test_value_is_copied(browse_console: Browse, agent: Agent) -> None:
    """The button says that it was."""
    visit = await browse_console()
    await visit.open(f"{agent.admin_url}/console/tokens/1")
    assert await visit.copy("main dd button.copy") == "1"


async def test_form_is_sent_once(browse_console: Browse, agent: Agent, dsn: str) -> None:
    """A second click, while the answer to the first one is on its way, does nothing."""
    visit = await browse_console()
    await visit.open(f"{agent.admin_url}/console/users/alice/new-token")

    async def click_twice(page: Page) -> None:
        async with page.expect_console_message():
            await page.evaluate(TWO_CLICKS)

    with connected(dsn) as cursor:
        cursor.execute("BEGIN; LOCK TABLE tokens IN EXCLUSIVE MODE")
        await visit.act(click_twice)
        cursor.execute("COMMIT")
    await visit.act(lambda page: page.locator(".secret").wait_for())
    await agent.until(lambda: agent.server.lifecycle.in_progress == 0)
    assert len(await agent.administration.tokens.list("alice")) == 2


async def test_form_that_is_returned_to_can_be_sent(browse_console: Browse, agent: Agent) -> None:
    """Its button works again."""
    visit = await browse_console()
    await visit.open(f"{agent.admin_url}/console/users/alice/new-token")
    await visit.press("Issue the token")
    await visit.act(lambda page: page.go_back())
    assert await visit.act(lambda page: page.locator("#new [type=submit]").is_enabled())
