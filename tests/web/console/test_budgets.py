"""Budgets in the console: the list, and every change with its trace in the audit log."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from chatgpt_agent.core.budget.period import Period
from tests.support.console import ConsoleClient
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent

TOMORROW = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M}"


async def set_budget(browser: ConsoleClient, amount: str = "10", user: str = "alice") -> int:
    """Sets a budget of a month, and returns its id."""
    budgets = browser.agent.administration.budgets
    return (await budgets.set(user=user, period=Period.MONTH, amount=Decimal(amount))).id


async def actions(browser: ConsoleClient) -> list[str]:
    """The actions on budgets through the console, the newest first."""
    rows = await browser.agent.administration.audit.list(object="budgets", limit=99)
    return [row.action for row in rows if row.via == "console"]


async def test_budget_is_set(admin: ConsoleClient) -> None:
    """The list has it, with nothing spent."""
    page = await admin.submit("/budgets", "new", user="alice", period="week", amount="12.50")
    assert "alice may spend $12.50" in page.text
    [row] = page.rows("budgets")
    assert row[:2] + row[2:4] == ["alice", "–", "a week", "$12.50"]
    assert row[6:7] + row[9:10] == ["$12.50", "open"]
    assert await actions(admin) == ["insert"]


async def test_budget_of_a_token_is_set(admin: ConsoleClient) -> None:
    """By the id of the token."""
    page = await admin.submit("/budgets", "new", token="1", period="total", amount="3")
    assert page.rows("budgets")[0][:3] == ["alice", "1", "in total"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"user": "alice", "token": "1", "amount": "1"}, "user"),
        ({"amount": "1"}, "user"),
        ({"user": "alice", "amount": "much"}, "amount"),
        ({"user": "alice", "amount": ""}, "amount"),
    ],
)
async def test_wrong_field_is_marked(admin: ConsoleClient, fields: dict[str, str], field: str) -> None:
    """Nothing is set, and what was typed is kept."""
    page = await admin.submit("/budgets", "new", **fields)
    assert page.status in (400, 422)
    assert page.root.all("small", id=f"new-{field}-error")
    assert page.form("new")["amount"] == fields["amount"]
    assert await actions(admin) == []


async def test_amount_is_changed_and_changed_back(admin: ConsoleClient) -> None:
    """The notice has a button that undoes it."""
    id_ = await set_budget(admin)
    page = await admin.submit(f"/budgets/{id_}", "change", amount="20")
    assert "The budget is $20.00 now." in page.text
    [undo] = [form for form in page.main.all("form") if form.text == "Undo"]
    fields = {each.attributes["name"]: each.attributes["value"] for each in undo.all("input")}
    await admin.send(undo.attributes["action"].removeprefix("/console"), fields)
    assert (await admin.agent.administration.budgets.get(id_)).amount == 10


async def test_change_of_another_admin_is_not_undone(admin: ConsoleClient) -> None:
    """The form of an older version is refused; what was typed is kept."""
    id_ = await set_budget(admin)
    form = (await admin.get(f"/budgets/{id_}")).form("change")
    await set_budget(admin, "15")
    page = await admin.send(f"/budgets/{id_}/change", {**form, "amount": "20"})
    assert (page.status, page.form("change")["amount"]) == (412, "20")
    assert "Another admin has changed this meanwhile" in page.text
    assert (await admin.agent.administration.budgets.get(id_)).amount == 15


async def test_budget_is_raised_until_a_date(admin: ConsoleClient) -> None:
    """The list shows the amount in force; the raise can be ended."""
    id_ = await set_budget(admin)
    page = await admin.submit(f"/budgets/{id_}", "raise", amount="50", until=TOMORROW)
    assert "The budget is $50.00 until" in page.text
    [row] = (await admin.get("/budgets")).rows("budgets")
    assert (row[3], row[9]) == ("$50.00", "raised")
    page = await admin.get(f"/budgets/{id_}")
    [form] = [each for each in page.main.all("form") if each.text == "End the raise"]
    fields = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
    page = await admin.send(f"/budgets/{id_}/end-raise", fields)
    assert "The budget is $10.00 again." in page.text


async def test_raise_into_the_past_is_refused(admin: ConsoleClient) -> None:
    """The field says why."""
    id_ = await set_budget(admin)
    page = await admin.submit(f"/budgets/{id_}", "raise", amount="50", until="2026-01-01T00:00")
    assert page.status == 422
    assert page.root.all("small", id="raise-until-error")


async def test_budget_is_removed_by_its_name(admin: ConsoleClient) -> None:
    """A wrong name changes nothing."""
    id_ = await set_budget(admin)
    page = await admin.submit(f"/budgets/{id_}/remove", "remove", confirm="bob")
    assert page.status == 422
    assert "Nothing limits the spending of alice any more." in page.text
    page = await admin.submit(f"/budgets/{id_}/remove", "remove", confirm="alice")
    assert "The budget of alice has been removed." in page.text
    assert page.rows("budgets") == []
    assert (await admin.get(f"/budgets/{id_}")).status == 404


async def test_nearly_spent_budgets_are_chosen(admin: ConsoleClient, upstream: Upstream) -> None:
    """Those of which 80 % are spent, or all."""
    await admin.agent.chat()
    await admin.agent.flush()
    [row] = await admin.agent.administration.ledger.rows(limit=1)
    await set_budget(admin, f"{row.cost * Decimal('1.2'):.10f}")
    await admin.agent.add_user("bob")
    await set_budget(admin, "100", "bob")
    page = await admin.get("/budgets?level=nearly")
    assert [cells[0] for cells in page.rows("budgets")] == ["alice"]
    assert page.rows("budgets")[0][9] == "nearly spent"


async def test_viewer_sees_budgets_and_no_forms(admin: ConsoleClient, viewer: ConsoleClient) -> None:
    """The pages of changes are closed."""
    id_ = await set_budget(admin)
    page = await viewer.get(f"/budgets/{id_}")
    assert page.status == 200
    assert page.main.all("form", method="post") == []
    assert (await viewer.get(f"/budgets/{id_}/remove")).status == 403


async def test_file_has_all_budgets(admin: ConsoleClient) -> None:
    """Those of later pages are in it, too."""
    for number in range(52):
        await admin.agent.store.fetch(
            "INSERT INTO users (name, upstream_key, created_at) VALUES (%s, '', now())", [f"user{number:02}"]
        )
        await set_budget(admin, "1", f"user{number:02}")
    page = await admin.get("/budgets")
    assert len(page.rows("budgets")) == 50
    lines = (await admin.file("/budgets?csv=budgets")).body.decode().splitlines()
    assert len(lines) == 53
    [link] = page.main.all("a", rel="next")
    assert len((await admin.get(link.attributes["href"].removeprefix("/console"))).rows("budgets")) == 2
