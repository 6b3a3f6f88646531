"""After a disconnect of its client, an answer is read to its usage, within limits
(docs/decisions/0005-read-on-after-a-disconnect.md)."""

import asyncio

from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.client import Connection, request_bytes
from tests.support.upstream import Received, Reply, Upstream, stream_events

EVENTS = stream_events(2, (20, 5, 7, 3))


async def test_a_client_that_leaves_while_openai_thinks(agent: Agent, upstream: Upstream) -> None:
    """The answer comes, is read, and is charged."""
    connection = await agent.begin("delay=0.3")
    await agent.until(lambda: upstream.requests)
    await connection.close()
    [row] = await agent.rows(1)
    assert (row["state"], row["client_closed"]) == ("done", True)
    assert row["input_tokens"] == upstream.billed[row["request_id"]][0]


async def test_a_client_that_leaves_before_its_body_is_in(agent: Agent, upstream: Upstream) -> None:
    """Nothing is sent, and there is no row."""
    connection = await Connection.open(agent.url)
    body = agent.body()
    await connection.send(request_bytes("POST", "/chat", agent.headers(), body)[:-5])
    await connection.close()
    assert (await agent.chat()).status == 200
    assert len(upstream.requests) == 1
    assert len(await agent.rows()) == 1


async def test_a_client_that_leaves_after_the_last_byte(agent: Agent, upstream: Upstream) -> None:
    """It has had its answer: that is no hang-up."""
    connection = await agent.begin()
    await connection.answer()
    await connection.close()
    [row] = await agent.rows(1)
    assert (row["state"], row["client_closed"]) == ("done", False)


async def test_an_upstream_that_takes_too_long_is_let_go(make_agent: MakeAgent, upstream: Upstream) -> None:
    """Past `drain_after_disconnect` the transfer is aborted; the row says what is known."""
    ended = asyncio.Event()

    async def script(request: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(EVENTS[0])
        try:
            while True:
                await reply.chunk(EVENTS[1])
                await asyncio.sleep(0.02)
        finally:
            ended.set()

    upstream.script = script
    agent = await make_agent(drain_after_disconnect=0.2)
    connection = await agent.begin(stream=True)
    await connection.head()
    await connection.close()
    async with asyncio.timeout(2):
        await ended.wait()
    [row] = await agent.rows(1)
    assert (row["state"], row["client_closed"], row["error"]) == ("incomplete", True, "client_closed")


async def test_a_silent_upstream_is_let_go_before_it_answers(make_agent: MakeAgent, upstream: Upstream) -> None:
    """Nobody knows whether it will be billed: the row says `unknown`."""

    async def script(request: Received, reply: Reply) -> None:
        await reply.writer.wait_closed()

    upstream.script = script
    agent = await make_agent(drain_after_disconnect=0.2)
    connection = await agent.begin()
    await agent.until(lambda: upstream.requests)
    await connection.close()
    [row] = await agent.rows(1)
    assert (row["state"], row["client_closed"]) == ("unknown", True)
    await agent.until(lambda: agent.server.upstream.running == 0)


async def test_only_so_many_are_read_on_at_once(make_agent: MakeAgent, upstream: Upstream) -> None:
    """One over the limit of number is aborted at once; the others are read to their usage."""
    agent = await make_agent(drain_after_disconnect_max=2)
    connections = [await agent.begin("chunks=10 gap=0.05", stream=True) for _ in range(3)]
    for connection in connections:
        await connection.head()
    for connection in connections:
        await connection.close()
    states = sorted(row["state"] for row in await agent.rows(3))
    assert states == ["done", "done", "incomplete"]


async def test_places_are_free_again_after_hang_ups(make_agent: MakeAgent, upstream: Upstream) -> None:
    """Neither a call nor a drain holds its place for ever."""
    agent = await make_agent(drain_after_disconnect=0.1)
    for _ in range(5):
        connection = await agent.begin("chunks=1 gap=0.02", stream=True)
        await connection.head()
        await connection.close()
    await agent.rows(5)
    await agent.until(lambda: agent.server.lifecycle.in_flight == 0)
    server = agent.server
    assert (server.admissions.running, server.relay.abandoned_calls, server.upstream.running) == (0, 0, set())
