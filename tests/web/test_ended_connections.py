"""Nothing is taken from a connection that has ended: no request behind its end is sent, and none is billed."""

import asyncio
import logging
import os
import socket
import struct

import pytest

from chatgpt_agent.web.client_stream import ConnectionLimits
from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.client import Connection, request_bytes
from tests.support.loops import handle_all, run_timers, skip_time
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent

CHAT = "/v1/chat/completions"
COUNT = 30


def posts(agent: Agent, count: int = COUNT, **fields: str) -> bytes:
    """Returns chat requests, one behind the other."""
    return request_bytes("POST", CHAT, {**agent.headers(), **fields}, agent.body()) * count


def reset(connection: Connection) -> None:
    """Ends a connection with a reset."""
    client: socket.socket = connection.writer.get_extra_info("socket")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.writer.transport.abort()


ENDINGS = {
    "close": lambda connection: connection.writer.close(),
    "half close": lambda connection: connection.writer.write_eof(),
    "reset": reset,
}


@pytest.mark.parametrize("option", ["close", "Close"])
async def test_requests_behind_connection_close_are_not_sent(agent: Agent, upstream: Upstream, option: str) -> None:
    """A request with the connection option `close` is the last one of its connection (RFC 9112 §9.6)."""
    connection = await Connection.open(agent.url)
    await connection.send(posts(agent, Connection=option))
    answers = await connection.reader.read()
    await connection.close()
    assert answers.count(b"HTTP/1.1 200") == answers.count(b"HTTP/1.1") == 1
    assert len(upstream.requests) == len(await agent.rows()) == 1


@pytest.mark.parametrize("ending", ENDINGS)
async def test_requests_behind_the_end_of_a_connection_are_not_sent(
    agent: Agent, upstream: Upstream, ending: str
) -> None:
    """When a client sends thirty requests and leaves, at most one is sent, and its row says that the client left."""
    connection = await Connection.open(agent.url)
    connection.writer.write(posts(agent))
    ENDINGS[ending](connection)
    await agent.until(lambda: not agent.server.listeners[0].connections)
    await agent.until(lambda: not agent.server.lifecycle.in_progress)
    await connection.close()
    rows = await agent.rows()
    assert len(upstream.requests) <= 1
    assert all(row["client_closed"] for row in rows)


@pytest.mark.parametrize("ending", ENDINGS)
async def test_end_during_a_pipelined_request_is_noticed(agent: Agent, upstream: Upstream, ending: str) -> None:
    """A client that leaves while its first request runs has left, whatever it sent behind that request."""
    may_answer = upstream.hold()
    connection = await Connection.open(agent.url)
    await connection.send(posts(agent, 1 + COUNT))
    await agent.until(lambda: upstream.requests)
    ENDINGS[ending](connection)
    await agent.until(lambda: agent.server.relay.abandoned.running)
    may_answer.set()
    [row] = await agent.rows(1)
    await connection.close()
    assert (row["client_closed"], len(upstream.requests)) == (True, 1)


async def test_stray_bytes_do_not_hide_the_end(agent: Agent, upstream: Upstream) -> None:
    """The end of a client is noticed that has sent an empty line behind its body."""
    may_answer = upstream.hold()
    connection = await agent.begin()
    await agent.until(lambda: upstream.requests)
    await connection.send(b"\r\n")
    await connection.close()
    await agent.until(lambda: agent.server.relay.abandoned.running)
    may_answer.set()
    assert [row["client_closed"] for row in await agent.rows(1)] == [True]


# Timers.


@pytest.mark.gen_test(timeout=120)  # of which 61 s are only on the loop's clock
@pytest.mark.parametrize("part", ["head", "body"])
async def test_request_that_waits_when_a_timer_fires_is_served(
    make_agent: MakeAgent, upstream: Upstream, part: str
) -> None:
    """A timer that fires while bytes of the client wait to be read does not close the connection."""
    agent = await make_agent(limits=ConnectionLimits(head_seconds=60, body_seconds=60))
    connection = await Connection.open(agent.url)
    raw = posts(agent, 1)
    sent = 0 if part == "head" else len(raw) - 5
    await connection.send(raw[:sent])
    await handle_all()
    client: socket.socket = connection.writer.get_extra_info("socket")
    os.write(client.fileno(), raw[sent:])
    skip_time(61)
    run_timers()
    assert (await connection.answer()).status == 200
    await connection.close()
    assert [row["client_closed"] for row in await agent.rows(1)] == [False]


async def test_no_request_is_billed_unanswered_as_a_timer_fires(
    make_agent: MakeAgent, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that arrives around the end of its connection's idle time is either answered or not sent."""
    agent = await make_agent(limits=ConnectionLimits(head_seconds=0.4))
    raw = posts(agent, 1)

    async def request(number: int) -> bool:
        connection = await Connection.open(agent.url)
        await asyncio.sleep(0.4 - 0.01 + number * 0.0002)
        try:
            await connection.send(raw)
            return (await connection.answer()).status == 200
        except (ConnectionError, asyncio.IncompleteReadError):
            return False
        finally:
            await connection.close()

    with caplog.at_level(logging.INFO):
        ok = sum(await asyncio.gather(*map(request, range(100))))
    rows = await agent.rows()
    assert len(upstream.requests) == len([row for row in rows if not row["client_closed"]]) == ok
    assert "Traceback" not in caplog.text
