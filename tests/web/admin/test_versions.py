"""ETags and If-Match: a change cannot overwrite another one."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from chatgpt_agent.web.admin.routes import ROUTES
from tests.support.administrator import Administrator

pytestmark = pytest.mark.shared_agent

CONDITIONAL = [
    ("PATCH", "/users/alice", {"comment": "late"}),
    ("POST", "/users/alice/remove", None),
    ("PATCH", "/tokens/1", {"label": "late"}),
    ("POST", "/tokens/1/revoke", None),
    ("DELETE", "/budgets/1", None),
]


async def etag(admin: Administrator, path: str) -> str:
    return (await admin.ask("GET", path)).header("ETag") or ""


async def test_known_etag_is_answered_304(admin: Administrator) -> None:
    """304 has no body, until the object changes."""
    tag = await etag(admin, "/users/alice")
    answer = await admin.ask("GET", "/users/alice", If_None_Match=f'"other", {tag}')
    assert (answer.status, answer.body, answer.header("ETag")) == (304, b"", tag)
    await admin.ask("PATCH", "/users/alice", {"rpm": 5})
    assert (await admin.ask("GET", "/users/alice", If_None_Match=tag)).status == 200


async def test_etag_covers_fields_without_a_version(admin: Administrator) -> None:
    """One more token changes the ETag of its user, but not the version that If-Match checks."""
    tag = await etag(admin, "/users/alice")
    await admin.ask("POST", "/users/alice/tokens", {})
    assert (await admin.ask("GET", "/users/alice", If_None_Match=tag)).status == 200
    assert (await admin.ask("PATCH", "/users/alice", {"rpm": 5}, If_Match=tag)).status == 200


async def test_change_answers_with_the_new_etag(admin: Administrator) -> None:
    """One change can follow the other without a read."""
    first = await etag(admin, "/users/alice")
    answer = await admin.ask("PATCH", "/users/alice", {"rpm": 5}, If_Match=first)
    assert answer.header("ETag") == await etag(admin, "/users/alice") != first


@pytest.mark.parametrize(("method", "path", "body"), CONDITIONAL)
async def test_old_etag_is_answered_412(admin: Administrator, method: str, path: str, body: object) -> None:
    """Nothing is changed."""
    old = await etag(admin, path)
    await admin.ask("PATCH", path, {"rpm": 5})
    await admin.ask("PUT", "/users/alice/budgets/day", {"amount": "3"})
    before = (await admin.ask("GET", path)).body
    answer = await admin.ask(method, path, body, If_Match=old)
    assert (answer.status, answer.error["code"]) == (412, "version_mismatch")
    assert (await admin.ask("GET", path)).body == before


@pytest.mark.parametrize("path", ["/users/alice/budgets/day", "/tokens/1/budgets/month"])
async def test_old_etag_of_a_budget_is_answered_412(admin: Administrator, path: str) -> None:
    """A budget is set by owner and period, and read by its id."""
    first = await admin.ask("PUT", path, {"amount": "3"})
    assert (await admin.ask("PUT", path, {"amount": "4"}, If_Match=str(first.header("ETag")))).status == 200
    assert (await admin.ask("PUT", path, {"amount": "5"}, If_Match=str(first.header("ETag")))).status == 412
    assert (await admin.ask("GET", f"/budgets/{first.json['id']}")).json["amount"] == "4"


async def test_old_etag_of_a_raise_is_answered_412(admin: Administrator) -> None:
    """A raise, and its end, change the version of the budget, which is checked first."""
    old = await etag(admin, "/budgets/1")
    body = {"amount": "40", "until": f"{datetime.now(UTC) + timedelta(days=9):%Y-%m-%d}"}
    raised = await admin.ask("PUT", "/budgets/1/raise", body, If_Match=old)
    assert (raised.status, raised.json["raised_amount"]) == (200, "40")
    for method, content in (("PUT", body), ("DELETE", None)):
        assert (await admin.ask(method, "/budgets/1/raise", content, If_Match=old)).status == 412
    assert (await admin.ask("DELETE", "/budgets/1/raise", If_Match=str(raised.header("ETag")))).status == 204
    assert (await admin.ask("GET", "/budgets/1")).json["raised_amount"] is None


async def test_missing_budget_matches_no_version(admin: Administrator) -> None:
    """The answer is 412 for an existing owner, 404 for an unknown one."""
    for owner in ("users/alice", "tokens/1"):
        answer = await admin.ask("PUT", f"/{owner}/budgets/month", {"amount": "3"}, If_Match='"7"')
        assert answer.status == 412
    for owner in ("users/dora", "tokens/99"):
        answer = await admin.ask("PUT", f"/{owner}/budgets/month", {"amount": "3"}, If_Match='"7"')
        assert answer.status == 404


def test_every_conditional_route_is_covered() -> None:
    """Each route with If-Match is in the table above."""
    tried = {(method, path.split("/")[1]) for method, path, _ in CONDITIONAL}
    tried |= {("PUT", "users"), ("PUT", "tokens"), ("PUT", "budgets")}
    assert tried == {(route.method, route.path.split("/")[1]) for route in ROUTES if route.conditional}


async def test_foreign_etag_is_answered_412(admin: Administrator) -> None:
    """Weak ETags never match (RFC 9110 §13.1.1), nor do malformed ones."""
    right = await etag(admin, "/users/alice")
    for tag in (f"W/{right}", f"{right}, {right}", '"7"', '"x"', "x", '""'):
        assert (await admin.ask("PATCH", "/users/alice", {"rpm": 5}, If_Match=tag)).status == 412


async def test_asterisk_matches_every_version(admin: Administrator) -> None:
    """The answer is 404 if there is no object."""
    assert (await admin.ask("PATCH", "/users/alice", {"rpm": 5}, If_Match="*")).status == 200
    assert (await admin.ask("PATCH", "/users/dora", {"rpm": 5}, If_Match="*")).status == 404


async def test_unsupported_condition_is_rejected(admin: Administrator) -> None:
    """Ignored, it would seem to hold."""
    assert (await admin.ask("PUT", "/users/alice/key", {"openai_key": "sk-x"}, If_Match='"1"')).status == 400


async def test_one_of_two_concurrent_changes_is_rejected(admin: Administrator) -> None:
    """The loser is answered 412, in ten attempts."""
    for _ in range(10):
        tag = await etag(admin, "/users/alice")
        one, other = await asyncio.gather(
            admin.ask("PATCH", "/users/alice", {"comment": "one"}, If_Match=tag),
            admin.ask("PATCH", "/users/alice", {"comment": "other"}, If_Match=tag),
        )
        assert sorted([one.status, other.status]) == [200, 412]
        winner = one if one.status == 200 else other
        assert (await admin.ask("GET", "/users/alice")).json["comment"] == winner.json["comment"]
