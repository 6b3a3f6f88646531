"""Measures the pages of the console with much data: `python -m benchmarks.console [--rows N] [--users N] [--runs N]
[--only TEXT]`.

The ledger has sixty days of rows, with random users, states and durations; each user has a token, a budget and three
models. Each page is loaded on a kept connection, one after the other, as a signed-in admin; lists also with filters and
in other orders. Processor time is that of one page, in the agent and in PostgreSQL, which a busy machine changes less
than the other figures. Then a few clients, which rest between their requests, get whole answers: without pages, with a
page a second, and with pages loaded without a pause, one at a time and by a whole browser. This shows what admins cost
the users of the API. Pages wait for requests (docs/decisions/0041-pages-wait-for-requests.md): the last column says how
many were loaded. The second line without pages shows how far two lines differ by themselves. Exit code 1 if the median
of a page is over its bound.
"""

import argparse
import asyncio
import contextlib
import functools
import random
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import psycopg2

from benchmarks.fleet import Fleet, free_port
from benchmarks.growth import Size, fill
from benchmarks.keepalive_client import KeptConnection, chat
from benchmarks.lag import repeated
from benchmarks.loss import command_line, server_version, surroundings
from benchmarks.proc_stats import Tree, cpu_seconds
from benchmarks.upstream import Upstream
from chatgpt_agent.adapters.keyring import read_master_key
from chatgpt_agent.adapters.postgres.admins import set_password
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.sessions import add_session
from chatgpt_agent.admin.admins import Role
from chatgpt_agent.core.audit import Actor, Via
from chatgpt_agent.web.console.cookies import SESSION
from chatgpt_agent.web.console.routes import PAGES
from chatgpt_agent.web.console.routing import PREFIX

BOUND_MS = 150.0
MODELS = 12
CLIENTS = 4
REST = 0.02  # seconds between two requests of a client
ROUNDS, SECONDS = 8, 5.0  # of relaying: each round has all of these, in turn
# Connections on which pages are loaded while requests are relayed, and the seconds between two pages of each.
LOADS = {
    "no pages": (0, 0.0),
    "a page a second": (1, 1.0),
    "pages without a pause": (1, 0.0),
    "pages without a pause on 6 connections": (6, 0.0),
    "no pages, again": (0, 0.0),
}
FILES = ("/requests.csv", "/price-export")  # no pages: they send all that there is
# The hash is of no password: the session is put into the database.
HASH = "$argon2id$v=19$m=19456,t=2,p=1$9EAIgUgZJCYg9zJp60E2Bw$8C/8jLYJZbsjHh97VkInrFAGHzmdPLiCuWKEe1yXf5Q"

_ROWS = """
    SELECT ensure_usage_partition(now() - n * interval '15 days') FROM generate_series(0, 4) n;
    INSERT INTO usage (request_id, user_id, token_id, endpoint, model, served_model, upstream_id, input_tokens,
                       cached_tokens, output_tokens, reasoning_tokens, price_id, cost, uncertain_cost, state, status,
                       client_closed, streamed, started_at, duration_ms, first_byte_ms)
    SELECT gen_random_uuid(), owner, owner, (ARRAY['/v1/chat/completions', '/v1/responses'])[1 + model %% 2],
           'model' || model, 'model' || model, 'chatcmpl-' || n, 100 + n %% 1000, n %% 100, n %% 500, n %% 50, model,
           (100 + n %% 1000 - n %% 100 + n %% 100 + 2 * (n %% 500)) * 0.000001,
           CASE WHEN n %% 200 = 0 THEN 0.01 ELSE 0 END,
           CASE WHEN n %% 200 = 0 THEN 'incomplete' WHEN n %% 100 = 1 THEN 'upstream_error' ELSE 'done' END,
           CASE WHEN n %% 100 = 1 THEN 500 ELSE 200 END, false, n %% 2 = 0, at,
           (300 * exp(3 * random()))::int, (100 * exp(2 * random()))::int
    FROM (
        SELECT n, owner, at, 1 + (owner + 5 * floor(random() * 3)::int) %% %(models)s AS model
        FROM (
            SELECT n, 2 + floor(random() * (%(users)s - 1))::int AS owner, now() - random() * interval '59 days' AS at
            FROM generate_series(1, %(rows)s) n
        ) o
    ) r ORDER BY at;
    INSERT INTO token_uses SELECT id, now() - id * interval '1 minute' FROM tokens ON CONFLICT DO NOTHING;
    INSERT INTO budgets (user_id, period, amount, created_at) SELECT id, 'month', 5, now() FROM users;
    SELECT rebuild_usage_daily(); SELECT rebuild_usage_by_model(); SELECT rebuild_usage_latency()"""


class Examples(msgspec.Struct, frozen=True, kw_only=True):
    """Objects that pages are about."""

    user: str
    token: int
    model: str
    budget: int
    row: str
    uncertain_row: str


def fill_ledger(dsn: str, rows: int, users: int) -> Examples:
    """Writes the rows, and returns examples."""
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(_ROWS, {"rows": rows, "users": users, "models": MODELS})
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
        cursor.execute(
            """SELECT u.name, r.token_id, r.model, b.id, r.request_id,
                      (SELECT request_id FROM usage WHERE state = 'incomplete' LIMIT 1)
               FROM (SELECT * FROM usage WHERE state = 'done' ORDER BY started_at DESC LIMIT 1) r
                    JOIN users u ON u.id = r.user_id JOIN budgets b ON b.user_id = u.id"""
        )
        [(user, token, model, budget, row, uncertain)] = cursor.fetchall()
        return Examples(user=user, token=token, model=model, budget=budget, row=str(row), uncertain_row=str(uncertain))


def addresses(examples: Examples) -> list[str]:
    """Returns the addresses of all pages that can be opened by an admin who is signed in, and of lists with filters.
    Raises KeyError for a page about an object of which there is no example."""
    values = {
        "/requests/{id}": examples.row,
        "/budgets/{id}": examples.budget,
        "/tokens/{id}": examples.token,
        "/users/{name}": examples.user,
        "/prices/{model}": examples.model,
        "/admins/{name}": "bench",
    }
    queries = {
        "/requests": [
            f"user={examples.user}", f"token={examples.token}", f"model={examples.model}", "state=incomplete",
            "endpoint=/v1/responses", f"user={examples.user}&model={examples.model}&state=upstream_error",
            "user=user-2&state=unknown", f"since={datetime.now(UTC).date()}",
        ],
        "/users": ["search=99", "order=cost", "order=last_used", "order=created", "state=disabled"],
        "/budgets": [f"user={examples.user}"],
        "/audit": ["actor=bench"],
    }  # fmt: skip
    result = []
    for page in PAGES:
        if page.get is None or page.public or page.path in FILES:
            continue
        path = page.path
        if "{" in path:
            pattern = path[: path.index("}") + 1]
            path = path.replace(pattern, pattern[: pattern.index("{")] + str(values[pattern]))
        result += [path, *(f"{path}?{query}" for query in queries.get(page.path, []))]
    return [*result, f"/requests/{examples.uncertain_row}"]


async def sign_in(fleet: Fleet) -> str:
    """Adds an admin, and returns the secret of a session."""
    keyring = read_master_key(fleet.folder / "data" / "master.key")
    secret, digest = keyring.new_session()
    now = datetime.now(UTC)
    async with Store(fleet.postgres.dsn) as store:
        audited = store.with_actor(Actor("bench", Via.COMMAND, "local"))
        admin = await set_password(audited, name="bench", role=Role.ADMIN, password_hash=HASH, now=now)
        await add_session(store, digest=digest, admin_id=admin.id, password_hash=HASH, now=now)
    return secret


class Visitor:
    """An admin's browser: one kept connection."""

    def __init__(self, url: str, secret: str) -> None:
        self.url = url
        self._secret = secret
        self._connection: KeptConnection | None = None

    async def load(self, path: str) -> float:
        """Loads a page below /console, and returns the milliseconds. Raises RuntimeError unless the status is 200."""
        if self._connection is None:
            self._connection = await KeptConnection.open(self.url)
        host = self.url.removeprefix("http://")
        cookie = f"{SESSION}={self._secret}"
        request = f"GET {PREFIX}{path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n"
        began = time.perf_counter()
        try:
            await self._connection.ask(request.encode())
        except RuntimeError as error:
            self._connection = None
            raise RuntimeError(f"{path}: {error}") from None
        return (time.perf_counter() - began) * 1000

    def close(self) -> None:
        """Ends the connection; what was asked for on it is not answered."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


async def measure_pages(fleet: Fleet, visitor: Visitor, paths: Sequence[str], runs: int) -> bool:
    """Prints a line for each page. Returns whether each median is within the bound."""
    tree = Tree(int((fleet.folder / "p" / "pg" / "postmaster.pid").read_text().split("\n")[0]))
    heads = ["median, ms", "worst, ms", "agent, CPU ms", "PostgreSQL, CPU ms"]
    print(f"| page | {' | '.join(heads)} |\n|---|{'---:|' * len(heads)}")
    within = True
    for path in paths:
        await visitor.load(path)
        before = cpu_seconds(fleet.agent.pid), tree.cpu_seconds()
        times = [await visitor.load(path) for _ in range(runs)]
        after = cpu_seconds(fleet.agent.pid), tree.cpu_seconds()
        agent, postgres = ((end - begin) * 1000 / runs for begin, end in zip(before, after, strict=True))
        middle = statistics.median(times)
        within = within and middle < BOUND_MS
        print(f"| `{path or '/'}` | {middle:.1f} | {max(times):.1f} | {agent:.1f} | {postgres:.1f} |", flush=True)
    return within


async def relayed(url: str, requests: Sequence[bytes], seconds: float) -> list[float]:
    """Returns the milliseconds of requests of several clients, which rest after each."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def work(draw: random.Random) -> None:
        client = await KeptConnection.open(url)
        while time.perf_counter() < end:
            began = time.perf_counter()
            await client.ask(draw.choice(requests))
            times.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(draw.uniform(0, 2 * REST))
        client.close()

    await asyncio.gather(*(work(random.Random(number)) for number in range(CLIENTS)))
    return times


async def measure_relay(
    fleet: Fleet, visitors: Sequence[Visitor], paths: Sequence[str], requests: Sequence[bytes]
) -> None:
    """Prints what the API's users notice of pages."""
    draw = random.Random(5)  # in the order of the table the slowest pages would always fall to the same line
    loaded = 0

    async def load_next(visitor: Visitor, pause: float) -> None:
        nonlocal loaded
        await visitor.load(draw.choice(paths))
        loaded += 1
        await asyncio.sleep(pause)

    times: dict[str, list[float]] = {name: [] for name in LOADS}
    pages = dict.fromkeys(LOADS, 0)
    await relayed(fleet.agent.url, requests, SECONDS)  # warms up
    for _ in range(ROUNDS):
        for name, (connections, pause) in LOADS.items():
            before = loaded
            async with contextlib.AsyncExitStack() as stack:
                for visitor in visitors[:connections]:
                    await stack.enter_async_context(repeated(functools.partial(load_next, visitor, pause)))
                times[name] += await relayed(fleet.agent.url, requests, SECONDS)
            pages[name] += loaded - before
            for visitor in visitors:
                visitor.close()
    heads = ["requests", "p50, ms", "p99, ms", "worst, ms", "pages a second"]
    print(f"\n| relayed with | {' | '.join(heads)} |\n|---|{'---:|' * len(heads)}")
    for name, waits in times.items():
        waits.sort()
        p50, p99 = statistics.median(waits), waits[int(len(waits) * 0.99)]
        rate = pages[name] / (ROUNDS * SECONDS)
        print(f"| {name} | {len(waits):,} | {p50:.1f} | {p99:.1f} | {waits[-1]:.1f} | {rate:.1f} |")


async def measure(options: argparse.Namespace) -> bool:
    """Measures everything. Returns whether all pages are within the bound."""
    admin_port = free_port()
    async with (
        Upstream(random.Random(1)) as upstream,
        Fleet(upstream.url, log_level="error", admin_port=str(admin_port)) as fleet,
    ):
        await fleet.set_up(1, {"model1": ("1", "1", "2")})
        tokens = await asyncio.to_thread(fill, fleet, Size(users=options.users, prices=MODELS))
        examples = await asyncio.to_thread(fill_ledger, fleet.postgres.dsn, options.rows, options.users)
        secret = await sign_in(fleet)
        await fleet.agent.start()
        await fleet.agent.until_ready()
        visitor = Visitor(f"http://127.0.0.1:{admin_port}", secret)
        paths = [path for path in addresses(examples) if options.only in path]
        within = await measure_pages(fleet, visitor, paths, options.runs)
        if not options.pages_only:
            requests = [chat(token, f"model{1 + n % MODELS}") for n, token in enumerate(tokens)]
            visitors = [Visitor(visitor.url, secret) for _ in range(max(count for count, _ in LOADS.values()))]
            await measure_relay(fleet, visitors, paths, requests)
        print("", *surroundings(command_line("benchmarks.console"), server_version(fleet.postgres.dsn)), sep="\n")
        return within


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--only", default="", metavar="TEXT", help="pages with this text in their address")
    parser.add_argument("--pages-only", action="store_true", help="relay nothing")
    if not asyncio.run(measure(parser.parse_args())):
        sys.exit(1)


if __name__ == "__main__":
    main()
