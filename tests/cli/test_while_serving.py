"""Commands in a process of their own, while a server runs on the same database: it takes every change over."""

import json
from decimal import Decimal

import pytest

from chatgpt_agent.core.access.identity import Identity
from chatgpt_agent.core.access.settings import UserChanges
from chatgpt_agent.runtime import directory
from chatgpt_agent.runtime.directory import POLL_SECONDS
from tests.support.agent import MODEL, Agent
from tests.support.client import fetch
from tests.support.commands import Cli
from tests.support.postgres_server import url_of
from tests.support.upstream import Received, Reply, Upstream, completion

PRICED = ["--input", "1", "--output", "2"]


@pytest.fixture
def beside(agent: Agent) -> Cli:
    """The program, set up as the running agent is."""
    assert agent.config.database_url is not None
    return Cli({"DATABASE_URL": url_of(agent.config.database_url), "DATA_DIR": str(agent.config.data_dir)})


async def listed(agent: Agent) -> list[str]:
    """The models that a client sees."""
    answer = await fetch(f"{agent.url}/v1/models", headers=agent.headers())
    return [model["id"] for model in json.loads(answer.body)["data"]]


async def test_token_of_a_new_user_works(agent: Agent, beside: Cli) -> None:
    """OpenAI gets that user's key."""
    token = (await beside.command("user", "add", "bob", "--openai-key-stdin", stdin=b"sk-of-bob")).strip()
    await agent.until(lambda: agent.works(token))
    agent.token = token
    assert (await agent.chat()).status == 200


async def test_token_of_a_disabled_user_is_rejected(agent: Agent, beside: Cli) -> None:
    """The answer is the same as to a wrong token."""
    await beside.command("user", "disable", "alice")
    await agent.until(lambda: not agent.works(agent.token))
    assert (await agent.chat()).error["code"] == "invalid_api_key"


async def test_token_of_an_enabled_user_works_again(agent: Agent, beside: Cli) -> None:
    """The same token is accepted again."""
    await agent.administration.users.change("alice", UserChanges(disabled=True))
    await agent.until(lambda: not agent.works(agent.token))
    await beside.command("user", "enable", "alice")
    await agent.until(lambda: agent.works(agent.token))
    assert (await agent.chat()).status == 200


async def test_new_key_is_sent_to_openai(agent: Agent, beside: Cli, upstream: Upstream) -> None:
    """Requests use the key that `set-key` has stored."""
    await beside.command("user", "set-key", "alice", "--openai-key-stdin", stdin=b"sk-new\n")
    await agent.until(lambda: agent.server.directory.upstream_key(identity(agent).user) == "sk-new")
    await agent.chat()
    assert upstream.requests[-1].header("authorization") == "Bearer sk-new"


def identity(agent: Agent) -> Identity:
    """Returns the identity that the agent finds for the token."""
    return agent.server.directory.identify(agent.token)


async def test_second_token_works_beside_the_first(agent: Agent, beside: Cli) -> None:
    """A user may have several tokens."""
    second = (await beside.command("token", "issue", "alice")).strip()
    await agent.until(lambda: agent.works(second))
    assert agent.works(agent.token)


async def test_revoked_token_is_rejected(agent: Agent, beside: Cli) -> None:
    """The answer is 401, and nothing reaches OpenAI."""
    [token] = json.loads(await beside.command("token", "list", "--json"))
    await beside.command("token", "revoke", str(token["id"]))
    await agent.until(lambda: not agent.works(agent.token))
    assert (await agent.chat()).status == 401


@pytest.fixture
def only_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a notice, an agent that starts from here on compares the version in an hour."""
    monkeypatch.setattr(directory, "POLL_SECONDS", 3600.0)


@pytest.mark.usefixtures("only_notices")
async def test_change_takes_effect_within_a_second(agent: Agent, beside: Cli) -> None:
    """The README promises one second: a notice brings it at once, and without one the agent looks twice a second."""
    await beside.command("user", "disable", "alice")
    await agent.until(lambda: not agent.works(agent.token))
    assert POLL_SECONDS <= 0.5


async def test_model_with_a_new_price_is_served(agent: Agent, beside: Cli) -> None:
    """Without a price, the model was refused."""
    body = agent.body().replace(MODEL.encode(), b"new-model")
    assert (await agent.post(body)).status == 404
    before = agent.server.directory.book
    await beside.command("price", "set", "new-model", *PRICED)
    await agent.until(lambda: agent.server.directory.book is not before)
    assert (await agent.post(body)).status == 200


async def test_model_without_a_price_is_refused(agent: Agent, beside: Cli) -> None:
    """The model disappears from the list, too."""
    before = agent.server.directory.book
    await beside.command("price", "remove", MODEL)
    await agent.until(lambda: agent.server.directory.book is not before)
    assert (await agent.chat()).error["code"] == "model_not_found"
    assert await listed(agent) == []


async def test_report_shows_the_request(agent: Agent, beside: Cli) -> None:
    """The cost is exact."""
    await agent.chat()
    [row] = await agent.rows(1)
    report = json.loads(await beside.command("usage", "report", "--format", "json"))
    assert Decimal(report["total"]["cost"]) == Decimal(row["cost"])
    assert (report["rows"][0]["user"], report["rows"][0]["model"]) == ("alice", MODEL)


async def test_status_shows_unknown_usage_fields(agent: Agent, beside: Cli, upstream: Upstream) -> None:
    """Names in OpenAI's usages that the agent does not know come with its next report, and change nothing else."""
    answer = json.loads(completion(19, 4, 10))
    answer["usage"]["prompt_tokens_details"]["foo_tokens"] = 7

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(json.dumps(answer).encode())

    upstream.script = script
    for _ in range(2):
        await agent.chat()
    assert [row["input_tokens"] for row in await agent.rows(2)] == [19, 19]
    await agent.server.ledger.report()
    line = 'unknown usage field "prompt_tokens_details.foo_tokens": 2 answers'
    assert line in (await beside.command("ledger", "status")).splitlines()
    status = json.loads(await beside.command("ledger", "status", "--json"))
    assert status["unknown_usage_fields"] == {"prompt_tokens_details.foo_tokens": 2}
    assert status["agents"][0]["unknown_usage_fields"] == status["unknown_usage_fields"]
