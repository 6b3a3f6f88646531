"""The pictures of the console in docs/screenshots, with three months of made-up usage.

SCREENSHOTS=1 .venv/bin/python -m pytest tests/browser/test_screenshots.py    draws them
"""

import json
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from chatgpt_agent.admin.reconcile import read_body
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.ledger import State
from tests.browser.conftest import Browse
from tests.support.agent import MODEL, Agent
from tests.support.browser import Visit
from tests.support.console import sign_in
from tests.support.made_up_usage import fill

pytestmark = [
    pytest.mark.shared_agent(public_url="https://openai.example.com"),
    pytest.mark.skipif(os.environ.get("SCREENSHOTS") != "1", reason="SCREENSHOTS=1 draws the pictures of the docs"),
]

FOLDER = Path(__file__).parents[2] / "docs/screenshots"
HEIGHT = 1400  # pixels
HEIGHTS = {"requests": 900}
DAYS = 90
COMPARED_DAYS = 29  # that the overview has, without today
DAY_SECONDS = 86_400
BUDGETS = {"alice": "12", "bob": "4", "chen wei": "20", "emil": "15", "fatima": "3.20"}

# The users are as old as their usage, and their tokens have been used.
AGE = f"""UPDATE users SET created_at = created_at - interval '{DAYS} days';
          UPDATE tokens SET created_at = created_at - interval '{DAYS} days';
          INSERT INTO token_uses SELECT token_id, max(started_at) FROM usage GROUP BY token_id"""

REPLACED = {
    "cga_[\\w-]{30,}": "cga_made-up-token-of-bob-0123456789abcdefghij",
    "http://127.0.0.1:\\d+/": "https://api.openai.com/",
    "^t_[0-9a-f]{8,}$": "postgres",
}
REPLACE = """{
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replace(new RegExp(%s, "g"), %s);
}"""


async def build(agent: Agent) -> str:
    """Adds usage, a check of the ledger and a comparison with OpenAI's figures; returns the id of a request."""
    administration = agent.administration
    await fill(administration, agent.store, days=DAYS, busy=3)
    await agent.store.fetch(AGE)
    for user, amount in BUDGETS.items():
        await administration.budgets.set(user=user, period=Period.MONTH, amount=Decimal(amount))
    await agent.follow()
    await agent.chat()  # so that OpenAI has answered this agent
    await agent.flush()
    await administration.ledger.verify()
    await administration.reconciler.reconcile(await read_body(await costs_of(agent)))
    rows = await administration.ledger.rows(states=[State.DONE], limit=40)
    return str(max(rows, key=lambda row: row.cached_tokens or 0).request_id)


async def costs_of(agent: Agent) -> bytes:
    """Returns OpenAI's costs as in the ledger, but for one model on one day."""
    overview = await agent.administration.overview.read()
    buckets = []
    for ago in range(COMPARED_DAYS, 0, -1):
        day = overview.today - timedelta(days=ago)
        costs = {each.name: each.cost for each in overview.models_by_day if each.day == day}
        if ago == 9:
            costs[MODEL] = costs.get(MODEL, Decimal(0)) + Decimal("0.40")
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        results = [
            {
                "object": "organization.costs.result",
                "amount": {"value": float(cost), "currency": "usd"},
                "line_item": f"{model}, input",
            }
            for model, cost in costs.items()
        ]
        buckets.append({"start_time": start, "end_time": start + DAY_SECONDS, "results": results})
    return json.dumps({"data": buckets}).encode()


async def picture(visit: Visit, name: str) -> None:
    """Draws the page, with common names in the place of those of the test's own database and servers."""
    for pattern, text in REPLACED.items():
        await visit.evaluate(REPLACE % (json.dumps(pattern), json.dumps(text)))
    await visit.screenshot(FOLDER / f"{name}.png", HEIGHTS.get(name, HEIGHT))


async def draw(visit: Visit, url: str, pages: dict[str, str], suffix: str = "") -> None:
    """Draws pages, by the names of their files."""
    for name, path in pages.items():
        assert await visit.open(url + path) == 200, path
        await picture(visit, name + suffix)


async def test_pictures_of_the_docs(browse: Browse, agent: Agent) -> None:
    """Each page is checked as in other tests, and drawn."""
    FOLDER.mkdir(exist_ok=True)
    session = (await sign_in(agent)).cookies["__Host-session"]
    url = f"{agent.admin_url}/console"

    async def visit(**device: Any) -> Visit:
        visit = await browse(**device)
        await visit.set_cookie(url, "__Host-session", session)
        return visit

    wide = await visit()
    await agent.store.fetch("DELETE FROM prices")
    await draw(wide, url, {"setup": "/setup"})
    row = await build(agent)
    pages = {
        "overview": "",
        "users": "/users",
        "user": f"/users/{quote('chen wei')}",
        "requests": "/requests",
        "request": f"/requests/{row}",
        "budgets": "/budgets",
        "prices": "/prices",
        "books": "/books",
        "system": "/system",
    }
    await draw(wide, url, pages)
    await draw_new_token(wide, url)
    await draw_page_of_token(await browse(), agent)
    narrow = {name: pages[name] for name in ("overview", "request")}
    await draw(await visit(width=375, dark=True), url, narrow, "-narrow-dark")
    chinese = {name: pages[name] for name in ("overview", "users")}
    await draw(await visit(language="zh-CN"), url, chinese, "-zh")


async def draw_new_token(visit: Visit, url: str) -> None:
    """Issues a token for bob."""
    await visit.open(f"{url}/users/bob/new-token")
    await visit.fill(label="laptop")
    await visit.press("Issue the token")
    await picture(visit, "new-token")


async def draw_page_of_token(visit: Visit, agent: Agent) -> None:
    """Shows alice what she has used."""
    await visit.open(f"{agent.url}/me/page")
    await visit.fill(token=agent.token)
    await visit.act(lambda page: page.locator("#show button").click())
    await visit.act(lambda page: page.locator("#models").wait_for())
    await picture(visit, "page-of-a-token")
