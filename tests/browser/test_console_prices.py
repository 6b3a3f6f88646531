"""The steps of prices that begin with a form, in a real browser: what is shown before something is set."""

import pytest
from playwright.async_api import FilePayload

from tests.browser.conftest import Browse
from tests.support.agent import MODEL, Agent
from tests.support.console import sign_in

pytestmark = pytest.mark.shared_agent


async def test_price_is_shown_then_set(browse: Browse, agent: Agent) -> None:
    """Each page is without fault on a telephone."""
    client = await sign_in(agent)
    browser = await browse(width=375)
    url = f"{agent.admin_url}/console"
    await browser.set_cookie(url, "__Host-session", client.cookies["__Host-session"])
    await browser.open(f"{url}/new-price?model={MODEL}&input=0.30&output=0.60&tiers=flex:x0.5")
    await browser.press("Show what it changes")
    assert "Tier: + flex:x0.5" in await browser.text("main")
    await browser.press("Set it")
    assert f"The price of {MODEL} is set" in await browser.text("main")


async def test_list_is_shown_then_set(browse: Browse, agent: Agent) -> None:
    """The file is chosen once."""
    client = await sign_in(agent)
    browser = await browse(width=375, dark=True)
    url = f"{agent.admin_url}/console"
    await browser.set_cookie(url, "__Host-session", client.cookies["__Host-session"])
    await browser.open(f"{url}/price-import")
    file: FilePayload = {"name": "prices.csv", "mimeType": "text/csv", "buffer": b"model,input,output\ngpt-new,1,2\n"}
    await browser.act(lambda page: page.locator("input[type=file]").set_input_files(file))
    await browser.press("Show what it changes")
    assert "gpt-new" in await browser.text("main")
    await browser.press("Set all of it")
    assert "1 price is set." in await browser.text("main")
