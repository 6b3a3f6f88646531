"""Rate limits of users and tokens, through a running agent: requests and tokens a minute, and requests at once."""

import asyncio
import itertools

import openai
import pytest
from tornado.ioloop import IOLoop

from tests.support.agent import MODEL, Agent
from tests.support.client import Answer
from tests.support.upstream import Received, Reply, Upstream, completion

pytestmark = pytest.mark.shared_agent

_ids = itertools.count(1000)


@pytest.fixture(autouse=True)
def new_user(agent: Agent, io_loop: IOLoop) -> None:
    """A user and token with ids that no other test uses, because the agent remembers limits by id."""

    async def add() -> None:
        number = next(_ids)
        sequences = (
            "setval(pg_get_serial_sequence('users', 'id'), %s), setval(pg_get_serial_sequence('tokens', 'id'), %s)"
        )
        await agent.store.fetch(f"SELECT {sequences}", [number, number])
        agent.token = await agent.add_user("bob")

    io_loop.run_sync(add)


async def limit(agent: Agent, table: str, **limits: int | None) -> None:
    """Sets limits of the user (`users`) or of the token (`tokens`); they are in force when this returns."""
    identity = agent.server.directory.identify(agent.token)
    columns = ", ".join(f"{name} = %s" for name in limits)
    id = identity.user.id if table == "users" else identity.token.id
    await agent.store.fetch(f"UPDATE {table} SET {columns} WHERE id = %s", [*limits.values(), id])
    await agent.follow()


def rate(answer: Answer, unit: str) -> list[str | None]:
    """Returns limit, remaining and reset of an answer's headers, for `requests` or `tokens`."""
    return [answer.header(f"x-ratelimit-{name}-{unit}") for name in ("limit", "remaining", "reset")]


@pytest.mark.parametrize("table", ["users", "tokens"])
async def test_request_over_the_limit_is_refused(agent: Agent, upstream: Upstream, table: str) -> None:
    """With two requests a minute, the third is a 429 that is not sent to OpenAI and says when to try again."""
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


async def test_tokens_a_minute_are_settled_by_the_usage(agent: Agent) -> None:
    """A request counts with its output limit while it runs, and with its true usage afterwards."""
    await limit(agent, "tokens", tpm=10_000)
    answer = await agent.chat(max_completion_tokens=5000)
    assert int(rate(answer, "tokens")[1] or 0) < 5100
    [row] = await agent.rows(1)
    used = row["input_tokens"] + row["output_tokens"]
    identity = agent.server.directory.identify(agent.token)
    assert 10_000 - used <= agent.server.rate_limiter.status(identity)["token"]["tokens_left"] <= 10_000


async def test_tokens_over_the_limit_are_refused(agent: Agent, upstream: Upstream) -> None:
    """A request is a 429 if its output limit does not fit into the tokens that are left."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(completion(10, 0, 490))  # which half a minute gives back

    upstream.script = script
    await limit(agent, "users", tpm=1000)
    assert (await agent.chat(max_completion_tokens=900)).status == 200
    assert (await agent.chat(max_completion_tokens=400)).status == 200
    refusal = await agent.chat(max_completion_tokens=900)
    assert (refusal.status, refusal.error["type"]) == (429, "tokens")
    assert "1000 tokens a minute" in refusal.error["message"]


async def test_requests_at_once_over_the_limit_are_refused(agent: Agent, upstream: Upstream) -> None:
    """With two requests at once, a third is a 429 until one has ended, also if its client has disconnected."""
    await limit(agent, "tokens", concurrency=2)
    may_answer = upstream.hold()
    running = [await agent.begin() for _ in range(2)]
    await agent.until(lambda: len(upstream.requests) == 2)
    refusal = await agent.chat()
    assert (refusal.status, "2 requests at once" in refusal.error["message"]) == (429, True)
    await running[0].close()
    may_answer.set()
    await running[1].answer()
    await running[1].close()
    await agent.until(lambda: agent.server.admissions.running == 0)
    assert (await agent.chat()).status == 200


async def test_headers_show_the_nearest_limit(agent: Agent) -> None:
    """If both user and token have a limit, the headers show the one with less left."""
    await limit(agent, "users", rpm=10, tpm=100_000)
    await limit(agent, "tokens", rpm=5)
    answer = await agent.chat()
    assert rate(answer, "requests")[:2] == ["5", "4"]
    assert rate(answer, "tokens")[0] == "100000"


async def test_openais_headers_pass_unless_we_have_that_limit(agent: Agent, upstream: Upstream) -> None:
    """OpenAI's own rate limit headers pass, except those that a limit of ours replaces."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(b"{}", x_ratelimit_limit_requests="777", x_ratelimit_limit_tokens="888")

    upstream.script = script
    assert rate(await agent.chat(), "requests")[0] == "777"
    await limit(agent, "tokens", rpm=5)
    answer = await agent.chat()
    assert (rate(answer, "requests")[0], rate(answer, "tokens")[0]) == ("5", "888")


async def test_errors_have_the_headers(agent: Agent) -> None:
    """Errors of OpenAI and of the agent have the headers, too."""
    await limit(agent, "tokens", rpm=5)
    assert rate(await agent.chat("status=500"), "requests")[0] == "5"
    assert rate(await agent.post(b"{"), "requests")[0] == "5"


async def test_removed_limit_is_not_applied(agent: Agent) -> None:
    """A limit that is removed has no effect from the next request on."""
    await limit(agent, "tokens", rpm=1)
    assert [(await agent.chat()).status for _ in range(2)] == [200, 429]
    await limit(agent, "tokens", rpm=None)
    answer = await agent.chat()
    assert (answer.status, answer.header("x-ratelimit-limit-requests")) == (200, None)


async def test_sdk_waits_for_the_limit(agent: Agent) -> None:
    """OpenAI's SDK waits as the 429 says and then succeeds."""
    await limit(agent, "tokens", rpm=120)
    identity = agent.server.directory.identify(agent.token)
    started = asyncio.get_running_loop().time()  # before the client is made, which may take longer than the wait
    slots = [agent.server.rate_limiter.acquire(identity, 0) for _ in range(120)]
    client = openai.AsyncOpenAI(base_url=agent.url + "/v1", api_key=agent.token)
    await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
    await client.close()
    assert asyncio.get_running_loop().time() - started >= 0.4
    assert len(slots) == 120
