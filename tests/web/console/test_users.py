"""The list of users."""

from decimal import Decimal
from urllib.parse import quote

import pytest

from chatgpt_agent.core.access.settings import NewUser, UserChanges
from chatgpt_agent.core.budget.period import Period
from tests.support.console import ConsoleClient, PageAnswer

pytestmark = pytest.mark.shared_agent

KEY = "sk-made-up-key"


async def add(admin: ConsoleClient, *names: str) -> None:
    """Adds users."""
    for name in names:
        await admin.agent.administration.users.add(NewUser(name=name, openai_key=KEY))


def names(page: PageAnswer) -> list[str]:
    """The users that a page lists."""
    return [row[0] for row in page.rows("users")]


async def test_list_has_spend_budget_and_tokens_of_each(admin: ConsoleClient) -> None:
    """The bar shows how much of the month's budget is spent."""
    await admin.agent.chat()
    [row] = await admin.agent.rows(1)
    await admin.agent.administration.budgets.set(user="alice", period=Period.MONTH, amount=2 * row["cost"])
    page = await admin.get("/users")
    [cells] = page.rows("users")
    assert (cells[0], cells[1], cells[4], cells[6]) == ("alice", "active", "1", "1")
    assert page.root.one("meter").attributes["value"] == "0.5"


async def test_list_without_budget_has_no_bar(admin: ConsoleClient) -> None:
    """A budget that does not exist is not one of 0."""
    page = await admin.get("/users")
    assert (page.rows("users")[0][2:4], page.root.all("meter")) == (["$0.00", "–"], [])


@pytest.mark.parametrize("search", ["BO", "数据", "%", "_", "<b>"])
async def test_part_of_a_name_finds_users(admin: ConsoleClient, search: str) -> None:
    """Letters of any case; signs of patterns are plain text."""
    await add(admin, "bob", "数据平台", "100%", "a_b", "<b>x</b>")
    page = await admin.get(f"/users?search={quote(search)}&state=&order=name")
    assert len(names(page)) == 1
    assert search.lower() in names(page)[0].lower()
    assert page.form("filter")["search"] == search


async def test_no_match_says_so(admin: ConsoleClient) -> None:
    """The table is empty, and does not ask to add a user."""
    page = await admin.get("/users?search=xyz")
    assert page.root.one("p", class_="empty").text == "No user matches."


async def test_list_by_state(admin: ConsoleClient) -> None:
    """Each user has one state."""
    await add(admin, "bob", "dora")
    await admin.agent.administration.users.change("bob", UserChanges(disabled=True))
    await admin.agent.administration.users.remove("dora")
    lists = {state: names(await admin.get(f"/users?state={state}")) for state in ("active", "disabled", "removed")}
    assert lists == {"active": ["alice"], "disabled": ["bob"], "removed": ["dora"]}


async def test_list_by_spend(admin: ConsoleClient) -> None:
    """The user with the largest spend comes first; the heads of columns lead to the other orders."""
    await add(admin, "aaron")
    await admin.agent.chat()
    await admin.agent.rows(1)
    assert names(await admin.get("/users")) == ["aaron", "alice"]
    page = await admin.get("/users?order=cost")
    assert names(page) == ["alice", "aaron"]
    heads = [link.attributes["href"] for link in page.root.one("thead").all("a")]
    assert heads[2] == "/console/users?order=last_used"


async def test_list_goes_on_with_the_next_page(admin: ConsoleClient) -> None:
    """With the same filter, to the end; as a file it is whole."""
    await add(admin, *(f"user {number:02}" for number in range(52)))
    page = await admin.get("/users?search=user")
    assert len(names(page)) == 50
    [link] = page.root.all("a", rel="next")
    rest = await admin.get(link.attributes["href"].removeprefix("/console"))
    assert names(rest) == ["user 50", "user 51"]
    assert rest.root.all("a", rel="next") == []
    assert len((await admin.file("/users?search=user&csv=users")).body.splitlines()) == 53


@pytest.mark.parametrize("query", ["state=x", "order=x", "after=-1", "unknown=1"])
async def test_wrong_filter_is_an_error(admin: ConsoleClient, query: str) -> None:
    """The page says what is allowed."""
    assert (await admin.get(f"/users?{query}")).status == 400


async def test_names_and_comments_are_text(admin: ConsoleClient) -> None:
    """No part of them is HTML."""
    await admin.agent.administration.users.add(
        NewUser(name="<script>alert(1)</script>", openai_key=KEY, comment="<b>" + "数据" * 90)
    )
    page = await admin.get("/users")
    assert "<script>alert" not in page.html
    assert page.rows("users")[0][-1] == "<b>" + "数据" * 18 + "…"
    assert "数据" * 90 in (await admin.file("/users?csv=users")).body.decode()


async def test_viewer_lists_users_without_actions(viewer: ConsoleClient) -> None:
    """The filter stays."""
    page = await viewer.get("/users")
    assert names(page) == ["alice"]
    assert page.root.all("a", class_="button") == []
    assert page.form("filter")["order"] == "name"


async def test_amount_is_exact_in_the_file(admin: ConsoleClient) -> None:
    """The page rounds for reading only."""
    await admin.agent.chat()
    [row] = await admin.agent.rows(1)
    cost = (await admin.file("/users?csv=users")).body.decode().splitlines()[1].split(",")[2]
    assert Decimal(cost) == row["cost"]
