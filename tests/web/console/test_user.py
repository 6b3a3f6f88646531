"""The page of one user, and the changes that it leads to."""

from decimal import Decimal
from urllib.parse import quote

import pytest

from chatgpt_agent.core.access.settings import NewUser, UserChanges
from chatgpt_agent.core.budget.period import Period
from tests.support.console import ConsoleClient

pytestmark = pytest.mark.shared_agent

HOSTILE = ["<script>alert(1)</script>", "数据" * 64, "مرحبا", "a/b?c#d %2F", "👩 family", "new", "x" * 128]


async def change(admin: ConsoleClient, **changes: object) -> None:
    """Changes the user alice, as another admin does."""
    await admin.agent.administration.users.change("alice", UserChanges(**changes))  # type: ignore[arg-type]


async def last_change(admin: ConsoleClient) -> list[str]:
    """The newest entry of the audit log: by, through, action, object."""
    rows = (await admin.get("/audit")).rows("changes")
    return [rows[0][1], rows[0][2], rows[0][4], rows[0][5]]


async def test_page_has_tokens_budgets_spend_and_requests(admin: ConsoleClient) -> None:
    """The figures are those of the ledger."""
    await admin.agent.chat()
    await admin.agent.rows(1)
    await admin.agent.administration.budgets.set(user="alice", period=Period.MONTH, amount=Decimal(5))
    page = await admin.get("/users/alice")
    assert page.title == "alice"
    assert [row[2] for row in page.rows("tokens")] == ["active"]
    assert [row[:2] for row in page.rows("budgets")] == [["the user", "a month"]]
    [request] = page.rows("requests")
    assert request[2:5] == ["gpt-6-luna", "chat/completions", "done"]
    assert request[-2] in [row[1] for row in page.rows("spend")[-2:]]  # the day may have ended after the request
    assert len(page.rows("spend")) == 30


async def test_page_of_an_unknown_user_names_the_likely_one(admin: ConsoleClient) -> None:
    """It is a 404."""
    page = await admin.get("/users/alcie")
    assert (page.status, "did you mean 'alice'?" in page.text) == (404, True)


@pytest.mark.parametrize("name", HOSTILE)
async def test_any_name_has_a_page(admin: ConsoleClient, name: str) -> None:
    """It is shown as it is, also above the forms."""
    await admin.agent.administration.users.add(NewUser(name=name, openai_key="sk-made-up-key", comment=name))
    for action in ("", "/change", "/rename", "/key", "/remove", "/new-token"):
        page = await admin.get(f"/users/{quote(name, safe='')}{action}")
        assert page.status == 200
        assert name in page.title
        assert "<script>alert" not in page.html


async def test_change_is_made_and_can_be_undone(admin: ConsoleClient) -> None:
    """The notice has the undo, and the audit log both changes."""
    page = await admin.submit(
        "/users/alice/change",
        "settings",
        comment="Sales",
        rpm="1,200",
        allowed_models="gpt-6*\r\n",
        standard_tier_only="true",
    )
    assert page.notice.startswith("alice has been changed.")
    assert page.facts()["Limits"] == "1,200 requests a minute"
    assert await last_change(admin) == ["carol", "console", "update", "users"]
    page = await admin.press(page, "Undo")
    user = await admin.agent.administration.users.get("alice")
    assert (user.comment, user.rpm, user.allowed_models, user.standard_tier_only) == ("", None, None, False)
    assert page.facts()["Allowed models"] == "every model that has a price"


async def test_undo_of_an_older_version_is_refused(admin: ConsoleClient) -> None:
    """The form says so, and has what the undo would have set."""
    page = await admin.submit("/users/alice/change", "settings", comment="Sales")
    await change(admin, comment="by another admin")
    page = await admin.press(page, "Undo")
    assert (page.status, "Another admin has changed this" in page.root.one("p", role="alert").text) == (412, True)
    assert page.form("settings")["comment"] == ""
    assert (await admin.agent.administration.users.get("alice")).comment == "by another admin"


async def test_unchanged_form_changes_nothing(admin: ConsoleClient) -> None:
    """There is no entry in the audit log."""
    before = await admin.agent.administration.users.get("alice")
    page = await admin.submit("/users/alice/change", "settings")
    assert page.notice == "Nothing was different, so nothing has been changed."
    assert await admin.agent.administration.users.get("alice") == before


async def test_warning_of_a_change_is_shown_after_it(admin: ConsoleClient) -> None:
    """A pattern that matches no model is probably a mistake."""
    page = await admin.submit("/users/alice/change", "settings", allowed_models="gpt-7*")
    assert "no model with a price matches 'gpt-7*'" in page.notice


async def test_wrong_value_is_shown_at_its_field(admin: ConsoleClient) -> None:
    """What was typed stays."""
    page = await admin.submit("/users/alice/change", "settings", rpm="0", comment="Sales")
    assert page.status == 400
    assert page.root.one("small", id="settings-rpm-error").text.startswith("0 is not a whole number")
    assert page.form("settings")["comment"] == "Sales"


async def test_change_of_an_older_version_is_refused(admin: ConsoleClient) -> None:
    """What was typed stays, and can be sent again; what the other admin has changed stays, too."""
    form = (await admin.get("/users/alice/change")).form("settings")
    await change(admin, comment="by another admin")
    page = await admin.send("/users/alice/change", {**form, "rpm": "5"})
    assert (page.status, "Another admin has changed this" in page.text) == (412, True)
    assert (await admin.agent.administration.users.get("alice")).rpm is None
    again = await admin.send("/users/alice/change", page.form("settings"))
    assert again.status == 200
    user = await admin.agent.administration.users.get("alice")
    assert (user.rpm, user.comment) == (5, "by another admin")


async def test_rename_keeps_the_tokens_and_can_be_undone(admin: ConsoleClient) -> None:
    """The page of the new name is shown."""
    page = await admin.submit("/users/alice/rename", "rename", name="Ålice")
    assert (page.title, page.rows("tokens")[0][2]) == ("Ålice", "active")
    assert page.notice.startswith("alice is now Ålice.")
    assert (await admin.press(page, "Undo")).title == "alice"


async def test_name_of_another_user_is_refused(admin: ConsoleClient) -> None:
    """Nothing is renamed."""
    await admin.agent.add_user("bob")
    page = await admin.submit("/users/alice/rename", "rename", name="bob")
    assert (page.status, page.root.one("p", role="alert").text) == (409, "user 'bob' already exists")


async def test_openai_key_is_replaced(admin: ConsoleClient) -> None:
    """The key is in no page, also not after an error."""
    page = await admin.submit("/users/alice/key", "key", openai_key="cga_not-a-key-of-openai")
    assert (page.status, "cga_not" in page.html) == (422, False)
    page = await admin.submit("/users/alice/key", "key", openai_key="sk-made-up-key-2")
    assert page.notice == "The OpenAI key of alice has been replaced."
    assert "sk-made-up" not in page.html
    await admin.agent.follow()
    assert (await admin.agent.chat()).status == 200


async def test_user_is_disabled_at_once_and_enabled_by_undo(admin: ConsoleClient) -> None:
    """The tokens are refused meanwhile."""
    page = await admin.press(await admin.get("/users/alice"), "Disable")
    assert page.facts()["State"] == "disabled"
    await admin.agent.until(lambda: not admin.agent.works(admin.agent.token))
    page = await admin.press(page, "Undo")
    assert page.facts()["State"] == "active"
    await admin.agent.until(lambda: admin.agent.works(admin.agent.token))


async def test_removal_says_what_stops(admin: ConsoleClient) -> None:
    """Tokens in force, and the requests of the last 7 days."""
    await admin.agent.chat()
    await admin.agent.rows(1)
    effects = [
        each.text for each in (await admin.get("/users/alice/remove")).root.one("ul", class_="effects").all("li")
    ]
    assert effects[:2] == [
        "1 token in force is revoked: its clients are refused.",
        "There was 1 request in the last 7 days.",
    ]


async def test_removal_needs_the_name(admin: ConsoleClient) -> None:
    """With another text nothing is changed."""
    page = await admin.submit("/users/alice/remove", "remove", confirm="alicia")
    assert page.status == 422
    assert page.root.one("small", id="remove-confirm-error").text.startswith("Type alice to confirm")
    assert (await admin.agent.administration.users.get("alice")).removed_at is None


async def test_removed_user_can_only_be_renamed(admin: ConsoleClient) -> None:
    """The page stays, with the rows."""
    page = await admin.submit("/users/alice/remove", "remove", confirm="alice")
    assert page.facts()["State"] == "removed"
    assert [row[2] for row in page.rows("tokens")] == ["revoked"]
    buttons = [each.text for each in page.root.one("section", class_="facts").all("a", class_="button")]
    assert buttons == ["Rename"]
    assert (await admin.get("/users/alice/change")).status == 404


async def test_viewer_sees_a_user_without_actions(viewer: ConsoleClient) -> None:
    """The forms are closed, too, and an action that is sent nevertheless is refused."""
    page = await viewer.get("/users/alice")
    assert page.status == 200
    assert [each.text for each in page.root.all("a", class_="button")] == [
        "All budgets", "All requests", "Changes of this user",
    ]  # fmt: skip
    for action in ("change", "rename", "key", "remove", "new-token"):
        assert (await viewer.get(f"/users/alice/{action}")).status == 403
    form = {"_xsrf": page.root.all("input", name="_xsrf")[0].attributes["value"], "disabled": "true"}
    assert (await viewer.send("/users/alice/state", form)).status == 403


async def test_tokens_are_a_file(admin: ConsoleClient) -> None:
    """With exact times."""
    answer = await admin.file("/users/alice?csv=tokens")
    assert answer.body.decode().splitlines()[0] == (
        "label,token_prefix,state,created_at,expires_at,last_used_at,allowed_models,allowed_networks,limits,replaced_by"
    )


async def test_long_list_of_tokens_has_pages(admin: ConsoleClient) -> None:
    """Those in force come first; as a file the list is whole."""
    tokens = admin.agent.administration.tokens
    for _ in range(51):
        await tokens.issue("alice")
    await tokens.revoke((await tokens.list("alice"))[-1].id)
    page = await admin.get("/users/alice")
    assert {row[2] for row in page.rows("tokens")} == {"active"}
    [link] = page.root.one("section", id="tokens").all("a", rel="next")
    rest = await admin.get(link.attributes["href"].removeprefix("/console"))
    assert [row[2] for row in rest.rows("tokens")] == ["active", "revoked"]
    assert len((await admin.file("/users/alice?csv=tokens")).body.splitlines()) == 53
