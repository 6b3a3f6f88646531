"""`POST /me/rotate`: a user replaces their own token."""

import asyncio
import json
from typing import Any

import pytest

from chatgpt_agent.runtime.account_limiter import ROTATIONS
from tests.support.agent import Agent
from tests.support.canaries import SECRETS
from tests.support.client import Answer, fetch
from tests.support.database import Database


async def rotate(agent: Agent, body: bytes = b"", token: str = "", **headers: str) -> Answer:
    """Rotates the token of alice, or another one."""
    fields = {"Authorization": f"Bearer {token or agent.token}", "Content-Type": "application/json", **headers}
    answer = await fetch(agent.url + "/me/rotate", "POST", fields, body)
    if answer.status == 201:
        SECRETS.add(answer.json["token"])
        await agent.until(lambda: agent.works(answer.json["token"]))
    return answer


async def entries(agent: Agent) -> list[dict[str, Any]]:
    """The actor of each change of a token, by SQL."""
    rows = await agent.store.fetch(
        "SELECT to_jsonb(a)::text FROM audit_log a WHERE object = 'tokens' AND via = 'own_token' ORDER BY id"
    )
    return [json.loads(text) for (text,) in rows]


async def test_rotation_answers_with_a_new_token(agent: Agent) -> None:
    """Both work, and no cache keeps the answer."""
    answer = await rotate(agent)
    assert (answer.status, answer.header("Cache-Control")) == (201, "no-store")
    assert (answer.json["user"], answer.json["id"], answer.json["old_id"]) == ("alice", 2, 1)
    assert agent.works(agent.token)
    assert (await agent.chat()).status == 200


async def test_rotation_without_grace_ends_the_old_token(agent: Agent) -> None:
    """It is refused at once."""
    assert (await rotate(agent, b'{"grace_seconds": 0}')).status == 201
    await agent.until(lambda: not agent.works(agent.token))
    assert (await rotate(agent)).status == 401


async def test_rotation_is_in_the_audit_log(agent: Agent) -> None:
    """The actor is the user, with the address of the client."""
    await rotate(agent)
    changes = await entries(agent)
    assert {(each["actor"], each["address"]) for each in changes} == {("alice", "127.0.0.1")}
    assert {(each["action"], each["object_id"]) for each in changes} >= {("insert", 2), ("update", 1)}


async def test_token_is_rotated_once(agent: Agent) -> None:
    """The answer says which token has replaced it."""
    await rotate(agent)
    answer = await rotate(agent)
    assert (answer.status, answer.error["message"].endswith("by token 2: rotate that one")) == (409, True)


async def test_a_user_rotates_a_few_times_a_minute(agent: Agent) -> None:
    """Each rotation adds a token for good, so their number is limited by user, not by token."""
    token = agent.token
    for _ in range(ROTATIONS):
        token = (await rotate(agent, token=token)).json["token"]
    answer = await rotate(agent, token=token)
    assert (answer.status, answer.header("Retry-After") is not None) == (429, True)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b'{"grace_seconds": -1}', 400, "grace_seconds"),
        (b'{"grace_seconds": "long"}', 400, "grace_seconds"),
        (b'{"grace": 1}', 400, None),
        (b"{", 400, None),
        (b"x" * 2000, 413, None),
    ],
)
@pytest.mark.shared_agent
async def test_wrong_body_is_refused(agent: Agent, body: bytes, status: int, param: str | None) -> None:
    """Nothing is changed, and the error names the field."""
    answer = await rotate(agent, body)
    assert (answer.status, answer.error["param"]) == (status, param)
    assert await entries(agent) == []


@pytest.mark.shared_agent
async def test_another_media_type_is_refused(agent: Agent) -> None:
    """A form is what a page of another site could send without asking."""
    assert (await rotate(agent, b"grace_seconds=0", **{"Content-Type": "text/plain"})).status == 415


@pytest.mark.shared_agent
async def test_rotation_needs_a_token(agent: Agent, source_address: str) -> None:
    """A wrong one gets the same answer as everywhere."""
    headers = {"Authorization": "Bearer cga_wrong"}
    answer = await fetch(agent.url + "/me/rotate", "POST", headers, source=source_address)
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


@pytest.mark.shared_agent
async def test_only_post_rotates(agent: Agent) -> None:
    """A link changes nothing."""
    assert (await fetch(agent.url + "/me/rotate", "GET", agent.headers())).status == 405


async def test_rotation_without_postgresql_is_refused(agent: Agent) -> None:
    """While the database is away the answer is a 503, as for the account; later the token is rotated."""
    dsn = agent.config.database_url or ""
    name = dsn.split("dbname=")[1].split()[0]
    database = Database(dsn.replace(name, "postgres"), name)
    await asyncio.to_thread(database.close)
    try:
        answer = await rotate(agent)
        assert (answer.status, answer.error["code"]) == (503, "usage_unavailable")
    finally:
        await asyncio.to_thread(database.open)
    assert (await rotate(agent)).status == 201
