"""`chatgpt-agent serve` at a signal: open requests, and what a killed agent leaves behind."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.support.client import Connection, fetch
from tests.support.commands import Cli
from tests.support.serving import Serve, begin_stream, chat, states, with_user
from tests.support.upstream import Received, Reply, Upstream, stream_events
from tests.support.waiting import until

pytestmark = pytest.mark.slow


class Held:
    """A script that sends the first event of a stream, and the others when `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, request: Received, reply: Reply) -> None:
        first, *others = stream_events(3, (10, 2, 5, 0))
        await reply.stream_head()
        await reply.chunk(first)
        await self.go.wait()
        for event in others:
            await reply.chunk(event)
        await reply.end()


@asynccontextmanager
async def mid_stream(served: Cli, upstream: Upstream, **settings: str) -> AsyncIterator[tuple[Serve, Connection, Held]]:
    """An agent that has passed on the first event of a stream."""
    held = Held()
    upstream.script = held
    token = await with_user(served)
    async with Serve({**served.settings, **settings}) as serve:
        connection = await begin_stream(await serve.ready(), token)
        assert (await connection.head())[0] == 200
        assert await connection.chunk()
        yield serve, connection, held
        held.go.set()
        await connection.close()


async def test_open_stream_is_finished_after_a_stop_signal(served: Cli, upstream: Upstream) -> None:
    """The client gets the rest of the stream, then the agent exits with 0."""
    async with mid_stream(served, upstream) as (serve, connection, held):
        serve.process.send_signal(signal.SIGTERM)
        await serve.logged("received a stop signal")
        held.go.set()
        rest = [chunk async for chunk in chunks(connection)]
        assert rest[-1].endswith(b"data: [DONE]\n\n")
        assert await serve.ended() == 0


async def chunks(connection: Connection) -> AsyncIterator[bytes]:
    """The chunks of a body, to its end."""
    while chunk := await connection.chunk():
        yield chunk


async def test_stream_finished_after_a_stop_signal_is_in_the_ledger(served: Cli, upstream: Upstream) -> None:
    """The last rows are shipped before the agent exits."""
    async with mid_stream(served, upstream) as (serve, _, held):
        serve.process.send_signal(signal.SIGTERM)
        await serve.logged("received a stop signal")
        held.go.set()
        await serve.ended()
    assert states(served.settings["DATABASE_URL"]) == ["done"]


async def test_other_signals_do_not_end_the_agent(served: Cli) -> None:
    """Tools that rotate logs send them, and a closed terminal sends SIGHUP. The log has a line for each."""
    async with Serve(served.settings) as serve:
        url = await serve.ready()
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            serve.process.send_signal(number)
            await serve.logged(f"{number.name} is ignored")
        serve.process.send_signal(signal.SIGHUP)
        await serve.logged("the configuration is read again; changed: nothing")
        assert (await fetch(f"{url}/readyz")).status == 200
        assert await serve.stopped() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
async def test_log_names_the_signal_that_ends_the_agent(served: Cli, number: signal.Signals) -> None:
    """An administrator sees who or what has stopped it."""
    async with Serve(served.settings) as serve:
        await serve.ready()
        assert await serve.ended(number) == 0
    assert any(f"received a stop signal ({number.name})" in line for line in serve.lines)


async def test_stopping_agent_accepts_no_connection(served: Cli, upstream: Upstream) -> None:
    """The agent stops listening at the signal."""
    async with mid_stream(served, upstream) as (serve, _, _):
        url = await serve.listening()
        serve.process.send_signal(signal.SIGTERM)
        await serve.logged("received a stop signal")
        await until(lambda: refuses(url), bool)


async def refuses(url: str) -> bool:
    """Returns whether a URL refuses connections."""
    try:
        connection = await Connection.open(url)
    except ConnectionRefusedError:
        return True
    await connection.close()
    return False


async def test_stream_is_aborted_after_the_drain_timeout(served: Cli, upstream: Upstream) -> None:
    """The client sees the truncation, the row is incomplete, and the exit code is 0."""
    async with mid_stream(served, upstream, DRAIN_TIMEOUT="0.2") as (serve, connection, _):
        serve.process.send_signal(signal.SIGTERM)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            [chunk async for chunk in chunks(connection)]
        assert await serve.ended() == 0
    assert states(served.settings["DATABASE_URL"]) == ["incomplete"]


async def test_second_signal_aborts_open_requests(served: Cli, upstream: Upstream) -> None:
    """Their rows are written nevertheless."""
    async with mid_stream(served, upstream, DRAIN_TIMEOUT="3600") as (serve, _, _):
        serve.process.send_signal(signal.SIGTERM)
        await serve.logged("received a stop signal")
        assert await again(serve) == 0
    assert states(served.settings["DATABASE_URL"]) == ["incomplete"]


async def again(serve: Serve) -> int:
    """Its exit code, when it is asked to stop until it does."""
    while serve.process.returncode is None:
        # Not by `send_signal`, which looks whether the process has ended, and so takes its exit code from asyncio.
        with suppress(ProcessLookupError):
            os.kill(serve.process.pid, signal.SIGINT)
        await asyncio.sleep(0.05)
    return serve.process.returncode


async def test_open_request_of_a_killed_agent_is_unknown(served: Cli, upstream: Upstream) -> None:
    """After `kill -9`, the next start writes the row with the state unknown."""
    async with mid_stream(served, upstream) as (serve, _, _):
        await serve.ended(signal.SIGKILL)
    async with Serve(served.settings) as serve:
        await serve.ready()
        shipped = await until(lambda: asyncio.to_thread(states, served.settings["DATABASE_URL"]), bool)
        assert shipped == ["unknown"]
        await serve.stopped()


async def test_killed_agent_loses_no_row(served: Cli, upstream: Upstream) -> None:
    """The next start ships once what had not been shipped."""
    token = await with_user(served)
    async with Serve(served.settings) as serve:
        assert (await chat(await serve.ready(), token)).status == 200
        await serve.ended(signal.SIGKILL)
    async with Serve(served.settings) as serve:
        await serve.ready()
        await serve.stopped()
    assert states(served.settings["DATABASE_URL"]) == ["done"]
