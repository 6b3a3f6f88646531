"""Tokens: issue, change, rotate, revoke."""

from datetime import UTC, datetime, timedelta

import pytest

from chatgpt_agent.admin.tokens import TokenRow
from chatgpt_agent.core.access.settings import TokenSettings
from tests.support.agent import Agent
from tests.support.console import ConsoleClient, PageAnswer

pytestmark = pytest.mark.shared_agent


async def tokens_of(agent: Agent) -> list[TokenRow]:
    """The tokens of alice, the newest last."""
    return await agent.administration.tokens.list("alice")


def token_in(page: PageAnswer) -> str:
    """The token that a page shows."""
    return page.root.all("section", class_="secret")[0].one("code").text


async def test_issued_token_is_shown_once_and_works(admin: ConsoleClient) -> None:
    """With the settings that were typed."""
    page = await admin.submit(
        "/users/alice/new-token",
        "new",
        label="laptop",
        expires_at="2030-01-02T03:04",
        allowed_models="gpt-6*, gpt-5.5",
        tpm="9",
    )
    token = token_in(page)
    await admin.agent.until(lambda: admin.agent.works(token))
    row = (await tokens_of(admin.agent))[-1]
    assert (row.label, row.tpm, row.allowed_models) == ("laptop", 9, ("gpt-6*", "gpt-5.5"))
    assert row.expires_at == datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
    assert token not in (await admin.get("/users/alice")).html


async def test_sheet_has_the_base_url_and_recipes(admin: ConsoleClient) -> None:
    """It is that of the API at the host of the console."""
    page = await admin.submit("/users/alice/new-token", "new")
    assert f"{admin.agent.url}/v1" in page.text
    assert f"{admin.agent.url}/me/page" in page.text
    assert [each.one("h2").text for each in page.root.all("section", class_="code")] == [
        "Token of alice", "curl", "Python", "Node.js", "Codex",
    ]  # fmt: skip


@pytest.mark.shared_agent(public_url="https://ai.example.com/")
async def test_sheet_has_the_public_url(admin: ConsoleClient) -> None:
    """The configuration names it."""
    page = await admin.submit("/users/alice/new-token", "new")
    assert 'base_url="https://ai.example.com/v1"' in page.text


async def test_recipes_have_a_model_that_the_token_may_use(admin: ConsoleClient) -> None:
    """It has a price, and is allowed."""
    await admin.agent.set_price("gpt-6-sol", "1", "2")
    page = await admin.submit("/users/alice/new-token", "new", allowed_models="gpt-6-s*")
    assert '"model": "gpt-6-sol"' in page.text
    assert "gpt-6-luna" not in page.text


async def test_token_that_expires_in_the_past_is_refused(admin: ConsoleClient) -> None:
    """The error is at the field, and no token is issued."""
    page = await admin.submit("/users/alice/new-token", "new", expires_at="2020-01-01T00:00")
    assert page.status == 422
    assert "is in the past" in page.root.one("small", id="new-expires_at-error").text
    assert len(await tokens_of(admin.agent)) == 1


async def test_change_keeps_what_was_not_typed(admin: ConsoleClient) -> None:
    """An expiry stays, although its form shows it to the minute."""
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3, seconds=7)
    await admin.agent.administration.tokens.issue("alice", TokenSettings(label="old", expires_at=until))
    id_ = (await tokens_of(admin.agent))[-1].id
    page = await admin.submit(f"/tokens/{id_}", "settings", label="new")
    assert page.notice.startswith("The token has been changed.")
    row = await admin.agent.administration.tokens.get(id_)
    assert (row.label, row.expires_at) == ("new", until)
    await admin.press(page, "Undo")
    row = await admin.agent.administration.tokens.get(id_)
    assert (row.label, row.expires_at) == ("old", until)


async def test_change_of_an_older_version_is_refused(admin: ConsoleClient) -> None:
    """What was typed stays."""
    [token] = await tokens_of(admin.agent)
    form = (await admin.get(f"/tokens/{token.id}")).form("settings")
    await admin.agent.administration.tokens.change(token.id, TokenSettings(rpm=7))
    page = await admin.send(f"/tokens/{token.id}", {**form, "label": "mine"})
    assert (page.status, page.form("settings")["label"]) == (412, "mine")
    assert (await admin.agent.administration.tokens.get(token.id)).label == ""


async def test_invalid_network_is_shown_at_its_field(admin: ConsoleClient) -> None:
    """Nothing is changed."""
    [token] = await tokens_of(admin.agent)
    page = await admin.submit(f"/tokens/{token.id}", "settings", allowed_networks="10.0.0.0/99")
    assert page.status == 422
    assert "10.0.0.0/99" in page.root.one("small", id="settings-allowed_networks-error").text


async def test_rotation_lets_the_old_token_work_for_a_while(admin: ConsoleClient) -> None:
    """The new one is shown, and the pages of both lead to each other."""
    [old] = await tokens_of(admin.agent)
    page = await admin.submit(f"/tokens/{old.id}/rotate", "rotate", grace_seconds="3600")
    assert "The old token" in page.text
    await admin.agent.until(lambda: admin.agent.works(token_in(page)))
    new = (await tokens_of(admin.agent))[-1]
    assert admin.agent.works(admin.agent.token)
    facts = (await admin.get(f"/tokens/{old.id}")).facts()
    assert (facts["State"], facts["Replaced by"]) == ("replaced", str(new.id))


async def test_rotated_token_is_not_rotated_again(admin: ConsoleClient) -> None:
    """The form says which token replaces it."""
    [old] = await tokens_of(admin.agent)
    await admin.submit(f"/tokens/{old.id}/rotate", "rotate")
    page = await admin.submit(f"/tokens/{old.id}/rotate", "rotate")
    assert (page.status, "is replaced already" in page.text) == (409, True)


async def test_revocation_needs_the_first_characters(admin: ConsoleClient) -> None:
    """It says when the token was used, and cannot be undone."""
    [token] = await tokens_of(admin.agent)
    page = await admin.submit(f"/tokens/{token.id}/revoke", "revoke", confirm="alice")
    assert page.status == 422
    assert page.root.one("ul", class_="effects").all("li")[0].text == "It has not been used yet."
    page = await admin.submit(f"/tokens/{token.id}/revoke", "revoke", confirm=token.token_prefix)
    assert page.title == "alice"
    assert "has been revoked" in page.notice
    await admin.agent.until(lambda: not admin.agent.works(admin.agent.token))


async def test_revocation_of_an_older_version_is_refused(admin: ConsoleClient) -> None:
    """The effects may not be those that were shown."""
    [token] = await tokens_of(admin.agent)
    form = (await admin.get(f"/tokens/{token.id}/revoke")).form("revoke")
    await admin.agent.administration.tokens.change(token.id, TokenSettings(label="CI"))
    page = await admin.send(f"/tokens/{token.id}/revoke", {**form, "confirm": token.token_prefix})
    assert page.status == 412
    assert admin.agent.works(admin.agent.token)


@pytest.mark.parametrize("id_", ["0", "x", "99999999999999999999", "77"])
async def test_unknown_token_is_an_error(admin: ConsoleClient, id_: str) -> None:
    """With a page that says so."""
    assert (await admin.get(f"/tokens/{id_}")).status in (400, 404)


async def test_viewer_sees_a_token_without_actions(viewer: ConsoleClient) -> None:
    """The form to change it is missing."""
    [token] = await tokens_of(viewer.agent)
    page = await viewer.get(f"/tokens/{token.id}")
    assert (page.status, page.root.all("form", id="settings")) == (200, [])
    assert [each.text for each in page.root.all("a", class_="danger")] == []
    assert (await viewer.get(f"/tokens/{token.id}/revoke")).status == 403
