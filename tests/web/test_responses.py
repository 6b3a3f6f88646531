"""Responses, whose streams end with an event of their own: its usage, its state, and that it waits for the row."""

import asyncio
import json
import sqlite3

import pytest

from tests.support.agent import Agent
from tests.support.endpoints import counts_for, response_events, usage_of, whole
from tests.support.sdk import MODEL, call, priced, sdk
from tests.support.upstream import Received, Reply, Upstream

pytestmark = pytest.mark.shared_agent

PATH = "/v1/responses"
USAGE = usage_of(PATH, counts_for(PATH, 1))


async def test_the_last_event_waits_for_the_row(agent: Agent, upstream: Upstream) -> None:
    """While the outbox cannot be written, everything but the last event arrives, and no clean end."""
    blocker = sqlite3.connect(agent.config.data_dir / "outbox.db", isolation_level=None)
    events = response_events(USAGE)

    async def script(request: Received, reply: Reply) -> None:
        blocker.execute("BEGIN EXCLUSIVE")
        await reply.stream_head()
        for each in events:
            await reply.chunk(each)
        await reply.end()

    upstream.script = script
    await priced(agent)
    answer = await agent.post(json.dumps({"model": MODEL, "input": "x", "stream": True}).encode(), PATH)
    blocker.close()
    assert (answer.body, answer.complete) == (b"".join(events[:-1]), False)
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", 305)


async def test_the_row_is_there_before_the_last_event(agent: Agent, upstream: Upstream) -> None:
    """Who reads it finds the request in the ledger, though the upstream has not ended the stream."""
    go_on = asyncio.Event()

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(b"".join(response_events(USAGE)))
        await go_on.wait()
        await reply.end()

    upstream.script = script
    async with sdk(await priced(agent)) as client:
        async for each in await call(client, PATH, stream=True):
            if each.type == "response.completed":
                assert (await agent.rows(1))[0]["state"] == "done"
                go_on.set()


@pytest.mark.parametrize(
    ("end", "state", "known"),
    [
        ("completed", "done", True),
        ("incomplete", "done", True),
        ("failed", "upstream_error", True),
        ("error", "upstream_error", False),
        ("nothing", "usage_unknown", False),
    ],
)
async def test_how_a_stream_of_a_response_ends(
    agent: Agent, upstream: Upstream, end: str, state: str, known: bool
) -> None:
    """Each end has its state; the usage counts where there is one."""
    await priced(agent)
    body = {"model": MODEL, "input": f"end={end}", "stream": True}
    answer = await agent.post(json.dumps(body).encode(), PATH)
    assert (answer.body, answer.complete) == (upstream.sent(), True)
    [row] = await agent.rows(1)
    assert (row["state"], row["input_tokens"] is not None, row["cost"] > 0) == (state, known, known)


@pytest.mark.parametrize(("end", "state"), [("incomplete", "done"), ("failed", "upstream_error")])
async def test_how_a_whole_response_ends(agent: Agent, upstream: Upstream, end: str, state: str) -> None:
    """A status inside of the answer counts like that of a stream."""
    async with sdk(await priced(agent)) as client:
        assert (await call(client, PATH, f"end={end}")).status == end
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == (state, 305)


async def test_a_response_that_breaks_off(agent: Agent, upstream: Upstream) -> None:
    """The client sees that it is not whole; the row says so, and no usage is made up."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(b"".join(response_events(USAGE))[:-40])
        await reply.reset()

    upstream.script = script
    await priced(agent)
    answer = await agent.post(json.dumps({"model": MODEL, "input": "x", "stream": True}).encode(), PATH)
    assert not answer.complete
    [row] = await agent.rows(1)
    assert (row["state"], row["error"], row["input_tokens"]) == ("incomplete", "upstream_truncated", None)


async def test_a_client_that_hangs_up_on_a_response(agent: Agent, upstream: Upstream) -> None:
    """It is read to its usage."""
    await priced(agent)
    async with sdk(agent) as client:
        stream = await call(client, PATH, "chunks=20 gap=0.02", stream=True)
        async for _ in stream:
            break
        await stream.close()
    [row] = await agent.rows(1)
    assert (row["state"], row["client_closed"], row["output_tokens"]) == ("done", True, 305)


async def test_the_tokens_of_a_second_model_are_not_taken_for_all(agent: Agent, upstream: Upstream) -> None:
    """A stored prompt may bring a tool that draws: then the response's own usage is not what it cost."""

    async def script(request: Received, reply: Reply) -> None:
        answer = json.loads(whole(PATH, USAGE, {}))
        tool = {"image_gen": {"input_tokens": 9, "output_tokens": 4160, "total_tokens": 4169}}
        await reply.whole(json.dumps({**answer, "tool_usage": tool}).encode())

    upstream.script = script
    async with sdk(await priced(agent)) as client:
        await call(client, PATH, prompt={"id": "pmpt_1"})
    [row] = await agent.rows(1)
    assert (row["state"], row["input_tokens"]) == ("usage_unknown", None)
