"""What each role may do on every route of the table."""

import pytest

from chatgpt_agent.runtime.tuning import Tuning
from chatgpt_agent.web.admin.routes import ROUTES
from tests.support.administrator import EXAMPLES, Administrator
from tests.support.agent import Agent
from tests.support.client import fetch

pytestmark = pytest.mark.shared_agent(tuning=Tuning(wrong_token_burst=10**6))

Statuses = dict[tuple[str, str], int]


async def statuses(client: Administrator) -> Statuses:
    """What each route answers, in the order of the table."""
    return {(route.method, route.path): (await client.example(route)).status for route in ROUTES}


def every(status: int) -> Statuses:
    return {(route.method, route.path): status for route in ROUTES}


async def changes(agent: Agent) -> int:
    [(count,)] = await agent.store.fetch("SELECT count(*) FROM audit_log")
    return int(count)


async def revoke(agent: Agent, name: str) -> None:
    await agent.administration.admins.revoke(name)


def test_every_route_has_an_example() -> None:
    """Tests over the route table leave no route out."""
    assert {route.handler.__name__ for route in ROUTES} == EXAMPLES.keys()


async def test_administrator_may_use_every_route(admin: Administrator) -> None:
    """Each route answers with its own status."""
    assert await statuses(admin) == {(route.method, route.path): route.status for route in ROUTES}


async def test_viewer_may_only_read(viewer: Administrator) -> None:
    """A change and the list of administrators are answered 403, and nothing is changed."""
    before = await changes(viewer.agent)
    expected = {(route.method, route.path): route.status if route.for_viewers else 403 for route in ROUTES}
    assert await statuses(viewer) == expected
    assert await changes(viewer.agent) == before


async def test_request_without_a_token_is_rejected(admin: Administrator) -> None:
    """Every route answers 401."""
    assert await statuses(admin.with_token(None)) == every(401)


@pytest.mark.parametrize("kind", ["malformed", "mistyped", "user's", "revoked"])
async def test_wrong_token_is_rejected(admin: Administrator, kind: str) -> None:
    """Every route answers 401 with the same body, and nothing is changed."""
    assert admin.token is not None
    tokens = {
        "malformed": "x",
        "mistyped": admin.token[:-1] + ("a" if admin.token[-1] != "a" else "b"),
        "user's": admin.agent.token,
        "revoked": await admin.agent.admin_token("mallory"),
    }
    await revoke(admin.agent, "mallory")
    before = await changes(admin.agent)
    client = admin.with_token(tokens[kind])
    assert await statuses(client) == every(401)
    assert (await client.ask("GET", "/users")).body == (await admin.with_token(None).ask("GET", "/users")).body
    assert await changes(admin.agent) == before


async def test_clients_cannot_use_an_administrators_token(admin: Administrator) -> None:
    """The API for clients answers 401."""
    headers = {"Authorization": f"Bearer {admin.token}"}
    assert (await fetch(f"{admin.agent.url}/v1/models", headers=headers)).status == 401


async def test_revoked_token_is_rejected_at_once(admin: Administrator) -> None:
    """The next request is answered 401."""
    assert (await admin.ask("GET", "/users")).status == 200
    await revoke(admin.agent, "carol")
    assert (await admin.ask("GET", "/users")).status == 401


async def test_clients_listener_has_no_administration(admin: Administrator) -> None:
    """The paths are unknown there, with any token."""
    headers = {"Authorization": f"Bearer {admin.token}"}
    answers = {(await fetch(f"{admin.agent.url}/api/v1{route.path}", headers=headers)).status for route in ROUTES}
    assert answers == {404}


@pytest.mark.own_agent
async def test_many_wrong_tokens_are_answered_429(admin: Administrator) -> None:
    """The answer says how long to wait; a valid token still works."""
    guesses = [await admin.with_token("cgm_guess").ask("GET", "/users") for _ in range(30)]
    assert [answer.status for answer in guesses[:5]] == [401] * 5
    assert guesses[-1].status == 429
    assert int(guesses[-1].header("Retry-After") or 0) > 0
    assert (await admin.ask("GET", "/users")).status == 200
