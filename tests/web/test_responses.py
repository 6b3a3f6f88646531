"""Responses, whose streams end with an event of their own: its usage, its state, and that it waits for the row."""

import asyncio
import json
import sqlite3

import pytest

from tests.support.agent import Agent
from tests.support.client import Answer
from tests.support.endpoints import counts_for, response_events, usage_of, whole
from tests.support.sdk import MODEL, call, priced, sdk
from tests.support.upstream import Received, Reply, Upstream

pytestmark = pytest.mark.shared_agent

PATH = "/v1/responses"
USAGE = usage_of(PATH, counts_for(PATH, 1))


async def stream(agent: Agent, text: str = "hello") -> Answer:
    await priced(agent)
    return await agent.post(json.dumps({"model": MODEL, "input": text, "stream": True}).encode(), PATH)


async def test_last_event_waits_for_the_row(agent: Agent, upstream: Upstream) -> None:
    """While the outbox cannot be written, the client gets all events but the last, and no clean end."""
    blocker = sqlite3.connect(agent.config.data_dir / "outbox.db", isolation_level=None)
    events = response_events(USAGE)

    async def script(_: Received, reply: Reply) -> None:
        blocker.execute("BEGIN EXCLUSIVE")
        await reply.stream_head()
        for event in events:
            await reply.chunk(event)
        await reply.end()

    upstream.script = script
    answer = await stream(agent)
    blocker.close()
    assert (answer.body, answer.complete) == (b"".join(events[:-1]), False)
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == ("done", 305)


async def test_row_is_written_before_the_last_event(agent: Agent, upstream: Upstream) -> None:
    """When the client gets the last event its row is written, even if the upstream has not ended the stream."""
    row_seen = asyncio.Event()

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(b"".join(response_events(USAGE)))
        await row_seen.wait()
        await reply.end()

    upstream.script = script
    async with sdk(await priced(agent)) as client:
        async for event in await call(client, PATH, stream=True):
            if event.type == "response.completed":
                assert (await agent.rows(1))[0]["state"] == "done"
                row_seen.set()


@pytest.mark.parametrize(
    ("end", "state", "has_usage"),
    [
        ("completed", "done", True),
        ("incomplete", "done", True),
        ("failed", "upstream_error", True),
        ("error", "upstream_error", False),
        ("nothing", "usage_unknown", False),
    ],
)
async def test_end_of_a_stream_decides_the_state(
    agent: Agent, upstream: Upstream, end: str, state: str, has_usage: bool
) -> None:
    """Each end of a stream has its state, and its usage is charged if it reports one."""
    answer = await stream(agent, f"end={end}")
    assert (answer.body, answer.complete) == (upstream.sent(), True)
    [row] = await agent.rows(1)
    assert (row["state"], row["input_tokens"] is not None, row["cost"] > 0) == (state, has_usage, has_usage)


@pytest.mark.parametrize(("status", "state"), [("incomplete", "done"), ("failed", "upstream_error")])
async def test_status_of_a_whole_answer_decides_the_state(agent: Agent, status: str, state: str) -> None:
    """The status in a whole answer counts like the end of a stream."""
    async with sdk(await priced(agent)) as client:
        assert (await call(client, PATH, f"end={status}")).status == status
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"]) == (state, 305)


async def test_truncated_response_is_recorded_as_incomplete(agent: Agent, upstream: Upstream) -> None:
    """If OpenAI's stream breaks off, the client's does, too, and the row has no usage."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(b"".join(response_events(USAGE))[:-40])
        await reply.reset()

    upstream.script = script
    assert not (await stream(agent)).complete
    [row] = await agent.rows(1)
    assert (row["state"], row["error"], row["input_tokens"]) == ("incomplete", "upstream_truncated", None)


async def test_response_is_read_to_its_usage_after_a_disconnect(agent: Agent) -> None:
    """After its client has disconnected, a response is read until its usage is known."""
    async with sdk(await priced(agent)) as client:
        events = await call(client, PATH, "chunks=20 gap=0.02", stream=True)
        async for _ in events:
            break
        await events.close()
    [row] = await agent.rows(1)
    assert (row["state"], row["client_closed"], row["output_tokens"]) == ("done", True, 305)


async def test_tokens_of_a_second_model_without_a_price_are_uncertain(agent: Agent, upstream: Upstream) -> None:
    """A stored prompt may bring a tool that generates images, with a model that the request does not name: the row has
    its tokens, and says that a part of them has no price."""

    async def script(_: Received, reply: Reply) -> None:
        answer = json.loads(whole(PATH, USAGE, {}))
        tools = {"image_gen": {"input_tokens": 9, "output_tokens": 4160, "total_tokens": 4169}}
        await reply.whole(json.dumps({**answer, "tool_usage": tools}).encode())

    upstream.script = script
    async with sdk(await priced(agent)) as client:
        await call(client, PATH, prompt={"id": "pmpt_1"})
    [row] = await agent.rows(1)
    assert (row["state"], row["image_tool_output_tokens"]) == ("done", 4160)
    assert row["uncertain_reason"] == "no_price"
