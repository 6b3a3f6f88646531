"""Idle connections lock no client out: one address cannot take all connections, and the oldest idle one makes room."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from chatgpt_agent.web.client_stream import ConnectionLimits
from tests.conftest import MakeAgent
from tests.support.agent import Agent
from tests.support.client import Connection, fetch, request_bytes
from tests.support.upstream import Upstream

pytestmark = pytest.mark.shared_agent

GET = request_bytes("GET", "/healthz", {}, b"")


@contextlib.asynccontextmanager
async def idle_connections(
    url: str, count: int, source: str | None = None, sent: bytes = b""
) -> AsyncIterator[list[Connection]]:
    """Yields connections of an address that have sent the same bytes, and have received an answer to a request."""
    connections = [await Connection.open(url, source) for _ in range(count)]
    for connection in connections:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):  # it has made room for another one
            await connection.send(sent)
            if sent == GET:
                await connection.answer()
    yield connections
    for connection in connections:
        await connection.close()


async def is_served(connection: Connection) -> bool:
    """Returns whether the other side still answers on a connection."""
    try:
        await connection.send(GET)
        return (await connection.answer()).status == 200
    except (ConnectionError, asyncio.IncompleteReadError):
        return False


@pytest.mark.parametrize("sent", [b"", b"GET / HT", GET], ids=["new", "unfinished", "kept"])
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
async def test_idle_connections_make_room(make_agent: MakeAgent, sent: bytes, source: str) -> None:
    """When as many are open as there may be, a new one is served, of the same address or of another."""
    agent = await make_agent(limits=ConnectionLimits(connections=20), max_concurrent_requests=20)
    async with idle_connections(agent.url, 20, sent=sent), asyncio.timeout(10):
        assert (await fetch(agent.url + "/healthz", source=source)).status == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HT", GET], ids=["new", "unfinished", "kept"])
async def test_idle_connections_do_not_lock_out_administrators(agent: Agent, sent: bytes) -> None:
    """The administration has few connections, and more idle ones do not fill it."""
    async with idle_connections(agent.admin_url, 40, sent=sent), asyncio.timeout(10):
        assert (await fetch(agent.admin_url + "/healthz")).status == 200


async def test_busy_connections_of_one_address_do_not_lock_out_administrators(agent: Agent) -> None:
    """An address that keeps all connections of the administration busy loses one to another address."""

    async def repeat(connection: Connection) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await connection.send(GET)
                await connection.answer()

    async with idle_connections(agent.admin_url, 16) as connections, asyncio.timeout(20):
        busy = [asyncio.create_task(repeat(connection)) for connection in connections]
        assert (await fetch(agent.admin_url + "/healthz", source="127.0.0.2")).status == 200
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


async def test_oldest_idle_connection_makes_room(make_agent: MakeAgent) -> None:
    """If an address has too many connections, the one that has been idle for longest is closed, and no other."""
    agent = await make_agent(limits=ConnectionLimits(connections_per_address=3))
    ours, others = idle_connections(agent.url, 3, sent=GET), idle_connections(agent.url, 1, "127.0.0.2", GET)
    async with others as [other], ours as own:
        await asyncio.sleep(1.1)
        await own[0].send(GET)
        await own[0].answer()
        assert (await fetch(agent.url + "/healthz")).status == 200
        assert [await is_served(connection) for connection in (*own, other)] == [True, False, True, True]


async def test_address_with_too_many_requests_is_refused(make_agent: MakeAgent, upstream: Upstream) -> None:
    """When every connection of an address has a request, one more is a 429; another address is served."""
    agent = await make_agent(limits=ConnectionLimits(connections_per_address=3))
    may_answer = upstream.hold()
    running = [await agent.begin() for _ in range(3)]
    await agent.until(lambda: len(upstream.requests) == 3)
    answer = await fetch(agent.url + "/healthz")
    assert (answer.status, answer.error["code"], answer.header("retry-after")) == (429, "too_many_connections", "1")
    assert (await fetch(agent.url + "/healthz", source="127.0.0.2")).status == 200
    may_answer.set()
    for connection in running:
        assert (await connection.answer()).status == 200
        await connection.close()
    assert (await fetch(agent.url + "/healthz")).status == 200


async def test_limit_behind_a_proxy_is_of_the_forwarded_address(make_agent: MakeAgent, upstream: Upstream) -> None:
    """Requests through a trusted proxy count for the address that they are forwarded for."""
    limits = ConnectionLimits(connections_per_address=3)
    agent = await make_agent(limits=limits, trusted_proxies=("127.0.0.1",))

    async def status(address: str) -> int:
        return (await agent.post(agent.body(), **{"X-Forwarded-For": address})).status

    may_answer = upstream.hold()
    addresses = ["192.0.2.1"] * 4 + ["192.0.2.2"] * 3
    requests = [asyncio.create_task(status(address)) for address in addresses]
    await agent.until(lambda: len(upstream.requests) == 6 and any(request.done() for request in requests))
    may_answer.set()
    statuses = await asyncio.gather(*requests)
    assert sorted(statuses[:4]) == [200, 200, 200, 429]
    assert statuses[4:] == [200] * 3


async def test_idle_connections_of_a_proxy_are_not_limited(make_agent: MakeAgent) -> None:
    """A trusted proxy may keep any number of connections for its clients."""
    limits = ConnectionLimits(connections_per_address=3)
    agent = await make_agent(limits=limits, trusted_proxies=("127.0.0.1",))
    async with idle_connections(agent.url, 10, sent=GET) as own:
        await asyncio.sleep(1.1)
        assert (await fetch(agent.url + "/healthz")).status == 200
        assert all([await is_served(connection) for connection in own])


async def test_keep_alive_timeout_is_a_setting(make_agent: MakeAgent) -> None:
    """A connection is closed after `keep_alive_timeout` without a request."""
    agent = await make_agent(keep_alive_timeout=0.3)
    async with idle_connections(agent.url, 1, sent=GET) as [connection], asyncio.timeout(10):
        assert await connection.reader.read() == b""


async def test_client_timeout_is_a_setting(make_agent: MakeAgent) -> None:
    """A head that takes longer than `client_timeout` is a 408."""
    agent = await make_agent(client_timeout=0.3)
    async with idle_connections(agent.url, 1, sent=b"GET / HT") as [connection], asyncio.timeout(10):
        assert (await connection.answer()).status == 408
