"""Tokens over HTTP: their models, networks and lifetime, and what a flood of invalid ones gets."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from chatgpt_agent.core.access.settings import TokenSettings, UserChanges
from chatgpt_agent.core.access.tokens import make_token
from chatgpt_agent.runtime import directory
from tests.conftest import MakeAgent
from tests.support.agent import MODEL, Agent
from tests.support.canaries import SECRETS
from tests.support.client import Answer, Connection, fetch, request_bytes
from tests.support.upstream import Upstream
from tests.support.waiting import until

PROXIED = {"trusted_proxies": ("127.0.0.0/8",)}
INSIDE, OUTSIDE = "192.0.2.7", "198.51.100.7"
NETWORK = "192.0.2.0/24"

pytestmark = pytest.mark.shared_agent


def in_an_hour() -> datetime:
    """The time of day in an hour."""
    return datetime.now(UTC) + timedelta(hours=1)


async def issue(agent: Agent, **settings: object) -> str:
    """Issues another token for alice, which the agent knows when this returns."""
    issued = await agent.administration.tokens.issue("alice", TokenSettings(**settings))  # type: ignore[arg-type]
    SECRETS.add(issued.token)
    await agent.follow()
    return issued.token


async def chat(agent: Agent, token: str, url: str = "", source: str | None = None, **headers: str) -> Answer:
    """Sends a chat request with this token."""
    fields = agent.headers(**headers) | {"Authorization": f"Bearer {token}"}
    agent.answers.append(await fetch((url or agent.url) + "/chat", "POST", fields, agent.body(), source=source))
    return agent.answers[-1]


# Models.


async def test_model_that_a_token_may_not_use_is_not_found(agent: Agent) -> None:
    """A model that the token may not use gets the same answer as one without a price."""
    agent.token = await issue(agent, allowed_models=("gpt-5.5*",))
    answer = await agent.chat()
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    unknown = await agent.post(agent.body().replace(MODEL.encode(), b"gpt-none"))
    assert answer.body.replace(MODEL.encode(), b"gpt-none") == unknown.body


async def test_model_that_matches_a_pattern_is_served(agent: Agent) -> None:
    """A token may use the models that one of its patterns matches."""
    agent.token = await issue(agent, allowed_models=("gpt-5.5", "gpt-6*"))
    assert (await agent.chat()).status == 200


async def test_list_of_models_has_only_those_of_the_token(agent: Agent) -> None:
    """`/v1/models` shows only the models that the token may use."""
    await agent.set_price("gpt-5.5", "1", "2")
    agent.token = await issue(agent, allowed_models=("gpt-5.?",))
    listed = await fetch(f"{agent.url}/v1/models", headers=agent.headers())
    assert [model["id"] for model in listed.json["data"]] == ["gpt-5.5"]
    assert (await fetch(f"{agent.url}/v1/models/{MODEL}", headers=agent.headers())).status == 404
    assert (await fetch(f"{agent.url}/v1/models/gpt-5.5", headers=agent.headers())).status == 200


# Networks.


@pytest.mark.shared_agent(**PROXIED)
async def test_token_works_only_from_its_networks(agent: Agent) -> None:
    """Behind a trusted proxy, a token with networks is rejected like an invalid one from any other address."""
    token = await issue(agent, allowed_networks=(NETWORK,))
    assert (await chat(agent, token, **{"X-Forwarded-For": f"{OUTSIDE}, {INSIDE}"})).status == 200
    rejected = await chat(agent, token, **{"X-Forwarded-For": f"{INSIDE}, {OUTSIDE}"})
    invalid = await chat(agent, make_token(bytes(32)), **{"X-Forwarded-For": OUTSIDE})
    assert (rejected.status, rejected.body) == (401, invalid.body)


async def test_forwarded_address_is_ignored_by_default(agent: Agent, source_address: str) -> None:
    """Without a trusted proxy, X-Forwarded-For has no effect, because a client can write anything there."""
    token = await issue(agent, allowed_networks=(NETWORK,))
    assert (await chat(agent, token, source=source_address, **{"X-Forwarded-For": INSIDE})).status == 401
    local = await issue(agent, allowed_networks=("127.0.0.1",))
    assert (await chat(agent, local, **{"X-Forwarded-For": INSIDE})).status == 200


# Changes.


async def test_change_takes_effect_at_once_on_every_agent(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revocation, an expiry, other networks, other models and a disabled user take effect when the database sends its
    notice, and no agent waits until it looks by itself."""
    monkeypatch.setattr(directory, "POLL_SECONDS", 3600.0)
    first = await make_agent()
    second = await make_agent(
        data_dir=first.config.data_dir.with_name("second"), master_key_file=first.config.data_dir / "master.key"
    )
    tokens, users = first.administration.tokens, first.administration.users
    past = datetime.now(UTC) - timedelta(seconds=1)
    changes: dict[str, Callable[[int], Awaitable[object]]] = {
        "revoked": lambda id: tokens.revoke(id),
        "expired": lambda id: tokens.change(id, TokenSettings(expires_at=past)),
        "network": lambda id: tokens.change(id, TokenSettings(allowed_networks=(INSIDE,))),
        "models": lambda id: tokens.change(id, TokenSettings(allowed_models=("gpt-5.5",))),
        "disabled": lambda id: users.change("alice", UserChanges(disabled=True)),
    }
    issued = {case: await tokens.issue("alice", TokenSettings(label=case)) for case in changes}
    SECRETS.update(each.token for each in issued.values())
    await first.follow()
    await second.follow()
    for case, change in changes.items():
        token = issued[case].token
        for agent in (first, second):
            assert (await chat(first, token, agent.url)).status == 200
        await change(issued[case].id)
        for agent in (first, second):
            answer = await until(partial(chat, first, token, agent.url), lambda answer: answer.status != 200)
            assert answer.error["code"] == ("model_not_found" if case == "models" else "invalid_api_key")


async def test_old_token_works_until_the_end_of_a_rotation(
    agent: Agent, source_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a token is rotated both work; at the end of the grace period the old one is rejected."""
    [old] = await agent.administration.tokens.list("alice")
    new = await agent.administration.tokens.rotate(old.id, grace=timedelta(hours=1))
    SECRETS.add(new.token)
    await agent.until(lambda: agent.works(new.token))
    for token in (agent.token, new.token):
        assert (await chat(agent, token)).status == 200
    monkeypatch.setattr(agent.server.directory, "_now", in_an_hour)
    assert (await chat(agent, agent.token, source=source_address)).status == 401
    assert (await chat(agent, new.token)).status == 200


async def test_token_revoked_while_the_body_arrives_is_rejected(
    agent: Agent, upstream: Upstream, source_address: str
) -> None:
    """The token is checked again once the body is there, so that no request can be prepared in advance."""
    body = agent.body()
    connection = await Connection.open(agent.url, source_address)
    headers = agent.headers(Expect="100-continue", **{"Content-Length": str(len(body))})
    await connection.send(request_bytes("POST", "/chat", headers, b""))
    assert (await connection.head())[0] == 100  # the token was accepted
    [token] = await agent.administration.tokens.list()
    await agent.administration.tokens.revoke(token.id)
    await agent.until(lambda: not agent.works(agent.token))
    await connection.send(body)
    assert (await connection.answer()).status == 401
    await connection.close()
    assert upstream.requests == []


async def test_identity_is_valid_until_a_change(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """An identity is no longer valid once its user or token has changed or expired."""
    current = agent.server.directory
    for change in ("UPDATE users SET rpm = 100", "UPDATE tokens SET tpm = 100000"):
        identity = current.identify(agent.token)
        assert current.still_holds(identity)
        await agent.store.fetch(change)
        await until(partial(current.still_holds, identity), lambda holds: not holds)
    await agent.store.fetch("UPDATE tokens SET expires_at = now() + interval '1 hour'")
    await agent.until(lambda: current.identify(agent.token).token.expires_at is not None)
    identity = current.identify(agent.token)
    assert current.still_holds(identity)
    monkeypatch.setattr(agent.server.directory, "_now", in_an_hour)
    assert not current.still_holds(identity)


# Floods.


async def test_flood_of_invalid_tokens_is_limited(agent: Agent, source_address: str) -> None:
    """From the eleventh invalid token on, an address gets a 429 that says how long to wait; valid tokens work on."""
    answers = [await chat(agent, f"wrong-{number}", source=source_address) for number in range(12)]
    assert [answer.status for answer in answers] == [401] * 10 + [429] * 2
    last = answers[-1]
    assert last.error["code"] == last.header("x-agent-error") == "rate_limit_exceeded"
    assert 1 <= int(last.header("retry-after") or 0) <= 6
    assert (await chat(agent, agent.token, source=source_address)).status == 200
    headers = {"Authorization": "Bearer wrong"}
    assert (await fetch(f"{agent.url}/v1/models", headers=headers, source=source_address)).status == 429


async def test_flood_is_refused_before_the_body(agent: Agent, source_address: str) -> None:
    """The 429 for an invalid token comes before any of the body is sent."""
    for _ in range(10):
        await fetch(f"{agent.url}/v1/models", headers={"Authorization": "Bearer wrong"}, source=source_address)
    connection = await Connection.open(agent.url, source_address)
    headers = {"Authorization": "Bearer wrong", "Content-Length": "1000", "Expect": "100-continue"}
    await connection.send(request_bytes("POST", "/chat", headers, b""))
    assert (await connection.answer()).status == 429
    await connection.close()


async def test_log_says_why_a_token_was_rejected(
    agent: Agent, source_address: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the reason of a 401, but neither the token nor the address."""
    caplog.set_level("INFO")
    [token] = await agent.administration.tokens.list("alice")
    await agent.administration.tokens.revoke(token.id)
    await agent.until(lambda: not agent.works(agent.token))
    await chat(agent, agent.token, source=source_address)
    await chat(agent, "made-up-token", source=source_address)
    await agent.until(lambda: "unknown token" in caplog.text)
    lines = [record.getMessage() for record in caplog.records if record.name == "chatgpt_agent.access"]
    assert [line.partition("error=")[2] for line in lines] == [
        f"invalid_api_key (token {token.id}: revoked)",
        "invalid_api_key (an unknown token)",
    ]
    assert source_address not in "".join(lines)
    assert "made-up-token" not in caplog.text
