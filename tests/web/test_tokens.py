"""Tokens as a client meets them: which models, from where, how long, and what a flood of wrong ones gets."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from chatgpt_agent.core.access.tokens import make_token
from chatgpt_agent.core.access.user_changes import TokenChanges, UserChanges
from tests.conftest import MakeAgent
from tests.support.agent import MODEL, Agent
from tests.support.canaries import SECRETS
from tests.support.client import Answer, Connection, fetch, request_bytes
from tests.support.upstream import Upstream

PROXIED = {"trusted_proxies": ("127.0.0.0/8",)}
HERE, THERE = "192.0.2.7", "198.51.100.7"


async def issue(agent: Agent, **settings: object) -> str:
    """One more token of alice, that the agent knows when this returns."""
    issued = await agent.administration.tokens.issue("alice", **settings)  # type: ignore[arg-type]
    SECRETS.add(issued.token)
    await agent.until(lambda: issued.id in agent.server.directory._digests)
    return issued.token


async def chat(agent: Agent, token: str, url: str = "", **headers: str) -> Answer:
    """One request with this token."""
    fields = agent.headers(**headers) | {"Authorization": f"Bearer {token}"}
    agent.answers.append(await fetch((url or agent.url) + "/chat", "POST", fields, agent.body()))
    return agent.answers[-1]


# Models.


async def test_a_model_that_is_not_for_a_token_is_not_found(agent: Agent) -> None:
    """To the letter as one that has no price."""
    token = await issue(agent, allowed_models=("o3*",))
    answer = await chat(agent, token)
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    agent.token = token
    unknown = await agent.post(agent.body().replace(MODEL.encode(), b"gpt-none"))
    assert answer.body.replace(MODEL.encode(), b"gpt-none") == unknown.body


async def test_a_model_that_a_pattern_stands_for_is_served(agent: Agent) -> None:
    """Of the token's and of the user's."""
    token = await issue(agent, allowed_models=("o3", "gpt-4o*"))
    assert (await chat(agent, token)).status == 200


async def test_the_list_of_models_is_the_tokens_own(agent: Agent) -> None:
    """What it may not use is not there, one by one neither."""
    await agent.set_price("o3", "1", "2")
    token = await issue(agent, allowed_models=("o?",))
    headers = {"Authorization": f"Bearer {token}"}
    listed = json.loads((await fetch(f"{agent.url}/v1/models", headers=headers)).body)["data"]
    assert [model["id"] for model in listed] == ["o3"]
    assert (await fetch(f"{agent.url}/v1/models/{MODEL}", headers=headers)).status == 404
    assert (await fetch(f"{agent.url}/v1/models/o3", headers=headers)).status == 200


# Networks.


async def test_a_token_works_from_its_networks_alone(make_agent: MakeAgent) -> None:
    """As the trusted proxy in front tells it; the refusal is that of a wrong token."""
    agent = await make_agent(**PROXIED)
    token = await issue(agent, allowed_networks=("192.0.2.0/24",))
    assert (await chat(agent, token, **{"X-Forwarded-For": f"{THERE}, {HERE}"})).status == 200
    refused = await chat(agent, token, **{"X-Forwarded-For": f"{HERE}, {THERE}"})
    wrong = await chat(agent, make_token(bytes(32)), **{"X-Forwarded-For": THERE})
    assert (refused.status, refused.body) == (401, wrong.body)


async def test_nobody_is_believed_by_default(agent: Agent) -> None:
    """A client may write there what it likes."""
    token = await issue(agent, allowed_networks=("192.0.2.0/24",))
    assert (await chat(agent, token, **{"X-Forwarded-For": HERE})).status == 401
    local = await issue(agent, allowed_networks=("127.0.0.1",))
    assert (await chat(agent, local, **{"X-Forwarded-For": HERE})).status == 200


# How soon, on every agent.


async def test_a_change_is_in_force_within_a_second_on_every_agent(make_agent: MakeAgent) -> None:
    """A revocation, an expiry, a network, a model, and a user who is disabled or removed."""
    first = await make_agent()
    second = await make_agent(
        data_dir=first.config.data_dir.with_name("second"), master_key_file=first.config.data_dir / "master.key"
    )
    administration = first.administration
    past = datetime.now(UTC) - timedelta(seconds=1)
    ids = {}
    for word in ("revoked", "expired", "moved", "narrowed", "left"):
        issued = await administration.tokens.issue("alice", label=word)
        SECRETS.add(issued.token)
        ids[word] = issued
    await second.until(lambda: all(agent.works(ids["left"].token) for agent in (first, second)))

    for word, change in {
        "revoked": lambda id_: administration.tokens.revoke(id_),
        "expired": lambda id_: administration.tokens.change(id_, TokenChanges(expires_at=past)),
        "moved": lambda id_: administration.tokens.change(id_, TokenChanges(allowed_networks=(HERE,))),
        "narrowed": lambda id_: administration.tokens.change(id_, TokenChanges(allowed_models=("o3",))),
        "left": lambda id_: administration.users.change("alice", UserChanges(disabled=True)),
    }.items():
        for agent in (first, second):
            assert (await chat(first, ids[word].token, agent.url)).status == 200
        await change(ids[word].id)
        began = datetime.now(UTC)
        for agent in (first, second):
            while (answer := await chat(first, ids[word].token, agent.url)).status == 200:
                assert datetime.now(UTC) - began < timedelta(seconds=1)
            assert answer.error["code"] == ("model_not_found" if word == "narrowed" else "invalid_api_key")


async def test_both_tokens_work_while_one_takes_the_others_place(agent: Agent) -> None:
    """Then the old one is wrong."""
    [old] = await agent.administration.tokens.list("alice")
    new = await agent.administration.tokens.rotate(old.id, grace=timedelta(seconds=1.5))
    SECRETS.add(new.token)
    await agent.until(lambda: agent.works(new.token), seconds=1)
    for token in (agent.token, new.token):
        assert (await chat(agent, token)).status == 200
    await agent.until(lambda: not agent.works(agent.token), seconds=3)
    assert ((await chat(agent, agent.token)).status, (await chat(agent, new.token)).status) == (401, 200)


# Floods.


async def test_a_flood_of_wrong_tokens_is_refused(agent: Agent) -> None:
    """In OpenAI's form, with the time to wait, while good ones go on working."""
    answers = [await chat(agent, f"wrong-{number}") for number in range(12)]
    assert [answer.status for answer in answers] == [401] * 10 + [429] * 2
    assert answers[-1].error["code"] == answers[-1].header("x-agent-error") == "rate_limit_exceeded"
    assert 1 <= int(answers[-1].header("retry-after") or 0) <= 6
    assert (await agent.chat()).status == 200
    assert (await fetch(f"{agent.url}/v1/models", headers={"Authorization": "Bearer wrong"})).status == 429


async def test_a_flood_is_refused_before_its_bodies(agent: Agent) -> None:
    """Bodies that would be discarded are not read."""
    for _ in range(10):
        await chat(agent, "wrong")
    connection = await Connection.open(agent.url)
    headers = {"Authorization": "Bearer wrong", "Content-Length": "1000", "Expect": "100-continue"}
    await connection.send(request_bytes("POST", "/chat", headers, b""))
    assert (await connection.answer()).status == 429
    await connection.close()


async def test_the_log_tells_why_a_token_was_refused(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """And never which it was, nor from where it came."""
    caplog.set_level("INFO")
    [token] = await agent.administration.tokens.list("alice")
    await agent.administration.tokens.revoke(token.id)
    await agent.until(lambda: not agent.works(agent.token))
    await agent.chat()
    await chat(agent, "made-up-token")
    await agent.until(lambda: "unknown token" in caplog.text)
    lines = [record.getMessage() for record in caplog.records if record.name == "chatgpt_agent.access"]
    assert [line.partition("error=")[2] for line in lines] == [
        f"invalid_api_key (token {token.id}: revoked)",
        "invalid_api_key (an unknown token)",
    ]
    assert "127.0.0.1" not in "".join(lines)
    assert "made-up-token" not in caplog.text


async def test_a_token_that_is_revoked_while_its_body_comes_is_refused(agent: Agent, upstream: Upstream) -> None:
    """A client could else keep a request ready for a minute."""
    whole = request_bytes("POST", "/chat", agent.headers(), agent.body())
    connection = await Connection.open(agent.url)
    await connection.send(whole[:-5])
    await agent.until(lambda: agent.server.last_used._waiting)
    await agent.administration.tokens.revoke((await agent.administration.tokens.list())[0].id)
    await agent.until(lambda: not agent.works(agent.token))
    await connection.send(whole[-5:])
    assert (await connection.answer()).status == 401
    await connection.close()
    assert upstream.requests == []


async def test_who_was_identified_holds_until_something_changes(agent: Agent) -> None:
    """A change of the user or of the token, or its expiry: then they are looked up again."""
    directory = agent.server.directory
    for change in ("UPDATE users SET rpm = 100", "UPDATE tokens SET tpm = 100000"):
        identity = directory.identify(agent.token)
        assert directory.still_holds(identity)
        await agent.store.fetch(change)
        await agent.until(lambda identity=identity: not directory.still_holds(identity))  # type: ignore[misc]
    await agent.store.fetch("UPDATE tokens SET expires_at = now() + interval '1 second'")
    await agent.until(lambda: directory.identify(agent.token).token.expires_at is not None)
    identity = directory.identify(agent.token)
    assert directory.still_holds(identity)
    await agent.until(lambda: not directory.still_holds(identity))
