"""The guard of the agent's speed: processor time of an answer and of a chunk, as multiples of a reference server's.

The reference (benchmarks/reference_server.py) is asyncio and pure Python, too, and both servers are measured in turn by
the same clients, so a slow machine and a busy one change both times alike. The least time of all rounds counts, and
rounds go on until the limit is kept or ROUNDS are over: only an agent that is slow in every round fails.

To measure new constants, run `SPEED_ROUNDS=40 .venv/bin/python -m pytest tests/test_speed.py` on a quiet machine three
times and write down the middle one of the printed values.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from benchmarks.keepalive_client import KeptConnection, chat
from benchmarks.proc_stats import cpu_seconds
from tests.support.agent import MODEL
from tests.support.commands import Cli
from tests.support.serving import Serve
from tests.support.upstream import Upstream

WHOLE = 5.2  # times the reference, for a whole answer
CHUNK = 1.5  # times the reference, for a chunk of a stream
LIMIT = 2.0  # times these constants
ROUNDS = 40  # at most
FIXED_ROUNDS = int(os.environ.get("SPEED_ROUNDS", "0"))  # this many in any case, for exact figures
CLIENTS = 8
REQUESTS = 10  # of each client in a round
CHUNKS = 100  # of each client's stream in a round

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the clock of another process is Linux's")


class Server:
    """A server process and its clients."""

    def __init__(self, url: str, pid: int, token: str) -> None:
        self._url = url
        self._pid = pid
        self._token = token
        self.best = float("inf")  # processor seconds of a round

    async def round(self, content: str, times: int, *, stream: bool) -> None:
        """Lets each client send so many requests at the same time as the others."""
        clients = [await KeptConnection.open(self._url) for _ in range(CLIENTS)]
        request = chat(self._token, MODEL, content, stream=stream)
        before = cpu_seconds(self._pid)
        await asyncio.gather(*(_send(client, request, times) for client in clients))
        self.best = min(self.best, cpu_seconds(self._pid) - before)
        for client in clients:
            client.close()


async def _send(client: KeptConnection, request: bytes, times: int) -> None:
    for _ in range(times):
        await client.ask(request)


async def ratio(agent: Server, reference: Server, content: str, times: int, *, limit: float) -> float:
    """The agent's least processor time as a multiple of the reference's; stops early below the limit."""
    agent.best = reference.best = float("inf")
    for number in range(1, max(ROUNDS, FIXED_ROUNDS) + 1):
        for server in (agent, reference):
            await server.round(content, times, stream=times == 1)
        if number >= max(5, FIXED_ROUNDS) and agent.best / reference.best < limit:
            break
    return agent.best / reference.best


@asynccontextmanager
async def agent_server(dsn: str, upstream: Upstream, folder: Path) -> AsyncIterator[Server]:
    """An agent in a process of its own, with a user and a price."""
    cli = Cli({"DATABASE_URL": dsn, "DATA_DIR": str(folder / "data"), "OPENAI_URL": upstream.url})
    await cli.in_thread("price", "set", MODEL, "--input", "0.15", "--output", "0.60")
    token = (await cli.in_thread("user", "add", "alice", "--openai-key-stdin", stdin="sk-of-alice")).strip()
    async with Serve(cli.settings) as serve:
        yield Server(await serve.ready(), serve.process.pid, token)
        assert await serve.stopped() == 0


@asynccontextmanager
async def reference_server() -> AsyncIterator[Server]:
    """The reference in a process of its own."""
    command = (sys.executable, "-m", "benchmarks.reference_server")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield Server(f"http://127.0.0.1:{int(await process.stdout.readline())}", process.pid, "")
    finally:
        process.kill()
        await process.wait()


@pytest.mark.gen_test(timeout=180)  # it takes 3 s, and up to a minute on a machine with far too much to do
async def test_neither_an_answer_nor_a_chunk_costs_twice_what_it_did(
    dsn: str, upstream: Upstream, tmp_path: Path, summary: list[str]
) -> None:
    """Token, admission, intent, dispatch, row and shipping count for an answer; for a chunk, a stream of a hundred."""
    async with agent_server(dsn, upstream, tmp_path) as agent, reference_server() as reference:
        whole = await ratio(agent, reference, "hello", REQUESTS, limit=LIMIT * WHOLE)
        chunk = await ratio(agent, reference, f"chunks={CHUNKS} gap=0.002", 1, limit=LIMIT * CHUNK)
    summary.append(f"Processor time, as multiples of the reference server's: WHOLE = {whole:.2f}, CHUNK = {chunk:.2f}")
    assert whole < LIMIT * WHOLE
    assert chunk < LIMIT * CHUNK
