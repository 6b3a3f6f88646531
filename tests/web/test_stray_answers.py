"""An upstream that sends more than an answer: each client gets its own, and each row has its own tokens."""

import asyncio
import json

import pytest

from tests.support.agent import Agent
from tests.support.upstream import Received, Reply, Upstream, completion

pytestmark = pytest.mark.shared_agent

STRAY = completion(1, 0, 1, text="a stray answer")


@pytest.mark.parametrize("delay", [None, 0.0, 0.02])
async def test_second_answer_reaches_no_client(agent: Agent, upstream: Upstream, delay: float | None) -> None:
    """A second answer behind each one, in its packet or later, changes neither the next answer nor its row."""

    async def script(request: Received, reply: Reply) -> None:
        number = int(request.json["messages"][-1]["content"])
        body = completion(number, 0, 7, text=f"the answer to {number}")
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        stray = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(STRAY), STRAY)
        if delay is None:
            await reply.raw(answer + stray)
            return
        await reply.raw(answer)
        await asyncio.sleep(delay)
        await reply.raw(stray)
        sent.set()

    upstream.script, sent = script, asyncio.Event()
    tokens = [agent.token, await agent.add_user("bob")]
    for number in range(20):
        sent.clear()
        answer = await agent.post(agent.body(str(number)), Authorization=f"Bearer {tokens[number % 2]}")
        assert json.loads(answer.body)["choices"][0]["message"]["content"] == f"the answer to {number}"
        if delay is not None:
            await sent.wait()
    assert [row["input_tokens"] for row in await agent.rows(20)] == list(range(20))
