"""Measures whether the cost of a request grows with the data: `python -m benchmarks.growth [--rows N] [--users N]
[--prices N] [--requests N]`.

It prints three tables, in which the rows of the ledger, the users (with a token each) and the prices grow. Each line
has a database, filled with SQL, and an agent of its own. The load is whole answers on kept connections, requested by a
hundred of the users for as many models. Processor time is that of the agent and, separately, that of all processes of
PostgreSQL until the last row is shipped. Columns in "pieces" are multiples of a fixed piece of pure-Python work that is
timed for the same line, so that lines can be compared although the machine is busier or slower for one of them.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import psycopg2
from psycopg2.extras import execute_values

from benchmarks.calibration import work_seconds
from benchmarks.fleet import UPSTREAM_KEY, Fleet
from benchmarks.keepalive_client import KeptConnection, chat
from benchmarks.loss import command_line, server_version, surroundings
from benchmarks.proc_stats import Tree, cpu_seconds, resident_megabytes
from benchmarks.upstream import Upstream
from chatgpt_agent.adapters.keyring import read_master_key
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.usage import ship
from chatgpt_agent.core.ids import uuid7
from chatgpt_agent.core.ledger import Intent, Outcome, Row, State, settle
from chatgpt_agent.core.money.kinds import Rates
from chatgpt_agent.core.money.pricing import Price, PriceBook
from chatgpt_agent.core.usage import Answer, Usage

CLIENTS = 16
ACTIVE = 100  # of the users and of the models are used, spread over all of them
BATCH = 500
BATCHES = 20
SHIP_SECONDS = 60.0

# Writes what the triggers would, which take a minute for a hundred thousand rows.
_FILL = """
    SET session_replication_role = replica;
    INSERT INTO users (id, name, upstream_key, created_at, version)
    SELECT n, 'user-' || n, convert_to(repeat('x', 140), 'UTF8'), now(), 1000 + n
    FROM generate_series(2, %(users)s) n;
    INSERT INTO tokens (id, user_id, digest, token_prefix, created_at, version)
    SELECT n, n, sha256(n::text::bytea), 'cga_' || n, now(), 200000000 + n FROM generate_series(2, %(users)s) n;
    INSERT INTO prices (id, model, effective_at, input, output, created_at, version)
    SELECT n, 'model' || n, now() - interval '60 days', 1, 2, now(), 400000000 + n
    FROM generate_series(2, %(prices)s) n;
    SELECT setval(pg_get_serial_sequence(name, 'id'), 1000000) FROM unnest(ARRAY['users', 'tokens', 'prices']) AS name;
    UPDATE directory_version SET version = 600000000;
    SET session_replication_role = origin;
    SELECT ensure_usage_partition(now() - n * interval '20 days') FROM generate_series(0, 2) n"""
_ROWS = """
    INSERT INTO usage (request_id, user_id, token_id, endpoint, model, upstream_id, input_tokens, cached_tokens,
                       output_tokens, reasoning_tokens, price_id, cost, state, status, client_closed, streamed,
                       started_at, duration_ms, first_byte_ms)
    SELECT gen_random_uuid(), 1 + n %% %(users)s, 1 + n %% %(users)s, '/v1/chat/completions',
           'model' || 1 + n %% %(prices)s, 'chatcmpl-' || n, 100 + n %% 1000, n %% 100, n %% 500, n %% 50, 1,
           0.000001 * (n %% 5000), 'done', 200, false, n %% 2 = 0, now() - random() * interval '29 days', 1200, 300
    FROM generate_series(1, %(rows)s) n;
    SELECT rebuild_usage_daily()"""


class Size(msgspec.Struct, frozen=True):
    """The amount of data."""

    rows: int = 0
    users: int = 10
    prices: int = 10


class Cost(msgspec.Struct, frozen=True):
    """The measured costs. Processor time of a request in seconds; `piece`: that of the fixed work."""

    agent: float
    postgres: float
    piece: float
    megabytes: float
    ready: float  # seconds
    batch: float  # seconds

    def cells(self) -> list[str]:
        """Returns the cells of the table."""
        both = self.agent + self.postgres
        return [
            f"{self.agent * 1e6:,.0f}",
            f"{self.postgres * 1e6:,.0f}",
            f"{self.postgres / both:.0%}",
            f"{self.agent / self.piece:.2f}",
            f"{self.postgres / self.piece:.2f}",
            f"{self.megabytes:.0f}",
            f"{self.ready:.2f}",
            f"{self.batch * 1000:.0f}",
        ]


HEADS = [
    "agent, CPU µs a request",
    "PostgreSQL, CPU µs a request",
    "PostgreSQL's share",
    "agent, pieces",
    "PostgreSQL, pieces",
    "agent's memory, MB",
    "start to ready, s",
    f"batch of {BATCH} shipped, ms",
]


def fill(fleet: Fleet, size: Size) -> list[str]:
    """Fills a database that has one user and one price, and returns tokens of some of the users."""
    keyring = read_master_key(fleet.folder / "data" / "master.key")
    active = sorted({2 + n * (size.users - 2) // ACTIVE for n in range(ACTIVE)})
    tokens = {id_: keyring.new_token() for id_ in active}
    with closing(psycopg2.connect(fleet.postgres.dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(_FILL, msgspec.structs.asdict(size))
        keys = [(id_, digest, keyring.encrypt(id_, UPSTREAM_KEY.decode())) for id_, (_, digest) in tokens.items()]
        for change in ("tokens t SET digest = v.digest", "users t SET upstream_key = v.key"):
            execute_values(cursor, f"UPDATE {change} FROM (VALUES %s) AS v(id, digest, key) WHERE t.id = v.id", keys)
        if size.rows:
            cursor.execute(_ROWS, msgspec.structs.asdict(size))
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
    return [token for token, _ in tokens.values()]


async def load(url: str, requests: Iterator[bytes]) -> None:
    """Sends requests with several clients, each one after the other."""

    async def work() -> None:
        client = await KeptConnection.open(url)
        for request in requests:
            await client.ask(request)
        client.close()

    await asyncio.gather(*(work() for _ in range(CLIENTS)))


async def ship_seconds(dsn: str, users: int, models: int) -> float:
    """Returns the median of the seconds in which a batch is shipped."""
    price = Price(
        id=1,
        model="model1",
        effective_at=datetime.now(UTC) - timedelta(days=1),
        rates=Rates(input=Decimal(1), output=Decimal(2)),
    )
    book = PriceBook([price])
    results = []

    def row(draw: random.Random) -> Row:
        now, user, model = datetime.now(UTC), draw.randint(1, users), f"model{draw.randint(1, models)}"
        id_ = uuid7(int(now.timestamp() * 1000), draw.randbytes(10))
        intent = Intent(
            request_id=id_,
            user_id=user,
            token_id=user,
            endpoint="/v1/chat/completions",
            model=model,
            price_id=1,
            streamed=False,
            started_at=now,
        )
        return settle(
            intent,
            Outcome(
                state=State.DONE,
                status=200,
                answer=Answer(usage=Usage(input=1000, output=20, cached=30), model=None, id="chatcmpl"),
            ),
            price,
            book,
        )

    async with Store(dsn) as store:
        for _ in range(BATCHES):
            rows = [row(random.Random(n + time.time_ns())) for n in range(BATCH)]
            began = time.perf_counter()
            await ship(store, rows)
            results.append(time.perf_counter() - began)
    return statistics.median(results)


async def measure(size: Size, count: int) -> tuple[Cost, str]:
    """Measures with a database of this size. Returns the cost and PostgreSQL's version."""
    draw = random.Random(1)
    async with Upstream(draw) as upstream, Fleet(upstream.url, log_level="warning") as fleet:
        await fleet.set_up(1, {"model1": ("1", "1", "2")})
        tokens = await asyncio.to_thread(fill, fleet, size)
        began = time.perf_counter()
        await fleet.agent.start()
        await fleet.agent.until_ready()
        ready = time.perf_counter() - began
        models = [f"model{1 + n * (size.prices - 1) // ACTIVE}" for n in range(ACTIVE)]
        texts = [chat(draw.choice(tokens), draw.choice(models)) for _ in range(count)]
        await load(fleet.agent.url, iter(texts[: count // 4]))  # warms up
        await fleet.until_shipped(SHIP_SECONDS)
        tree = Tree(int((fleet.folder / "p" / "pg" / "postmaster.pid").read_text().split("\n")[0]))
        piece = work_seconds()
        agent, postgres = cpu_seconds(fleet.agent.pid), tree.cpu_seconds()
        await load(fleet.agent.url, iter(texts))
        await fleet.until_shipped(SHIP_SECONDS)
        agent, postgres = cpu_seconds(fleet.agent.pid) - agent, tree.cpu_seconds() - postgres
        piece = min(piece, work_seconds())
        batch = await ship_seconds(fleet.postgres.dsn, size.users, size.prices)
        megabytes = resident_megabytes(fleet.agent.pid)
        return Cost(agent / count, postgres / count, piece, megabytes, ready, batch), server_version(fleet.postgres.dsn)


async def table(title: str, sizes: list[Size], count: int) -> str:
    """Prints a table of these sizes, line by line. Returns PostgreSQL's version."""
    print(f"\n| {title} | {' | '.join(HEADS)} |\n|---:|{'---:|' * len(HEADS)}")
    version = ""
    for size in sizes:
        cost, version = await measure(size, count)
        print(f"| {getattr(size, title):,} | {' | '.join(cost.cells())} |", flush=True)
    return version


async def run(options: argparse.Namespace) -> None:
    """Prints all tables."""
    steps = {
        "rows": [Size(rows=rows, users=1000) for rows in (0, 100_000, 1_000_000, 10_000_000) if rows <= options.rows],
        "users": [Size(users=users) for users in (10, 1000, 10_000, 100_000) if users <= options.users],
        "prices": [Size(prices=prices) for prices in (10, 100, 1000) if prices <= options.prices],
    }
    version = ""
    for title, sizes in steps.items():
        version = await table(title, sizes, options.requests) if sizes else version
    print("", *surroundings(command_line("benchmarks.growth"), version), sep="\n")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the ledger, at most")
    parser.add_argument("--users", type=int, default=100_000, help="at most; 0: no such table")
    parser.add_argument("--prices", type=int, default=1000, help="at most; 0: no such table")
    parser.add_argument("--requests", type=int, default=4000, help="measured for each line")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
