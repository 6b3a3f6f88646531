"""The guard of the agent's speed: what a request costs, as a multiple of a fixed piece of pure-Python work.

Both are processor time, measured by turns in the same run, and of both the least counts: neither a slow machine nor a
busy one moves their ratio by much. A constant is the ratio of the day when it was written down; twice as much fails.
"""

import asyncio
import sys
from pathlib import Path

import pytest

from benchmarks.calibration import work_seconds
from benchmarks.keepalive_client import Kept, chat
from benchmarks.proc_stats import cpu_seconds
from tests.support.agent import MODEL
from tests.support.process import Serving, run_command
from tests.support.upstream import Upstream

WHOLE = 0.33  # of the time of the work, for a whole answer
CHUNK = 0.021  # for a chunk of a stream
ROUNDS = 10
CLIENTS = 8
REQUESTS = 10  # of each client in a round
CHUNKS = 100  # of each client's stream in a round

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the clock of another process is Linux's")


class Load:
    """Clients of an agent that is a process of its own."""

    def __init__(self, serving: Serving, token: str) -> None:
        self._serving = serving
        self._token = token
        self._clients: list[Kept] = []

    async def cost(self, content: str, times: int, *, stream: bool = False) -> float:
        """Processor seconds of the agent for so many requests of every client at once, as a multiple of the work's:
        the least of the rounds, by the least of the work."""
        assert self._serving.process is not None
        pid, request = self._serving.process.pid, chat(self._token, MODEL, content, stream=stream)
        self._clients = [await Kept.open(self._serving.url) for _ in range(CLIENTS)]
        await self._round(request, times)
        costs, works = [], []
        for _ in range(ROUNDS):
            before = cpu_seconds(pid)
            await self._round(request, times)
            costs.append(cpu_seconds(pid) - before)
            works.append(work_seconds())
        for client in self._clients:
            client.close()
        return min(costs) / min(works)

    async def _round(self, request: bytes, times: int) -> None:
        await asyncio.gather(*(self._ask(client, request, times) for client in self._clients))

    @staticmethod
    async def _ask(client: Kept, request: bytes, times: int) -> None:
        for _ in range(times):
            await client.ask(request)


async def serving_for(dsn: str, upstream: Upstream, folder: Path) -> tuple[Serving, str]:
    """An agent with a user and a price, and the user's token."""
    serving = Serving(folder / "log", database_url=dsn, data_dir=folder / "data", openai_url=upstream.url)
    environment = {**serving.environment, "LOG_LEVEL": "info"}
    await run_command("migrate", environment=environment)
    await run_command("price", "set", MODEL, "--input", "0.15", "--output", "0.60", environment=environment)
    words = ("user", "add", "alice", "--openai-key-stdin")
    token = await run_command(*words, environment=environment, stdin=b"sk-made-up-key-of-alice")
    return await serving.start(), token.strip()


@pytest.mark.gen_test(timeout=120)  # it takes 6 s, and on a machine with far too much to do, longer
async def test_neither_an_answer_nor_a_chunk_costs_twice_what_it_did(
    dsn: str, upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Token, admission, intent, dispatch, row and shipping, all of it; and a stream of a hundred chunks."""
    serving, token = await serving_for(dsn, upstream, tmp_path)
    load = Load(serving, token)
    whole = await load.cost("hello", REQUESTS) / (CLIENTS * REQUESTS)
    chunk = await load.cost(f"chunks={CHUNKS} gap=0.002", 1, stream=True) / (CLIENTS * CHUNKS)
    await serving.stop()
    with capsys.disabled():
        sys.stdout.write(f"\nprocessor time, in pieces of work: {whole:.3f} for an answer, {chunk:.4f} for a chunk\n")
    assert whole < 2 * WHOLE
    assert chunk < 2 * CHUNK
