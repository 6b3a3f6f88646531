"""The connection to PostgreSQL breaks, hangs or moves: the agent connects again, and no request waits for it."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.errors import StoreUnavailable
from tests.conftest import MakeAgent
from tests.faults.conftest import Load, Postgres, private_server
from tests.faults.postgresql_faults import LAG, WAITING, Through, locked, statuses, until_result
from tests.support.agent import Agent
from tests.support.database import end_connections, query
from tests.support.oracle import check, settled, verify
from tests.support.tcp_relay import Link
from tests.support.upstream import Upstream

pytestmark = pytest.mark.slow


@pytest.fixture
def postgres(server: Postgres) -> str:
    """The module's own server, for the `dsn` of each test: it may be harmed."""
    return server.dsn


# The connection itself, with each event loop.


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_refused_port_can_be_tried_again_and_again(
    loop: Callable[[], asyncio.AbstractEventLoop], refused_port: int
) -> None:
    """libpq closes its socket without the event loop, and uvloop would refuse the next socket with that number."""

    async def tries() -> None:
        async with Store(f"host=127.0.0.1 port={refused_port} user=a dbname=a") as store:
            for _ in range(4):
                with pytest.raises(StoreUnavailable, match="refused"):
                    await store.fetch("SELECT 1")

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(tries())


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_statement_that_is_cut_while_it_is_sent_can_be_repeated(
    server: Postgres, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The connection breaks while the loop waits for the socket to become writable; the next statement works."""
    long = "x" * 32_000_000

    async def tries() -> None:
        link = await Link(server.socket).start()
        dsn = f"host=127.0.0.1 port={link.port} user=postgres dbname=postgres sslmode=disable"
        async with Store(dsn, seconds=1) as store:
            for _ in range(3):
                assert await store.fetch("SELECT 1") == [(1,)]
                link.freeze()
                asking = asyncio.create_task(store.fetch("SELECT length(%s)", [long]))
                await asyncio.sleep(0.1)
                link.cut()
                with pytest.raises(StoreUnavailable):
                    await asking
                link.thaw()
        await link.stop()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(tries())


def descriptors() -> int:
    """The number of files that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_lost_connections_leave_no_descriptors_behind(link: Link, through: Through) -> None:
    """After ten lost connections this process has as many open files as before."""
    async with Store(through()) as store:
        await store.fetch("SELECT 1")
        before = descriptors()
        for _ in range(10):
            link.cut()
            with pytest.raises(StoreUnavailable):
                await store.fetch("SELECT 1")
            await store.fetch("SELECT 1")
        assert descriptors() <= before + 2


async def test_the_options_of_a_connection_string_hold(dsn: str) -> None:
    """The option `search_path` of a connection string has effect."""
    async with Store(f"{dsn} options='-c search_path=pg_catalog'") as store:
        assert await store.fetch("SHOW search_path") == [("pg_catalog",)]


# P5: PostgreSQL moves to another address.


@pytest.fixture
def second(io_loop: IOLoop, server: Postgres) -> Iterator[Link]:
    """The address that the server moves to; no program listens there before."""
    link = Link(server.socket)
    link.reserve()
    yield link
    io_loop.run_sync(link.stop)


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_after_a_failover_the_other_address_is_used(
    make_agent: MakeAgent, server: Postgres, link: Link, second: Link, dsn: str, upstream: Upstream, how: str
) -> None:
    """The connection string has both addresses; the old one refuses connections, or accepts them and never answers."""
    name = dsn.split("dbname=")[1]
    agent = await make_agent(
        database_url=f"host=127.0.0.1,127.0.0.1 port={link.port},{second.port} user=postgres dbname={name} "
        "sslmode=disable"
    )
    async with Load(agent, clients=2) as load:
        await load.more(10)
        if how == "hangs":
            link.freeze()
        else:
            await link.refuse()
        with server.down():
            await load.more(10)
        await second.listen()
        await load.more(10)
    await settled(agent)
    assert statuses(load.answers) == {200}
    assert len(check(dsn, upstream, load.answers)) == len(load.answers)
    assert second.accepted > 0


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_read_only_server_is_skipped(server: Postgres, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """With target_session_attrs=read-write, a read-only server is not used although it is the first one."""

    async def data_directory(hosts: str) -> list[tuple[Any, ...]]:
        dsn = f"host={hosts} port=5432 user=postgres dbname=postgres target_session_attrs=read-write"
        async with Store(dsn) as store:
            return await store.fetch("SHOW data_directory")

    with private_server() as standby, asyncio.Runner(loop_factory=loop) as runner:
        query(standby.dsn, "ALTER SYSTEM SET default_transaction_read_only = on")
        query(standby.dsn, "SELECT pg_reload_conf()")
        rows = runner.run(data_directory(f"{standby.socket_folder},{server.socket_folder}"))
    assert rows == [(str(server.data),)]


# P9: a connection is ended while a statement waits.


@pytest.mark.parametrize("times", [1, 3])
async def test_a_connection_that_is_ended_while_it_waits(
    agent: Agent, dsn: str, upstream: Upstream, times: int
) -> None:
    """An administrator ends the connection during the shipper's statement, which is then sent on a new one."""
    async with locked(dsn):
        answers = [await agent.chat() for _ in range(3)]
        for _ in range(times):
            await until_result(dsn, WAITING, 1)
            assert await asyncio.to_thread(end_connections, dsn) >= 1
            answers.append(await agent.chat())
    assert statuses(answers) == {200}
    assert len(await verify(agent, upstream, answers)) == len(answers)


# P10: packets are lost.


async def test_lost_packets_delay_no_request(
    make_agent: MakeAgent, link: Link, through: Through, upstream: Upstream
) -> None:
    """A connection attempt gets no answer, not even a refusal, and does not block the event loop."""
    agent = await make_agent(database_url=through())
    async with Load(agent) as load:
        await load.more(20)
        link.freeze()
        link.cut()
        await agent.until(lambda: not agent.server.directory.connected)
        before = link.accepted
        await agent.until(lambda: link.accepted > before)
        load.lag = 0.0
        await load.more(100)
        lag = load.lag
        link.thaw()
    assert statuses(load.answers) == {200}
    assert lag < LAG
    await verify(agent, upstream, load.answers)


async def test_a_host_name_is_not_resolved_on_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, refused_port: int
) -> None:
    """libpq would block every request: a name server that does not answer takes seconds to time out."""
    hosts = []

    def getaddrinfo(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        hosts.append((host, threading.current_thread() is threading.main_thread()))
        return [(0, 0, 0, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with Store(f"host=postgresql.example port={refused_port} user=a dbname=a") as store:
        with pytest.raises(StoreUnavailable, match="refused"):
            await store.fetch("SELECT 1")
    assert hosts == [("postgresql.example", False)]


async def test_every_address_of_a_name_is_tried(server: Postgres, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name like `localhost` has two addresses, and PostgreSQL may listen on only one of them."""

    def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", (address, 0)) for address in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with Store(f"host=both.example port={link.port} user=postgres dbname=postgres sslmode=disable") as store:
        assert await store.fetch("SELECT 1") == [(1,)]
