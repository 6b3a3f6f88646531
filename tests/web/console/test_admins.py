"""The list of admins, and revoking one."""

import pytest

from chatgpt_agent.admin.admins import Role
from tests.support.console import ConsoleClient, add_admin, sign_in

pytestmark = pytest.mark.shared_agent


async def test_list_has_roles_tokens_and_passwords(admin: ConsoleClient) -> None:
    """Each admin with how they sign in."""
    token = await admin.agent.admin_token("robot", Role.VIEWER)
    rows = {row[0]: row for row in (await admin.get("/admins")).rows("admins")}
    assert rows["carol"][1:4] == ["admin", "active", "–"]
    assert rows["carol"][4] != "–"
    assert rows["robot"][1:5] == ["viewer", "active", f"{token[:8]}…", "–"]


async def test_admin_is_revoked_by_name(admin: ConsoleClient) -> None:
    """Their sessions end, and the audit log has it."""
    other = await sign_in(admin.agent, "dave")
    page = await admin.submit("/admins/dave/revoke", "revoke", confirm="dav")
    assert (page.status, (await other.get("/users")).title) == (422, "Users")
    page = await admin.submit("/admins/dave/revoke", "revoke", confirm="dave")
    assert page.notice == "dave is revoked."
    assert [row[2] for row in page.rows("admins") if row[0] == "dave"] == ["revoked"]
    assert (await other.fetch("GET", "/users")).status == 303
    assert (await admin.get("/audit?object=admins")).rows("changes")[0][1:3] == ["carol", "console"]


async def test_last_admin_is_not_revoked(admin: ConsoleClient) -> None:
    """It would close the console for good."""
    await add_admin(admin.agent, "vera", Role.VIEWER)
    page = await admin.get("/admins/carol/revoke")
    assert page.root.one("ul", class_="effects").all("li")[0].text == "This is you: you are signed out."
    page = await admin.submit("/admins/carol/revoke", "revoke", confirm="carol")
    assert (page.status, "is the last admin" in page.text) == (409, True)
    assert (await admin.get("/admins")).status == 200


async def test_unknown_admin_is_404(admin: ConsoleClient) -> None:
    """The page says so."""
    assert (await admin.get("/admins/unknown/revoke")).status == 404


async def test_hostile_name_is_text(admin: ConsoleClient) -> None:
    """The address of its form is encoded."""
    await add_admin(admin.agent, "<b>a/b?c</b>")
    page = await admin.get("/admins")
    assert "<b>a/b" not in page.html
    [href] = [a.attributes["href"] for a in page.root.all("a", class_="danger") if "%3Cb" in a.attributes["href"]]
    assert (await admin.get(href.removeprefix("/console"))).title == "Revoke <b>a/b?c</b>"


async def test_list_is_closed_to_viewers(viewer: ConsoleClient) -> None:
    """As over REST."""
    assert (await viewer.get("/admins")).status == 403
