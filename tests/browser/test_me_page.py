"""The page of a token in a real browser: on every device, with and without script."""

from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.core.budget.period import Period
from tests.browser.conftest import Browse
from tests.support.agent import MODEL, Agent
from tests.support.budgets import set_budget
from tests.support.canaries import SECRETS
from tests.support.upstream import Upstream

pytestmark = pytest.mark.slow

DEVICES = [
    pytest.param({}, id="wide"),
    pytest.param({"dark": True, "language": "zh-CN"}, id="wide-dark-chinese"),
    pytest.param({"width": 375, "script": False}, id="narrow-without-script"),
    pytest.param({"width": 375, "dark": True}, id="narrow-dark"),
]


async def use(agent: Agent) -> None:
    """Lets alice spend something of a budget, with two models and a long name."""
    await set_budget(agent, Decimal("2.5"), period=Period.MONTH)
    await agent.set_price("gpt-6-" + "very-long-name-" * 6, "1", "2")
    await agent.chat()
    await agent.rows(1)
    await agent.store.fetch("UPDATE tokens SET label = '王小明的 <b>laptop</b> 🙂'")


@pytest.mark.parametrize("device", DEVICES)
async def test_page_of_a_token(browse: Browse, agent: Agent, upstream: Upstream, device: dict[str, Any]) -> None:
    """It shows the usage, and keeps no cookie."""
    await use(agent)
    visit = await browse(**device)
    await visit.open(f"{agent.url}/me/page")
    await visit.fill(token=agent.token)
    await visit.act(lambda page: page.locator("#show button").click())
    await visit.act(lambda page: page.locator("#models").wait_for())
    assert MODEL in await visit.text("#models")
    assert "王小明的 <b>laptop</b> 🙂" in await visit.text("h1")
    assert await visit.evaluate("document.querySelectorAll('#spend canvas').length") == int(visit.device.script)
    assert await visit.cookies() == set()
    await visit.check()


@pytest.mark.parametrize("script", [True, False])
async def test_token_is_replaced(browse: Browse, agent: Agent, script: bool) -> None:
    """The new one is copied by its button, where there is script."""
    visit = await browse(width=375, script=script)
    await visit.open(f"{agent.url}/me/page")
    await visit.act(lambda page: page.locator("summary", has_text="Replace the token").click())
    await visit.act(lambda page: page.locator("#rotate [name=token]").fill(agent.token))
    await visit.act(lambda page: page.locator("#rotate button").click())
    await visit.act(lambda page: page.locator(".secret").wait_for())
    token = await visit.text(".secret code")
    SECRETS.add(token)
    await agent.until(lambda: agent.works(token))
    if script:
        assert await visit.copy(".secret button") == token
    await visit.check()


async def test_wrong_token_is_typed_again(browse: Browse, agent: Agent) -> None:
    """What else was typed is still there."""
    visit = await browse(width=375)
    await visit.open(f"{agent.url}/me/page")
    await visit.fill(token="cga_made-up-and-wrong")
    await visit.act(lambda page: page.locator("#show [name=days]").select_option("90"))
    await visit.press("Show")
    assert await visit.evaluate("document.querySelector('#show [name=days]').value") == "90"
    await visit.fill(token=agent.token)
    await visit.press("Show")
    assert "Last 90 days" in await visit.text("main")
    await visit.check()


@pytest.mark.parametrize("device", DEVICES)
async def test_form_of_a_new_token_is_accessible(browse: Browse, agent: Agent, device: dict[str, Any]) -> None:
    """It is checked unfolded, where its button has the focus and the pointer."""
    visit = await browse(**device)
    await visit.open(f"{agent.url}/me/page?language=zh")
    await visit.act(lambda page: page.locator("summary").last.click())
    assert await visit.evaluate("document.querySelector('details').open")
    await visit.check()
