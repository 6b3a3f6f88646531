"""Administrators over REST: who they are, and the end of one."""

import asyncio

import pytest

from chatgpt_agent.admin.admins import Role
from chatgpt_agent.runtime.tuning import Tuning
from tests.support.administrator import Administrator

# With the default, how the agent answers a revoked token would depend on how many were sent to it before.
pytestmark = pytest.mark.shared_agent(tuning=Tuning(wrong_token_burst=10**6))


async def issue(admin: Administrator, name: str, role: Role = Role.ADMIN) -> Administrator:
    return admin.with_token(await admin.agent.admin_token(name, role))


async def test_list_shows_only_the_prefix_of_a_token(admin: Administrator) -> None:
    """The first characters identify a token."""
    dave = await issue(admin, "dave")
    answer = await admin.ask("GET", "/admins")
    [line] = [line for line in answer.json["data"] if line["name"] == "dave"]
    assert dave.token is not None
    assert dave.token.startswith(line["token_prefix"])
    assert dave.token.encode() not in answer.body


async def test_rest_issues_no_tokens_of_administrators(admin: Administrator) -> None:
    """A stolen token could issue another one that outlives it."""
    assert (await admin.ask("POST", "/admins", {"name": "dave"})).status == 405


async def test_revoked_administrator_is_rejected_at_once(admin: Administrator) -> None:
    """The list shows the time of the revocation."""
    dave = await issue(admin, "dave")
    assert (await admin.ask("POST", "/admins/dave/revoke")).status == 204
    assert (await dave.ask("GET", "/users")).status == 401
    revocations = {line["name"]: line["revoked_at"] for line in (await admin.ask("GET", "/admins")).json["data"]}
    assert revocations["dave"] is not None
    assert revocations["carol"] is None


async def test_unknown_administrator_is_not_found(admin: Administrator) -> None:
    """The answer is 404 for an unknown name."""
    assert (await admin.ask("POST", "/admins/dave/revoke")).status == 404


async def test_last_administrator_cannot_be_revoked(admin: Administrator) -> None:
    """The answer is 409 with the reason; viewers and revoked administrators do not count."""
    await issue(admin, "vera", Role.VIEWER)
    await admin.ask("POST", "/admins/eve/revoke")
    answer = await admin.ask("POST", "/admins/carol/revoke")
    assert (answer.status, answer.error["code"]) == (409, "conflict")
    assert "'carol' is the last admin with the role admin" in answer.error["message"]
    assert (await admin.ask("POST", "/admins/vera/revoke")).status == 204


async def test_administrator_can_revoke_the_own_token(admin: Administrator) -> None:
    """One of two administrators may go."""
    assert (await admin.ask("POST", "/admins/carol/revoke")).status == 204
    assert (await admin.ask("GET", "/users")).status == 401


async def test_two_administrators_cannot_revoke_each_other(admin: Administrator) -> None:
    """One of them stays, in ten attempts."""
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


async def test_viewer_cannot_list_administrators(viewer: Administrator) -> None:
    """The answer is 403 with the reason."""
    answer = await viewer.ask("GET", "/admins")
    assert (answer.status, answer.error["message"]) == (
        403,
        "Viewers have read-only access, without admins.",
    )


async def test_list_shows_who_has_a_password(admin: Administrator) -> None:
    """An admin with a password alone has no token, and neither the list nor the document shows a hash."""
    await admin.agent.administration.admins.set_password("dave", "made-up words of dave")
    answer = await admin.ask("GET", "/admins")
    lines = {line["name"]: line for line in answer.json["data"]}
    assert (lines["dave"]["token_prefix"], lines["carol"]["password_set_at"]) == (None, None)
    assert lines["dave"]["password_set_at"] is not None
    assert b"argon2" not in answer.body


async def test_revocation_over_rest_ends_the_password(admin: Administrator) -> None:
    """The admin could sign in to the console otherwise."""
    await admin.agent.administration.admins.set_password("dave", "made-up words of dave")
    await admin.ask("POST", "/admins/dave/revoke")
    lines = {line["name"]: line for line in (await admin.ask("GET", "/admins")).json["data"]}
    assert lines["dave"]["password_set_at"] is None
