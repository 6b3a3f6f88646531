"""After a disconnect of its client, an answer is read to its usage, within limits
(docs/decisions/0005-read-on-after-a-disconnect.md)."""

import asyncio

import pytest

from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.client import Connection, request_bytes
from tests.support.upstream import Received, Reply, Upstream, stream_events

EVENTS = stream_events(2, (20, 5, 7, 3))

pytestmark = pytest.mark.shared_agent


@pytest.fixture
def may_end(upstream: Upstream) -> asyncio.Event:
    """Until it is set, streams do not go on after their first event."""
    may_end = asyncio.Event()

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(EVENTS[0])
        await may_end.wait()
        for event in EVENTS[1:]:
            await reply.chunk(event)
        await reply.end()

    upstream.script = script
    return may_end


async def test_disconnect_before_the_answer_is_charged(agent: Agent, upstream: Upstream) -> None:
    """If the client disconnects while OpenAI works, the answer is read and charged."""
    may_answer = upstream.hold()
    connection = await agent.begin()
    await agent.until(lambda: upstream.requests)
    await connection.close()
    await agent.until(lambda: agent.server.relay.abandoned.running)
    may_answer.set()
    [row] = await agent.rows(1)
    assert (row["state"], row["client_closed"]) == ("done", True)
    assert row["input_tokens"] == upstream.billed[row["request_id"]][0]


async def test_disconnect_before_the_end_of_the_body_is_logged(
    agent: Agent, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """If the client disconnects before its body is complete, nothing is sent or recorded, and the log has a 499."""
    caplog.set_level("INFO", "chatgpt_agent.access")
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes("POST", "/chat", agent.headers(), agent.body())[:-5])
    await connection.close()
    await agent.until(lambda: "POST /chat 499" in caplog.text)
    assert upstream.requests == []
    assert await agent.rows() == []


async def test_disconnect_after_the_answer_is_not_recorded(agent: Agent) -> None:
    """A client that disconnects after its answer is complete has not left early."""
    connection = await agent.begin()
    await connection.answer()
    await connection.close()
    [row] = await agent.rows(1)
    assert (row["state"], row["client_closed"]) == ("done", False)


async def test_upstream_is_aborted_when_it_takes_too_long(make_agent: MakeAgent, upstream: Upstream) -> None:
    """After `drain_after_disconnect` the exchange is aborted, and the row is incomplete."""
    aborted = asyncio.Event()

    async def script(_: Received, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(EVENTS[0])
        try:
            while True:
                await reply.chunk(EVENTS[1])
                await asyncio.sleep(0.02)
        finally:
            aborted.set()

    upstream.script = script
    agent = await make_agent(drain_after_disconnect=0.2)
    connection = await agent.begin(stream=True)
    await connection.head()
    await connection.close()
    await aborted.wait()
    [row] = await agent.rows(1)
    assert (row["state"], row["client_closed"], row["error"]) == ("incomplete", True, "client_closed")


async def test_silent_upstream_is_aborted(make_agent: MakeAgent, upstream: Upstream) -> None:
    """If the upstream has not answered by then, it is unknown whether it bills the request: the row says `unknown`."""

    async def script(_: Received, reply: Reply) -> None:
        await reply.writer.wait_closed()

    upstream.script = script
    agent = await make_agent(drain_after_disconnect=0.2)
    connection = await agent.begin()
    await agent.until(lambda: upstream.requests)
    await connection.close()
    [row] = await agent.rows(1)
    assert (row["state"], row["client_closed"]) == ("unknown", True)
    await agent.until(lambda: not agent.server.upstream.running)


async def test_number_of_abandoned_answers_is_limited(make_agent: MakeAgent, may_end: asyncio.Event) -> None:
    """Above `drain_after_disconnect_max` an answer is aborted at once; the others are read to their usage."""
    agent = await make_agent(drain_after_disconnect_max=2)
    connections = [await agent.begin(stream=True) for _ in range(3)]
    for connection in connections:
        await connection.head()
    for connection in connections:
        await connection.close()
    assert [row["state"] for row in await agent.rows(1)] == ["incomplete"]
    may_end.set()
    states = sorted(row["state"] for row in await agent.rows(3))
    assert states == ["done", "done", "incomplete"]


async def test_one_user_leaves_places_for_others(make_agent: MakeAgent, may_end: asyncio.Event) -> None:
    """One user's disconnected requests do not keep that of another from being read to its usage."""
    agent = await make_agent(drain_after_disconnect_max=2)
    connections = [await agent.begin(stream=True) for _ in range(2)]
    agent.token = await agent.add_user("bob")
    connections.append(await agent.begin(stream=True))
    for connection in connections:
        await connection.head()
    for connection in connections[:2]:
        await connection.close()
    await agent.until(lambda: agent.server.relay.abandoned.running == 2)
    await connections[2].close()
    assert {(row["user_id"], row["state"]) for row in await agent.rows(1)} == {(1, "incomplete")}
    may_end.set()
    states = {(row["user_id"], row["state"]) for row in await agent.rows(3)}
    assert states == {(1, "done"), (1, "incomplete"), (2, "done")}


async def test_abandoned_answers_free_their_places(make_agent: MakeAgent, upstream: Upstream) -> None:
    """After disconnects no request, abandoned answer or exchange is left."""
    agent = await make_agent(drain_after_disconnect=0.1)
    for _ in range(5):
        connection = await agent.begin("chunks=1 gap=0.02", stream=True)
        await connection.head()
        await connection.close()
    await agent.rows(5)
    await agent.until(lambda: agent.server.lifecycle.in_progress == 0)
    server = agent.server
    assert (server.admissions.running, server.relay.abandoned.running, server.upstream.running) == (0, 0, 0)
