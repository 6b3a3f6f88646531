"""The pictures of the console in docs/screenshots: of `chatgpt-agent demo`, with three months of made-up usage.

SCREENSHOTS=1 .venv/bin/python -m pytest tests/browser/test_screenshots.py    draws them
"""

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import pytest

from chatgpt_agent.core.ledger import State
from chatgpt_agent.demo.contents import UNPRICED
from tests.browser.conftest import Browse
from tests.support.agent import Agent
from tests.support.browser import Visit
from tests.support.console import sign_in
from tests.support.database import query
from tests.support.demo import Demo
from tests.support.postgres_server import server_folder
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(
    os.environ.get("SCREENSHOTS") != "1", reason="SCREENSHOTS=1 draws the pictures of the docs"
)

FOLDER = Path(__file__).parents[2] / "docs/screenshots"
HEIGHT = 1400  # pixels
HEIGHTS = {"requests": 900}
# A row with cached tokens, which has the longest proof.
PROVEN = "SELECT request_id FROM usage WHERE state = %s AND cached_tokens > 0 ORDER BY started_at DESC LIMIT 1"
USER = "data-platform"

REPLACED = {
    "cga_[\\w-]{30,}": "cga_made-up-token-0123456789abcdefghijklmnopqr",
    "http://127.0.0.1:\\d+/": "http://127.0.0.1:8080/",
}
REPLACE = """{
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replace(new RegExp(%s, "g"), %s);
}"""


@pytest.fixture
def demo() -> Iterator[Demo]:
    """The demonstration."""
    with server_folder() as folder, Demo(folder, "--port", "0", "--admin-port", "0") as demo:
        demo.wait()
        yield demo


async def picture(visit: Visit, name: str) -> None:
    """Draws the page, with the same token and port in each run."""
    for pattern, text in REPLACED.items():
        await visit.evaluate(REPLACE % (json.dumps(pattern), json.dumps(text)))
    await visit.screenshot(FOLDER / f"{name}.png", HEIGHTS.get(name, HEIGHT))


async def shows(visit: Visit, url: str, text: str) -> bool:
    """Whether a page has a text."""
    await visit.open(url)
    return text in str(await visit.evaluate("document.body.textContent"))


async def draw(visit: Visit, url: str, pages: dict[str, str], suffix: str = "") -> None:
    """Draws pages, by the names of their files."""
    for name, path in pages.items():
        assert await visit.open(url + path) == 200, path
        await picture(visit, name + suffix)


async def test_picture_of_the_setup(browse: Browse, agent: Agent) -> None:
    """The guide of the first run, which a demonstration does not have."""
    FOLDER.mkdir(exist_ok=True)
    url = f"{agent.admin_url}/console"
    await agent.store.fetch("DELETE FROM prices")
    wide = await browse()
    await wide.set_cookie(url, "__Host-session", (await sign_in(agent)).cookies["__Host-session"])
    await draw(wide, url, {"setup": "/setup"})


async def test_pictures_of_the_docs(browse: Browse, demo: Demo) -> None:
    """Each page is checked as in other tests, and drawn."""
    url = f"{demo.admin_url}/console"
    [(row,)] = query(demo.database_url, PROVEN, [State.DONE])

    async def visit(**device: object) -> Visit:
        visit = await browse(**device)
        await visit.open(f"{url}/login?{urlencode({'next': '/console'})}")
        await visit.fill(name=demo.name, password=demo.password)
        await visit.act(lambda page: page.locator("#login button").click())
        return visit

    wide = await visit()
    await until(partial(shows, wide, url, UNPRICED))  # the agent reports it a few seconds later
    pages = {
        "overview": "",
        "users": "/users",
        "user": f"/users/{USER}",
        "requests": "/requests",
        "request": f"/requests/{row}",
        "budgets": "/budgets",
        "prices": "/prices",
        "books": "/books",
        "system": "/system",
    }
    await draw(wide, url, pages)
    await draw_new_token(wide, url)
    await draw_page_of_token(await browse(), demo)
    narrow = {name: pages[name] for name in ("overview", "request")}
    await draw(await visit(width=375, dark=True), url, narrow, "-narrow-dark")
    chinese = {name: pages[name] for name in ("overview", "users")}
    await draw(await visit(language="zh-CN"), url, chinese, "-zh")


async def draw_new_token(visit: Visit, url: str) -> None:
    """Issues a token."""
    await visit.open(f"{url}/users/feedback-bot/new-token")
    await visit.fill(label="laptop")
    await visit.press("Issue the token")
    await picture(visit, "new-token")


async def draw_page_of_token(visit: Visit, demo: Demo) -> None:
    """Shows a user what it has used."""
    await visit.open(f"{demo.url}/me/page")
    await visit.fill(token=demo.token)
    await visit.act(lambda page: page.locator("#show button").click())
    await visit.act(lambda page: page.locator("#models").wait_for())
    await picture(visit, "page-of-a-token")
