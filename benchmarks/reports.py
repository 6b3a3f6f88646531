"""Measures reports on a million rows: `python -m benchmarks.reports [--rows N] [--runs N]`.

Writes a month of usage (200 users with two tokens each, 5 models, 2 endpoints), rebuilds the daily sums, and measures
with the default settings of PostgreSQL: the month's report by user and model, from the daily sums; `GET
/me/usage` and `GET /data/week` through a running agent, on one connection; a report by token, endpoint and week; and
how long rebuilding the daily sums takes, which is what a change of the time zone costs. Prints medians; exit code 1
if one is over its bound.
"""

import argparse
import asyncio
import http.client
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlsplit

import psycopg2

from benchmarks.fleet import Fleet
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.reports import Reports, UsageFilter

USERS = 200
REPORT_MS = 100.0  # for the month's report by user and model
ME_MS = 20.0  # for GET /me/usage

_USERS = """
    INSERT INTO users (id, name, upstream_key, created_at)
    SELECT 1000 + n, 'user' || n, '', now() FROM generate_series(1, %(users)s) n;
    INSERT INTO tokens (id, user_id, digest, token_prefix, label, created_at)
    SELECT 1000 + n, 1001 + n %% %(users)s, sha256(n::text::bytea), 'cga_' || n, '', now()
    FROM generate_series(0, 2 * %(users)s - 1) n;
    SELECT ensure_usage_partition(now() - n * interval '20 days') FROM generate_series(0, 2) n"""

# Some rows belong to the first user and token of the database, which make the requests.
_ROWS = """
    INSERT INTO usage (request_id, user_id, token_id, endpoint, model, served_model, upstream_id, input_tokens,
                       cached_tokens, output_tokens, reasoning_tokens, price_id, cost, state, status, client_closed,
                       streamed, started_at, duration_ms, first_byte_ms)
    SELECT gen_random_uuid(), CASE WHEN token = 0 THEN 1 ELSE 1001 + token %% %(users)s END,
           CASE WHEN token = 0 THEN 1 ELSE 1000 + token END,
           (ARRAY['/v1/chat/completions', '/v1/responses'])[1 + n %% 2],
           (ARRAY['gpt-6-sol', 'gpt-6-luna', 'gpt-6-astra', 'gpt-5.5', 'gpt-5.4'])[1 + n %% 5], NULL, 'chatcmpl-' || n,
           100 + n %% 1000, n %% 100, n %% 500, n %% 50, 1, 0.000001 * (n %% 5000),
           CASE WHEN n %% 100 = 0 THEN 'upstream_error' ELSE 'done' END, 200, false, n %% 2 = 0,
           now() - random() * interval '29 days', 1200, 300
    FROM (
        SELECT n, (random() * 2 * %(users)s)::int %% (2 * %(users)s) AS token FROM generate_series(1, %(rows)s) n
    ) r"""


def fill(dsn: str, rows: int) -> tuple[float, int]:
    """Writes the month; returns the seconds in which the daily sums are rebuilt, and their number."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(_USERS, {"users": USERS})
        cursor.execute(_ROWS, {"users": USERS, "rows": rows})
        began = time.perf_counter()
        cursor.execute("SELECT rebuild_usage_daily()")
        seconds = time.perf_counter() - began
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("SELECT count(*) FROM usage_daily")
        [(lines,)] = cursor.fetchall()
    connection.close()
    return seconds, int(lines)


async def timed(work: Callable[[], Awaitable[object]], runs: int) -> list[float]:
    """Returns the milliseconds of each run, after one run that is not counted."""
    await work()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        await work()
        times.append((time.perf_counter() - began) * 1000)
    return times


class Client:
    """A kept connection to the agent, as of an SDK."""

    def __init__(self, url: str, token: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}"}
        self.size = 0

    def get(self, path: str) -> None:
        """Sends a request and reads the whole answer."""
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        self.size = len(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"GET {path} was answered {answer.status}")


def line(title: str, times: list[float], bound: float | None = None) -> bool:
    """Prints a measurement. Returns whether it is within its bound."""
    middle, limit = statistics.median(times), f", bound {bound:.0f} ms" if bound else ""
    print(f"{title}: median {middle:.1f} ms, max {max(times):.1f} ms of {len(times)} runs{limit}")
    return bound is None or middle < bound


async def measure(rows: int, runs: int) -> bool:
    """Measures everything. Returns whether all is within its bounds."""
    async with Fleet("http://127.0.0.1:9/v1/chat/completions") as fleet:
        await fleet.set_up(1, {"gpt-6-sol": ("1", "1", "1")})
        seconds, lines = await asyncio.to_thread(fill, fleet.postgres.dsn, rows)
        print(f"{rows} rows of a month, {lines} daily sums, rebuilt in {seconds:.1f} s")
        await fleet.agent.start()
        await fleet.agent.until_ready()
        since = (datetime.now(UTC) - timedelta(days=30)).date()
        client = Client(fleet.agent.url, fleet.tokens[0])
        within_bounds = []
        async with Store(fleet.postgres.dsn) as store:
            for by, bound in ((["user", "model"], REPORT_MS), (["token", "endpoint", "week"], None)):
                times = await timed(partial(Reports(store).report, by, UsageFilter(since=since)), runs)
                within_bounds.append(line(f"the month's report by {', '.join(by)}", times, bound))
        for path, bound in (("/me/usage?days=30&by=day,model", ME_MS), ("/me/usage", ME_MS), ("/data/week", None)):
            times = await timed(partial(asyncio.to_thread, client.get, path), runs)
            within_bounds.append(line(f"GET {path} ({client.size} bytes)", times, bound))
        began = time.perf_counter()
        exported = await fleet.command("usage", "export", "--user", "user0")
        print(f"usage export of one user: {len(exported.splitlines()) - 1} rows in {time.perf_counter() - began:.1f} s")
        return all(within_bounds)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    if not asyncio.run(measure(options.rows, options.runs)):
        sys.exit(1)


if __name__ == "__main__":
    main()
