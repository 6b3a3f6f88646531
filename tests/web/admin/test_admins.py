"""Administrators over REST: who they are, and the end of one."""

import asyncio

from chatgpt_agent.admin.admins import Role
from tests.web.admin.conftest import Administrator


async def issue(admin: Administrator, name: str, role: Role = Role.ADMIN) -> Administrator:
    return admin.with_token(await admin.agent.admin_token(name, role))


async def test_a_list_has_no_token(admin: Administrator) -> None:
    """But its first characters, to tell it by."""
    dave = await issue(admin, "dave")
    answer = await admin.ask("GET", "/admins")
    [line] = [line for line in answer.json["data"] if line["name"] == "dave"]
    assert dave.token is not None
    assert dave.token.startswith(line["token_prefix"])
    assert dave.token.encode() not in answer.body


async def test_nobody_issues_a_token_from_afar(admin: Administrator) -> None:
    """A stolen one could make others that outlive it."""
    assert (await admin.ask("POST", "/admins", {"name": "dave"})).status == 405


async def test_a_revoked_administrator_is_out_at_once(admin: Administrator) -> None:
    """And stays in the list, with when it was."""
    dave = await issue(admin, "dave")
    assert (await admin.ask("POST", "/admins/dave/revoke")).status == 204
    assert (await dave.ask("GET", "/users")).status == 401
    found = {line["name"]: line["revoked_at"] for line in (await admin.ask("GET", "/admins")).json["data"]}
    assert found["dave"] is not None
    assert found["carol"] is None


async def test_who_is_not_there_cannot_be_revoked(admin: Administrator) -> None:
    """404."""
    assert (await admin.ask("POST", "/admins/nobody/revoke")).status == 404


async def test_the_last_administrator_stays(admin: Administrator) -> None:
    """409 with the reason: nobody could undo it from afar. A viewer does not count, nor does one who is revoked."""
    await issue(admin, "vera", Role.VIEWER)
    await admin.ask("POST", "/admins/eve/revoke")
    answer = await admin.ask("POST", "/admins/carol/revoke")
    assert (answer.status, answer.error["code"]) == (409, "conflict")
    assert "'carol' is the last administrator with the role admin" in answer.error["message"]
    assert (await admin.ask("POST", "/admins/vera/revoke")).status == 204


async def test_one_of_two_may_go(admin: Administrator) -> None:
    """By their own hand, too."""
    assert (await admin.ask("POST", "/admins/carol/revoke")).status == 204
    assert (await admin.ask("GET", "/users")).status == 401


async def test_two_who_revoke_each_other(admin: Administrator) -> None:
    """One of them stays, ten times over."""
    await admin.ask("POST", "/admins/eve/revoke")
    for number in range(10):
        dave = await issue(admin, f"dave{number}")
        await asyncio.gather(
            dave.ask("POST", "/admins/carol/revoke"), admin.ask("POST", f"/admins/dave{number}/revoke")
        )
        left = [each for each in (admin, dave) if (await each.ask("GET", "/users")).status == 200]
        assert len(left) == 1
        if left == [dave]:
            admin = await issue(dave, "carol")
        await admin.ask("POST", f"/admins/dave{number}/revoke")


async def test_a_viewer_does_not_see_administrators(viewer: Administrator) -> None:
    """403, with what it is."""
    answer = await viewer.ask("GET", "/admins")
    assert (answer.status, answer.error["message"]) == (
        403,
        "Viewers have read-only access, without administrators.",
    )
