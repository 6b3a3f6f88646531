"""Large bodies and answers: the event loop serves others meanwhile, and nothing else is different."""

import asyncio

import pytest

from chatgpt_agent.core.cooperative import SLICE, Cooperative, run_to_end
from chatgpt_agent.web import forward as proxy
from tests.support.agent import Agent
from tests.support.client import fetch
from tests.support.upstream import Received, Reply, Upstream, completion

COUNTS = (19, 4, 10, 3)
LARGE = 4 * SLICE


def answering(text: str, upstream: Upstream) -> bytes:
    """An answer with that text, which the upstream gives from now on."""
    body = completion(*COUNTS, text=text)

    async def script(_: Received, reply: Reply) -> None:
        await reply.whole(body)

    upstream.script = script
    return body


async def test_a_large_body_is_passed_on_as_it_came(agent: Agent, upstream: Upstream) -> None:
    """It is read in steps, and sent as it is."""
    body = agent.body("x" * LARGE)
    assert (await agent.post(body)).status == 200
    assert upstream.requests[0].body == body


async def test_a_large_body_that_is_no_json_is_refused(agent: Agent, upstream: Upstream) -> None:
    """As a small one."""
    answer = await agent.post(agent.body("x" * LARGE)[:-1])
    assert (answer.status, answer.error["code"], upstream.requests) == (400, "invalid_json", [])


async def test_a_token_that_is_revoked_while_its_body_is_read_is_refused(
    agent: Agent, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have their turn meanwhile, and so has a revocation."""

    async def slowly(steps: Cooperative[object]) -> object:
        await agent.administration.tokens.revoke((await agent.administration.tokens.list())[0].id)
        await agent.until(lambda: not agent.works(agent.token))
        return run_to_end(steps)

    monkeypatch.setattr(proxy, "run_cooperatively", slowly)
    assert (await agent.post(agent.body("x" * LARGE))).status == 401
    assert upstream.requests == []


async def test_a_client_that_leaves_while_its_body_is_read_has_no_request(
    agent: Agent, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent for nobody."""
    left, gone = asyncio.Event(), asyncio.Event()

    async def slowly(steps: Cooperative[object]) -> object:
        left.set()
        await gone.wait()
        return run_to_end(steps)

    monkeypatch.setattr(proxy, "run_cooperatively", slowly)
    connection = await agent.begin("x" * LARGE)
    await left.wait()
    await connection.close()
    await asyncio.sleep(0.05)
    gone.set()
    await agent.until(lambda: agent.server.lifecycle.in_flight == 0)
    assert (upstream.requests, agent.server.admissions.running) == ([], 0)


@pytest.mark.parametrize("text", ["A" * LARGE, 'a "line"\n' * (LARGE // 9)])
async def test_a_large_answer_is_passed_on_as_it_came(agent: Agent, upstream: Upstream, text: str) -> None:
    """With its length, and its row has its counts."""
    body = answering(text, upstream)
    answer = await agent.chat()
    assert (answer.status, answer.body, answer.complete) == (200, body, True)
    assert answer.header("content-length") == str(len(body))
    [row] = await agent.rows(1)
    assert (row["state"], row["input_tokens"], row["output_tokens"]) == ("done", COUNTS[0], COUNTS[2])


async def test_others_are_served_while_a_large_answer_is_read_slowly(agent: Agent, upstream: Upstream) -> None:
    """The agent keeps what nobody has read yet, and does not wait for it."""
    answering("A" * 16 * LARGE, upstream)
    slow = await agent.begin()
    await slow.head()
    assert (await fetch(f"{agent.url}/healthz")).status == 200
    [row] = await agent.rows(1)  # which is written before the first byte
    assert row["state"] == "done"
    await slow.close()
    await agent.until(lambda: agent.server.admissions.running == 0)


async def test_a_client_that_leaves_a_large_answer_leaves_nothing_behind(agent: Agent, upstream: Upstream) -> None:
    """The row is there, and the place is free again."""
    answering("A" * 16 * LARGE, upstream)
    connection = await agent.begin()
    await connection.head()
    await connection.close()
    await agent.until(lambda: agent.server.admissions.running == 0)
    [row] = await agent.rows(1)
    assert row["state"] == "done"
