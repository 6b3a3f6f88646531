"""Measures how long heavy requests delay others: `python -m benchmarks.lag [--rows N] [--seconds S]`.

A client reads a stream slowly, gets a huge answer, sends a huge body, or requests reports on very many rows; or prices
and users are imported. Meanwhile another process requests /healthz every 5 ms. The delay of its answers is how long the
agent's event loop was held, plus what the machine itself adds; the first line, without load, shows that. Exit code 1 if
a p99 is over 20 ms.
"""

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg2

from benchmarks.fleet import Fleet, free_port
from benchmarks.growth import Size, fill
from benchmarks.keepalive_client import KeptConnection, chat, get
from benchmarks.loss import command_line, server_version, surroundings
from benchmarks.upstream import Upstream

MIB = 1 << 20
P99_MS = 20.0
OWN_SECONDS = 1.0  # between two requests of a token for its own usage, of which it has 60 a minute
MODEL = "model1"
PRICES = 1000  # of an import
NEW_USERS = 20_000  # that are added in one statement

Work = Callable[[], Awaitable[object]]


class Bench:
    """A running agent with very many rows, and the loads."""

    def __init__(self, fleet: Fleet, admin_url: str, token: str, admin: str, size: int) -> None:
        self._fleet = fleet
        self._admin_url = admin_url
        self._token = token  # of the first user
        self._admin = admin
        self._size = size  # bytes of a huge answer

    def loads(self) -> dict[str, Work | None]:
        """Returns the loads by name; each is repeated during its measurement."""
        huge = f"size={self._size}"
        long = self._size * 3 // 4  # the events of a stream, with their JSON, must stay below `max_response_size`
        return {
            "nothing": None,
            f"a stream of {long // MIB} MiB, read slowly": lambda: self._ask(f"size={long}", stream=True, rest=0.02),
            f"a stream of {long // MIB} MiB, read fast": lambda: self._ask(f"size={long}", stream=True),
            f"a whole answer of {self._size // MIB} MiB": lambda: self._ask(huge),
            "that answer, read slowly": lambda: self._ask(huge, rest=0.02),
            "a body of 9 MiB": lambda: self._ask("x" * 9 * MIB),
            "GET /me/usage of ten years": lambda: self._get("/me/usage?days=3660&scope=user"),
            "GET /data/week": lambda: self._get("/data/week"),
            "REST: report by day, user, model": lambda: self._report("/api/v1/usage?by=day,user,model"),
            "REST: 200 rows of the ledger": lambda: self._report("/api/v1/ledger/rows?limit=200"),
            f"{PRICES} prices are imported": self._import_prices,
            f"{NEW_USERS} users are added": self._add_users,
        }

    async def _ask(self, content: str, *, stream: bool = False, rest: float = 0.0) -> None:
        await self._send(self._fleet.agent.url, chat(self._token, MODEL, content, stream=stream), rest)

    async def _get(self, path: str) -> None:
        await self._send(self._fleet.agent.url, get(path, self._token))
        await asyncio.sleep(OWN_SECONDS)

    async def _report(self, path: str) -> None:
        await self._send(self._admin_url, get(path, self._admin))

    @staticmethod
    async def _send(url: str, request: bytes, rest: float = 0.0) -> None:
        client = await KeptConnection.open(url)
        try:
            await client.ask(request, rest=rest)
        finally:
            client.close()

    async def _import_prices(self) -> None:
        lines = ["model,effective_at,input,output", *(f"new{n},,{random.randint(1, 99)},2" for n in range(PRICES))]
        path = self._fleet.folder / "prices.csv"
        path.write_text("\n".join(lines))
        await self._fleet.command("price", "import", str(path), "--yes")

    async def _add_users(self) -> None:
        await asyncio.to_thread(_execute, self._fleet.postgres.dsn, _NEW_USERS, {"users": NEW_USERS})


_NEW_USERS = """
    INSERT INTO users (name, upstream_key, created_at)
    SELECT 'new' || gen_random_uuid(), '', now() FROM generate_series(1, %(users)s)"""


def _execute(dsn: str, sql: str, values: dict[str, int]) -> None:
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(sql, values)


@contextlib.asynccontextmanager
async def repeated(work: Work | None) -> AsyncIterator[list[int]]:
    """Repeats a load while the context is open. The list then contains the number of runs."""
    runs = [0]

    async def repeat() -> None:
        while work is not None:
            await work()
            runs[0] += 1

    task = asyncio.create_task(repeat())
    try:
        yield runs
        if task.done():
            task.result()  # it failed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def probe(url: str, seconds: float) -> list[float]:
    """Runs the probe, and returns the milliseconds of its requests."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.probe", url, str(seconds), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return [float(wait) for wait in json.loads(out)]


async def measure(options: argparse.Namespace) -> bool:
    """Prints the table. Returns whether every p99 is within the bound."""
    admin_port = free_port()
    async with (
        Upstream(random.Random(1)) as upstream,
        Fleet(upstream.url, log_level="error", admin_port=str(admin_port), max_response_size=str(65 * MIB)) as fleet,
    ):
        await fleet.set_up(1, {MODEL: ("1", "1", "2")})
        admin = (await fleet.command("admin", "token", "root")).split()[-1]
        await asyncio.to_thread(fill, fleet, Size(rows=options.rows, users=50, prices=10))
        await fleet.agent.start()
        await fleet.agent.until_ready()
        size = int(options.mib * MIB)
        bench = Bench(fleet, f"http://127.0.0.1:{admin_port}", fleet.tokens[0], admin, size)
        print("| load | p50, ms | p99, ms | max, ms | runs |\n|---|---:|---:|---:|---:|")
        within_bound = True
        for name, work in bench.loads().items():
            if options.only not in name:
                continue
            async with repeated(work) as runs:
                waits = await probe(fleet.agent.url, options.seconds)
            p99 = statistics.quantiles(waits, n=100)[98]
            within_bound = within_bound and p99 < P99_MS
            print(f"| {name} | {statistics.median(waits):.1f} | {p99:.1f} | {max(waits):.1f} | {runs[0]} |", flush=True)
        print("", *surroundings(command_line("benchmarks.lag"), server_version(fleet.postgres.dsn)), sep="\n")
        return within_bound


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lag", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the ledger")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each line")
    parser.add_argument("--mib", type=float, default=64.0, help="of a huge answer")
    parser.add_argument("--only", default="", help="the lines with this text in their name")
    sys.exit(0 if asyncio.run(measure(parser.parse_args())) else 1)


if __name__ == "__main__":
    main()
