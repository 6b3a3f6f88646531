"""Requests and tokens a minute, and requests at once, through a running agent: as OpenAI has them."""

import asyncio
from typing import Any

import openai
import pytest

from tests.support.agent import MODEL, Agent
from tests.support.client import Answer
from tests.support.upstream import Upstream


async def limit(agent: Agent, table: str, **limits: int | None) -> None:
    """Sets limits of alice (`users`) or of her token (`tokens`); they are in force when this returns."""
    columns = ", ".join(f"{name} = %s" for name in limits)
    await agent.store.fetch(f"UPDATE {table} SET {columns} WHERE id = 1", list(limits.values()))
    version = (await agent.store.fetch("SELECT version FROM directory_version"))[0][0]
    await agent.until(lambda: agent.server.directory._version >= version)


def rate(answer: Answer, what: str) -> list[str | None]:
    """Limit, rest and reset of an answer's headers."""
    return [answer.header(f"x-ratelimit-{name}-{what}") for name in ("limit", "remaining", "reset")]


@pytest.mark.parametrize("table", ["users", "tokens"])
async def test_requests_a_minute(agent: Agent, upstream: Upstream, table: str) -> None:
    """The third of two is refused before it is sent, and told when to come back."""
    await limit(agent, table, rpm=2)
    answers = [await agent.chat() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert len(upstream.requests) == 2
    refusal = answers[2]
    assert (refusal.error["code"], refusal.error["type"]) == ("rate_limit_exceeded", "requests")
    assert "2 requests a minute" in refusal.error["message"]
    assert 1 <= int(refusal.header("retry-after") or 0) <= 30
    assert refusal.header("x-should-retry") is None
    assert [rate(answer, "requests")[:2] for answer in answers] == [["2", "1"], ["2", "0"], ["2", "0"]]


async def test_tokens_a_minute_are_settled_with_the_truth(agent: Agent, upstream: Upstream) -> None:
    """What the answer took counts, and not what was guessed."""
    await limit(agent, "tokens", tpm=10_000)
    answer = await agent.chat(max_completion_tokens=5000)
    left = rate(answer, "tokens")[1]
    assert left is not None
    assert int(left) < 5100  # as long as it runs, all that it may take is taken
    [row] = await agent.rows(1)
    used = row["input_tokens"] + row["output_tokens"]
    identity = agent.server.directory.identify(agent.token)
    [fields] = [agent.server.rate_limiter.status(identity)["token"]]
    assert 10_000 - used <= fields["tokens_left"] <= 10_000


async def test_too_many_tokens_are_refused(agent: Agent, upstream: Upstream) -> None:
    """The limit of output counts before the answer does."""
    await limit(agent, "users", tpm=1000)
    assert (await agent.chat("delay=0.2", max_completion_tokens=900)).status == 200
    await agent.chat(max_completion_tokens=400)
    refusal = await agent.chat(max_completion_tokens=990)
    assert (refusal.status, "1000 tokens a minute" in refusal.error["message"]) == (429, True)
    assert refusal.error["type"] == "tokens"


async def test_requests_at_once(agent: Agent, upstream: Upstream) -> None:
    """The place is free again when one has ended, also when its client has left."""
    await limit(agent, "tokens", concurrency=2)
    running = [await agent.begin("delay=0.3") for _ in range(2)]
    await agent.until(lambda: len(upstream.requests) == 2)
    refusal = await agent.chat()
    assert (refusal.status, "2 requests at once" in refusal.error["message"]) == (429, True)
    await running[0].close()
    await running[1].answer()
    await running[1].close()
    await agent.until(lambda: agent.server.admissions.running == 0)
    assert (await agent.chat()).status == 200


async def test_the_narrower_limit_is_shown(agent: Agent, upstream: Upstream) -> None:
    """Of user and token."""
    await limit(agent, "users", rpm=10, tpm=100_000)
    await limit(agent, "tokens", rpm=5)
    answer = await agent.chat()
    assert rate(answer, "requests")[:2] == ["5", "4"]
    assert rate(answer, "tokens")[0] == "100000"


async def test_openais_own_headers_pass_where_there_is_no_limit(agent: Agent, upstream: Upstream) -> None:
    """Those of OpenAI's organization."""

    async def script(request: Any, reply: Any) -> None:
        await reply.whole(b"{}", x_ratelimit_limit_requests="777", x_ratelimit_limit_tokens="888")

    upstream.script = script
    assert rate(await agent.chat(), "requests")[0] == "777"
    await limit(agent, "tokens", rpm=5)
    answer = await agent.chat()
    assert (rate(answer, "requests")[0], rate(answer, "tokens")[0]) == ("5", "888")


async def test_errors_carry_them_too(agent: Agent, upstream: Upstream) -> None:
    """Every answer to somebody who is known."""
    await limit(agent, "tokens", rpm=5)
    assert rate(await agent.chat("status=500"), "requests")[0] == "5"
    assert rate(await agent.post(b"{"), "requests")[0] == "5"


async def test_a_lifted_limit_refuses_nobody(agent: Agent, upstream: Upstream) -> None:
    """From the next request on."""
    await limit(agent, "tokens", rpm=1)
    assert [(await agent.chat()).status for _ in range(2)] == [200, 429]
    await limit(agent, "tokens", rpm=None)
    answer = await agent.chat()
    assert (answer.status, answer.header("x-ratelimit-limit-requests")) == (200, None)


async def test_the_sdk_waits_as_it_is_told(agent: Agent, upstream: Upstream) -> None:
    """And then succeeds, without the program knowing."""
    await limit(agent, "tokens", rpm=120)
    identity = agent.server.directory.identify(agent.token)
    began = asyncio.get_running_loop().time()  # making a client may take longer than is waited for
    taken = [agent.server.rate_limiter.acquire(identity, 0) for _ in range(120)]
    client = openai.AsyncOpenAI(base_url=agent.url + "/v1", api_key=agent.token)
    await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
    await client.close()
    assert asyncio.get_running_loop().time() - began >= 0.4
    assert len(taken) == 120
