"""Slow, odd and hostile clients: others are served, memory is bounded, and no invalid request is dispatched."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from chatgpt_agent.web import lingering
from chatgpt_agent.web.client_stream import ConnectionLimits
from tests.conftest import MakeAgent
from tests.faults.processes import CHAT, Flood, narrow, resident, send_chat, serving
from tests.support.agent import Agent
from tests.support.client import Answer, Connection, fetch, request_bytes
from tests.support.commands import Cli
from tests.support.oracle import verify
from tests.support.serving import body
from tests.support.upstream import Reply, Upstream, completion
from tests.support.waiting import SECONDS

pytestmark = [pytest.mark.shared_agent, pytest.mark.slow]

MIB = 1024 * 1024


@pytest.fixture
def cli(dsn: str, upstream: Upstream, tmp_path: Path) -> Cli:
    """The program on a database of the test's own, with a fake OpenAI behind it."""
    return Cli({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path / "data"), "OPENAI_URL": upstream.url})


# Clients that do not read (C4).


async def test_a_hundred_clients_that_do_not_read_cost_little_memory(cli: Cli, upstream: Upstream) -> None:
    """The agent holds less than 1 MB of a stream of 15 MB; others are served, and a late reader gets all of it."""
    flood = Flood(150)
    async with serving(cli, DRAIN_AFTER_DISCONNECT="0") as (serve, url, token):
        assert (await fetch(f"{url}/v1/models", headers={"Authorization": f"Bearer {token}"})).status == 200
        before = resident(serve.process.pid)
        upstream.script = flood
        clients = [await narrow(url) for _ in range(100)]
        for client in clients:
            await send_chat(client, token, body(stream=True))
        await flood.until_blocked()
        grown = resident(serve.process.pid) - before
        upstream.script = upstream.openai
        assert (await chat(url, token)).status == 200
        last = await clients[0].answer()
        for client in clients:
            await client.close()
        assert await serve.stopped() == 0
    assert 0 < flood.sent < 15_000
    assert (last.complete, len(last.body) > 15_000_000) == (True, True)
    assert grown < 100 * MIB


async def chat(url: str, token: str) -> Answer:
    """Sends a chat request on a connection of its own."""
    connection = await Connection.open(url)
    await send_chat(connection, token, body(stream=False))
    async with asyncio.timeout(SECONDS):
        answer = await connection.answer()
    await connection.close()
    return answer


async def test_a_client_that_does_not_read_is_disconnected(make_agent: MakeAgent, upstream: Upstream) -> None:
    """After `stall_seconds` the connection ends; the stream is read to its usage, as after any disconnect."""
    agent = await make_agent(limits=ConnectionLimits(stall_seconds=0.5))
    flood = Flood(300)
    upstream.script = flood
    connection = await narrow(agent.url)
    await send_chat(connection, agent.token, agent.body(stream=True))
    [row] = await agent.rows(1)
    assert (row["state"], row["output_tokens"], row["client_closed"]) == ("done", 5, True)
    await connection.close()


async def test_a_disconnected_client_frees_its_place(make_agent: MakeAgent, upstream: Upstream) -> None:
    """Four clients that do not read take all four places; after their disconnect a fifth is served."""
    agent = await make_agent(limits=ConnectionLimits(stall_seconds=0.5), max_concurrent_requests=4)
    upstream.script = Flood(300)
    clients = [await narrow(agent.url) for _ in range(4)]
    for client in clients:
        await send_chat(client, agent.token, agent.body(stream=True))
    await agent.until(lambda: agent.server.admissions.full)
    await agent.until(lambda: agent.server.admissions.running == 0)
    upstream.script = upstream.openai
    assert (await agent.chat()).status == 200
    for client in clients:
        await client.close()


async def test_a_whole_answer_that_is_not_read_is_dropped(make_agent: MakeAgent, upstream: Upstream) -> None:
    """The row is written before the first byte is sent, and the request ends although its answer is not read."""
    agent = await make_agent(limits=ConnectionLimits(stall_seconds=0.5))

    async def script(request: object, reply: Reply) -> None:
        await reply.whole(completion(10, 2, 5, text="x" * 20_000_000))

    upstream.script = script
    connection = await narrow(agent.url)
    await send_chat(connection, agent.token, agent.body())
    assert [row["state"] for row in await agent.rows(1)] == ["done"]
    await agent.until(lambda: agent.server.lifecycle.in_progress == 0)
    await connection.close()


# Clients that close one direction (C5).


async def test_a_half_closed_connection_is_a_disconnect(agent: Agent, upstream: Upstream) -> None:
    """A client that closes its sending direction gets no answer, and its request is recorded."""
    connection = await agent.begin("delay=0.3")
    await agent.until(lambda: upstream.requests)
    connection.writer.write_eof()
    async with asyncio.timeout(SECONDS):
        assert await connection.reader.read() == b""
    await connection.close()
    [row] = await verify(agent, upstream)
    assert row["state"] == "done"


# Bodies in chunks (C7).


def in_chunks(agent: Agent, chunks: bytes) -> bytes:
    """Returns a chunked request; `chunks` are the bytes of its body with their framing."""
    fields = {"Host": "a", **agent.headers(), "Transfer-Encoding": "chunked"}
    head = f"POST {CHAT} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + chunks


async def test_a_chunked_body_reaches_openai_whole(agent: Agent, upstream: Upstream) -> None:
    """The upstream receives the chunks as one body."""
    text = agent.body()
    connection = await Connection.open(agent.url)
    await connection.send(in_chunks(agent, b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (text[:5], len(text) - 5, text[5:])))
    assert (await connection.answer()).status == 200
    await connection.close()
    assert upstream.requests[0].body == text


async def test_a_refused_request_ends_its_connection(agent: Agent) -> None:
    """The connection ends as `Connection: close` announces (RFC 9112 §9.6), even if the whole body has arrived."""
    connection = await Connection.open(agent.url)
    await connection.send(request_bytes("POST", CHAT, agent.headers(Authorization="Bearer wrong"), agent.body()))
    assert (await connection.answer()).status == 401
    async with asyncio.timeout(SECONDS):
        assert await connection.reader.read() == b""
    await connection.close()


# Clients that stop in the middle of a request (C11).

HALF: dict[str, Callable[[Agent], bytes]] = {
    "head": lambda agent: b"POST /chat HTTP/1.1\r\nHost: a\r\nX-Odd: ",
    "body": lambda agent: request_bytes("POST", CHAT, agent.headers(**{"Content-Length": "1000"}), b"{"),
}


@pytest.mark.parametrize("part", HALF)
async def test_two_hundred_incomplete_requests_delay_no_others(
    make_agent: MakeAgent, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Other clients are served meanwhile, and connections with an incomplete request end in time."""
    monkeypatch.setattr(lingering, "SILENCE_SECONDS", 1.0)  # after the answer, while the client does not close
    agent = await make_agent(limits=ConnectionLimits(head_seconds=2.0, body_seconds=2.0))
    async with contextlib.AsyncExitStack() as stack:
        halves = [await Connection.open(agent.url) for _ in range(200)]
        for connection in halves:
            stack.push_async_callback(connection.close)
            await connection.send(HALF[part](agent))
        for _ in range(10):
            assert (await agent.chat()).status == 200
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(ended(connection) for connection in halves))
        await agent.until(lambda: agent.server.listeners[0].connections == 0)
    assert len(upstream.requests) == 10


async def ended(connection: Connection) -> None:
    """Waits until the other side closes or resets a connection."""
    with contextlib.suppress(ConnectionError):
        await connection.reader.read()


async def test_connections_over_the_limit_wait_and_are_served(make_agent: MakeAgent, upstream: Upstream) -> None:
    """While incomplete requests take every place, clients wait until these end; administrators are served at once."""
    agent = await make_agent(limits=ConnectionLimits(connections=5, head_seconds=1.0), max_concurrent_requests=5)
    halves = [await Connection.open(agent.url) for _ in range(5)]
    await agent.until(lambda: agent.server.listeners[0].connections == 5)
    assert (await fetch(f"http://127.0.0.1:{agent.server.admin_port}/healthz")).status == 200
    async with asyncio.timeout(SECONDS):
        assert (await agent.chat()).status == 200
    for connection in halves:
        await connection.close()
