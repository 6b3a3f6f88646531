"""Administrators over REST: who they are, a token for one more, and the end of one."""

import asyncio

from tests.web.admin_api.conftest import Administrator


async def issue(admin: Administrator, name: str, **more: str) -> Administrator:
    return admin.with_token((await admin.ask("POST", "/admins", {"name": name, **more})).json["token"])


async def test_an_administrators_token_is_shown_once(admin: Administrator) -> None:
    """In the answer that issues it; a list has its first characters."""
    issued = (await admin.ask("POST", "/admins", {"name": "dave"})).json
    assert (issued["name"], issued["role"]) == ("dave", "admin")
    answer = await admin.ask("GET", "/admins")
    [dave] = [line for line in answer.json["data"] if line["name"] == "dave"]
    assert issued["token"].startswith(dave["shown"])
    assert issued["token"].encode() not in answer.body


async def test_an_issued_token_works_at_once(admin: Administrator) -> None:
    """As far as its role goes."""
    dave, vera = await issue(admin, "dave"), await issue(admin, "vera", role="viewer")
    assert (await dave.ask("PATCH", "/users/alice", {"rpm": 5})).status == 200
    assert [(await vera.ask(method, "/users/alice", body)).status for method, body in READ_AND_WRITE] == [200, 403]


READ_AND_WRITE = (("GET", None), ("PATCH", {"rpm": 6}))


async def test_a_name_has_one_token(admin: Administrator) -> None:
    """409, until that one is revoked; then it gets another, with another role, too."""
    await issue(admin, "dave")
    assert (await admin.ask("POST", "/admins", {"name": "dave"})).status == 409
    await admin.ask("DELETE", "/admins/dave")
    assert (await admin.ask("POST", "/admins", {"name": "dave", "role": "viewer"})).status == 201


async def test_a_revoked_administrator_is_out_at_once(admin: Administrator) -> None:
    """And stays in the list, with when it was."""
    dave = await issue(admin, "dave")
    assert (await admin.ask("DELETE", "/admins/dave")).status == 204
    assert (await dave.ask("GET", "/users")).status == 401
    found = {line["name"]: line["revoked_at"] for line in (await admin.ask("GET", "/admins")).json["data"]}
    assert found["dave"] is not None
    assert found["carol"] is None


async def test_who_is_not_there_cannot_be_revoked(admin: Administrator) -> None:
    """404."""
    assert (await admin.ask("DELETE", "/admins/nobody")).status == 404


async def test_the_last_administrator_stays(admin: Administrator) -> None:
    """409 with the reason: nobody could undo it from afar. A viewer does not count, nor does one who is revoked."""
    await issue(admin, "vera", role="viewer")
    await admin.ask("DELETE", "/admins/eve")
    answer = await admin.ask("DELETE", "/admins/carol")
    assert (answer.status, answer.error["code"]) == (409, "conflict")
    assert "'carol' is the last administrator who may change something" in answer.error["message"]
    assert (await admin.ask("DELETE", "/admins/vera")).status == 204


async def test_one_of_two_may_go(admin: Administrator) -> None:
    """By their own hand, too."""
    assert (await admin.ask("DELETE", "/admins/carol")).status == 204
    assert (await admin.ask("GET", "/users")).status == 401


async def test_two_who_revoke_each_other(admin: Administrator) -> None:
    """One of them stays, ten times over."""
    await admin.ask("DELETE", "/admins/eve")
    for number in range(10):
        dave = await issue(admin, f"dave{number}")
        await asyncio.gather(dave.ask("DELETE", "/admins/carol"), admin.ask("DELETE", f"/admins/dave{number}"))
        left = [each for each in (admin, dave) if (await each.ask("GET", "/users")).status == 200]
        assert len(left) == 1
        if left == [dave]:
            admin = await issue(dave, "carol")
        await admin.ask("DELETE", f"/admins/dave{number}")


async def test_a_viewer_does_not_see_administrators(viewer: Administrator) -> None:
    """403, with what it is."""
    answer = await viewer.ask("GET", "/admins")
    assert (answer.status, answer.error["message"]) == (403, "This is not for viewers.")


async def test_the_log_tells_who_issued_a_token(admin: Administrator) -> None:
    """And never the token, nor its digest."""
    await issue(admin, "dave", role="viewer")
    [line] = (await admin.ask("GET", "/audit?object=admins&limit=1")).json["data"]
    assert (line["actor"], line["action"], line["after"]["name"]) == ("carol", "insert", "dave")
    assert (line["after"]["role"], line["after"]["digest"]) == ("viewer", "(set)")
