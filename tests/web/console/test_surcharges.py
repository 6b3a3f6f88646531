"""Surcharges in the console."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.support.agent import MODEL
from tests.support.console import ConsoleClient, PageAnswer

pytestmark = pytest.mark.shared_agent

TOMORROW = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M}"


async def set_one(browser: ConsoleClient, **values: str) -> PageAnswer:
    """Sends the form."""
    return await browser.submit("/surcharges", "new", **{"kind": "web_search", "amount": "0.01", **values})


async def press(browser: ConsoleClient, page: PageAnswer, label: str) -> PageAnswer:
    """Sends the form of a button."""
    [form] = [form for form in page.main.all("form") if form.text == label]
    fields = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
    return await browser.send(form.attributes["action"].removeprefix("/console"), fields)


async def amounts(browser: ConsoleClient) -> list[tuple[str, Decimal | None]]:
    """The surcharges in force."""
    return [(each.kind, each.amount) for each in await browser.agent.administration.surcharges.in_force()]


async def test_surcharge_is_set(admin: ConsoleClient) -> None:
    """The list, the model's page and the audit log have it."""
    page = await set_one(admin, amount="25", per_1000="true")
    assert [row[:4] for row in page.rows("surcharges")] == [["web search, a call", "–", "every model", "$0.025"]]
    assert (await admin.get(f"/prices/{MODEL}")).rows("surcharges")[0][1:3] == ["$0.025", "every model"]
    [row] = await admin.agent.administration.audit.list(object="surcharges", limit=9)
    assert (row.actor, row.via, row.action) == ("carol", "console", "insert")


async def test_surcharge_ends_and_is_set_again(admin: ConsoleClient) -> None:
    """The notice undoes it."""
    page = await press(admin, await set_one(admin), "End it")
    assert "The surcharge ends" in page.text
    assert await amounts(admin) == []
    await press(admin, page, "Undo")
    assert await amounts(admin) == [("web_search", Decimal("0.01"))]


async def test_surcharge_of_a_later_date_is_cancelled(admin: ConsoleClient) -> None:
    """It can be set again."""
    page = await set_one(admin, effective_at=TOMORROW)
    assert len(page.rows("upcoming")) == 1
    page = await press(admin, page, "Cancel")
    assert page.rows("upcoming") == []
    assert len((await press(admin, page, "Undo")).rows("upcoming")) == 1


async def test_factor_of_a_host_is_set(admin: ConsoleClient) -> None:
    """For the upstream unless another host is named."""
    page = await set_one(admin, kind="multiplier", amount="1.1", host="eu.api.openai.com")
    assert page.rows("surcharges")[0][1:4] == ["eu.api.openai.com", "every model", "× 1.1"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"amount": "much"}, "amount"),
        ({"amount": ""}, "amount"),
        ({"amount": "-1"}, "amount"),
        ({"host": "x.example"}, "host"),
        ({"kind": "multiplier", "per_1000": "true"}, "per_1000"),
        ({"effective_at": "soon"}, "effective_at"),
    ],
)
async def test_wrong_field_is_marked(admin: ConsoleClient, values: dict[str, str], field: str) -> None:
    """Nothing is set."""
    page = await set_one(admin, **values)
    assert page.status in (400, 422)
    assert page.root.all("small", id=f"new-{field}-error")
    assert await amounts(admin) == []


async def test_viewer_sees_them_only(admin: ConsoleClient, viewer: ConsoleClient) -> None:
    """Without buttons."""
    await set_one(admin)
    page = await viewer.get("/surcharges")
    assert len(page.rows("surcharges")) == 1
    assert "End it" not in page.text
    assert page.root.all("form", id="new") == []


async def test_error_of_a_button_is_shown(admin: ConsoleClient) -> None:
    """Above what the page shows."""
    form = (await admin.get("/surcharges")).form("new")
    page = await admin.send("/surcharges", {"_xsrf": form["_xsrf"], "kind": "web_search", "amount": "x"})
    assert page.status == 422
    assert "'x' is not an amount" in page.text
