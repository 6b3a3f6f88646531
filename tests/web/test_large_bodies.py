"""Large bodies and answers are handled like small ones, and other requests are served meanwhile."""

import asyncio

import pytest

from chatgpt_agent.core.cooperative import SLICE, Cooperative, run_to_end
from chatgpt_agent.web import forward
from tests.support.agent import Agent
from tests.support.client import fetch
from tests.support.upstream import Received, Reply, Upstream, completion

COUNTS = (19, 4, 10, 3)
LARGE = 4 * SLICE

pytestmark = pytest.mark.shared_agent


def answer_with(text: str, upstream: Upstream) -> bytes:
    """Lets the upstream answer with a text; returns the body of the answer."""
    body = completion(*COUNTS, text=text)

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(body)

    upstream.script = script
    return body


async def test_large_body_is_forwarded_unchanged(agent: Agent, upstream: Upstream) -> None:
    """A body that is read in slices is forwarded unchanged."""
    body = agent.body("x" * LARGE)
    assert (await agent.post(body)).status == 200
    assert upstream.requests[0].body == body


async def test_large_invalid_body_is_refused(agent: Agent, upstream: Upstream) -> None:
    """A large body that is not JSON is refused like a small one."""
    answer = await agent.post(agent.body("x" * LARGE)[:-1])
    assert (answer.status, answer.error["code"], upstream.requests) == (400, "invalid_json", [])


async def test_token_revoked_while_the_body_is_read_is_rejected(
    agent: Agent, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token is checked again after a large body is read, because it may be revoked meanwhile."""

    async def run_slowly(work: Cooperative[object]) -> object:
        await agent.administration.tokens.revoke((await agent.administration.tokens.list())[0].id)
        await agent.until(lambda: not agent.works(agent.token))
        return run_to_end(work)

    monkeypatch.setattr(forward, "run_cooperatively", run_slowly)
    assert (await agent.post(agent.body("x" * LARGE))).status == 401
    assert upstream.requests == []


async def test_disconnect_while_the_body_is_read_sends_nothing(
    agent: Agent, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the client disconnects while its large body is read, nothing is sent, and its place is free again."""
    reading, disconnected = asyncio.Event(), asyncio.Event()

    async def run_slowly(work: Cooperative[object]) -> object:
        reading.set()
        await disconnected.wait()
        return run_to_end(work)

    monkeypatch.setattr(forward, "run_cooperatively", run_slowly)
    connection = await agent.begin("x" * LARGE)
    await reading.wait()
    await connection.close()
    await asyncio.sleep(0.05)
    disconnected.set()
    await agent.until(lambda: agent.server.lifecycle.in_progress == 0)
    assert (upstream.requests, agent.server.admissions.running) == ([], 0)


@pytest.mark.parametrize("text", ["A" * LARGE, 'a "line"\n' * (LARGE // 9)])
async def test_large_answer_is_forwarded_unchanged(agent: Agent, upstream: Upstream, text: str) -> None:
    """A large answer is forwarded unchanged with its length, and its usage is recorded."""
    body = answer_with(text, upstream)
    answer = await agent.chat()
    assert (answer.status, answer.body, answer.complete) == (200, body, True)
    assert answer.header("content-length") == str(len(body))
    [row] = await agent.rows(1)
    assert (row["state"], row["input_tokens"], row["output_tokens"]) == ("done", COUNTS[0], COUNTS[2])


async def test_other_requests_are_served_while_a_large_answer_is_read_slowly(agent: Agent, upstream: Upstream) -> None:
    """A client that reads a large answer slowly does not delay others, nor the row."""
    answer_with("A" * 16 * LARGE, upstream)
    slow = await agent.begin()
    await slow.head()
    assert (await fetch(f"{agent.url}/healthz")).status == 200
    [row] = await agent.rows(1)  # which is written before the first byte
    assert row["state"] == "done"
    await slow.close()
    await agent.until(lambda: agent.server.admissions.running == 0)


async def test_disconnect_during_a_large_answer_frees_its_place(agent: Agent, upstream: Upstream) -> None:
    """If the client disconnects during a large answer, its row is written and its place is free again."""
    answer_with("A" * 16 * LARGE, upstream)
    connection = await agent.begin()
    await connection.head()
    await connection.close()
    await agent.until(lambda: agent.server.admissions.running == 0)
    [row] = await agent.rows(1)
    assert row["state"] == "done"
