"""A clock on the wall that steps under the agent (X9), as when somebody sets it, or a machine wakes up.

The agent is a process of its own, and libfaketime stands between it and the time of day. PostgreSQL, the upstream and
the clients have the right time, and the agent's monotonic clock is the system's."""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg2.extensions import parse_dsn

from tests.cli.commands import Cli
from tests.cli.serving import Serve, chat, headers, until
from tests.faults.processes import CHAT, serving
from tests.support.client import Answer, fetch
from tests.support.database import Database, query
from tests.support.oracle import check
from tests.support.upstream import Upstream

NONE, HOUR = timedelta(), timedelta(hours=1)
LEAP = timedelta(days=40)  # into another month, which is another partition
STEPS = {"an hour back": -HOUR, "an hour on": HOUR}
LEAPS = {"a leap back": -LEAP, "a leap on": LEAP}


class WallClock:
    """The time of day of the processes that have its `environment`."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "TZ": "UTC",
        }
        self._set("+0")

    def wrong_by(self, offset: timedelta) -> None:
        """From now on it goes as the right one does, and is wrong by so much."""
        self._set(f"{offset.total_seconds():+.0f}")

    def stands_at(self, moment: datetime) -> None:
        """From now on it does not go."""
        self._set(f"{moment:%Y-%m-%d %H:%M:%S}")

    def _set(self, words: str) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(words + "\n")
        new.replace(self._file)  # at once: nobody reads half of it

    def works(self) -> bool:
        """Whether a process of this Python sees the wrong time, and the right monotonic one."""
        self.wrong_by(-HOUR)
        words = [sys.executable, "-c", "import time; print(time.time(), time.monotonic())"]
        environ = {**os.environ, **self.environment}
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=20, check=False)
        self.wrong_by(NONE)
        if done.returncode != 0:
            return False
        wall, monotonic = (float(word) for word in done.stdout.split())
        return abs(time.time() - wall - 3600) < 60 and abs(time.monotonic() - monotonic) < 60


def libraries() -> list[Path]:
    """Where libfaketime may be: in the package of that name, whose code is not run, and where Debian has it."""
    found = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
    package = importlib.util.find_spec("libfaketime")
    if package is not None and package.origin is not None:
        found.insert(0, Path(package.origin).parent / "vendor/libfaketime/src/libfaketime.so.1")
    return [path for path in found if path.exists()]


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> WallClock:
    """A clock that a test may set; it is right at first."""
    for library in libraries():
        clock = WallClock(library, tmp_path_factory.mktemp("clock") / "time")
        if clock.works():
            return clock
    pytest.skip("no libfaketime that works here: neither that of PyPI (x86-64 Linux alone) nor Debian's")


@pytest.fixture
def cli(dsn: str, upstream: Upstream, tmp_path: Path, clock: WallClock) -> Cli:
    """The program on a database of the test's own, with a fake OpenAI behind it, and the right time."""
    clock.wrong_by(NONE)
    return Cli({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path / "data"), "OPENAI_URL": upstream.url})


@contextmanager
def away(database: Database) -> Iterator[None]:
    """PostgreSQL takes no connection to it."""
    database.close()
    try:
        yield
    finally:
        database.open()


@pytest.fixture
def database(postgres: str, dsn: str) -> Database:
    """The test's own database, which can be away."""
    return Database(postgres, parse_dsn(dsn)["dbname"])


@asynccontextmanager
async def stepping(cli: Cli, clock: WallClock, **settings: str) -> AsyncIterator[tuple[Serve, str, str]]:
    """An agent with that clock, as `serving` has it, and a price that is older than any clock here is slow."""
    await cli.command("price", "set", "m", "--input", "3", "--output", "4", "--from", "2020-01-01")
    async with serving(cli, Serve, **clock.environment, **settings) as served:
        yield served


async def ask(url: str, token: str, *, stream: bool) -> Answer:
    """A request whose answer takes 0.4 seconds: a stream in four pieces with gaps, or a whole one that is late."""
    message = {"role": "user", "content": "chunks=1 gap=0.1 delay=0.4"}
    body = json.dumps({"model": "m", "messages": [message], "stream": stream}).encode()
    return await fetch(url + CHAT, "POST", headers(token), body)


async def under_way(url: str, token: str, upstream: Upstream) -> "list[asyncio.Task[Answer]]":
    """Three streams and three whole answers that OpenAI has just begun to work on."""
    wanted = len(upstream.requests) + 6
    tasks = [asyncio.create_task(ask(url, token, stream=n % 2 == 0)) for n in range(6)]
    await until(lambda: asyncio.sleep(0, len(upstream.requests)), lambda count: count == wanted)
    return tasks


async def shipped(cli: Cli, count: int) -> None:
    """Waits until so many rows are in PostgreSQL: for seconds, where an agent that sleeps by the wall takes an hour."""
    dsn = cli.settings["DATABASE_URL"]
    await until(lambda: asyncio.to_thread(query, dsn, "SELECT 1 FROM usage"), lambda rows: len(rows) == count)


@pytest.mark.parametrize("step", (STEPS | LEAPS).values(), ids=STEPS | LEAPS)
async def test_the_books_are_right_whatever_the_clock_does(
    cli: Cli, upstream: Upstream, clock: WallClock, step: timedelta
) -> None:
    """It steps there and back while requests are under way, and then for good while a row waits to be shipped: all are
    answered, and their rows are soon in PostgreSQL."""
    async with stepping(cli, clock) as (serve, url, token):
        answers: list[Answer] = []
        running = await under_way(url, token, upstream)
        for offset in (NONE, step, NONE):
            clock.wrong_by(offset)
            answers.append(await chat(url, token))
        answers += await asyncio.gather(*running)
        await shipped(cli, 9)
        answers.append(await chat(url, token))
        clock.wrong_by(step)
        answers.append(await chat(url, token))
        await shipped(cli, 11)
        assert await serve.stopped() == 0
    assert {(answer.status, answer.complete) for answer in answers} == {(200, True)}
    assert {row["state"] for row in check(cli.settings["DATABASE_URL"], upstream, answers)} == {"done"}
    assert await cli.command("ledger", "verify") == "The ledger is consistent.\n"


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
async def test_a_row_has_the_clocks_time_and_a_true_duration(
    cli: Cli, upstream: Upstream, clock: WallClock, step: timedelta
) -> None:
    """Also where the clock stepped between its beginning and its end."""
    async with stepping(cli, clock) as (_, url, token):
        began = time.time()
        running = await under_way(url, token, upstream)
        clock.wrong_by(step)
        await chat(url, token)
        await asyncio.gather(*running)
        most = (time.time() - began) * 1000
        await shipped(cli, 7)
    sql = "SELECT started_at, first_byte_ms, duration_ms FROM usage ORDER BY request_id"
    rows = query(cli.settings["DATABASE_URL"], sql)
    wrong = [round((started_at.timestamp() - began) / 60) for started_at, _, _ in rows]
    assert sorted(wrong) == sorted([0] * 6 + [round(step.total_seconds() / 60)])
    assert all(0 <= first <= last <= most for _, first, last in rows)


async def test_ids_are_unique_where_time_stands_still(cli: Cli, upstream: Upstream, clock: WallClock) -> None:
    """A hundred requests in one and the same millisecond, the half of them after the clock was set back to it."""
    moment = datetime.now(UTC).replace(microsecond=0)
    async with stepping(cli, clock) as (_, url, token):
        answers: list[Answer] = []
        for _ in range(2):
            clock.stands_at(moment)
            answers += await asyncio.gather(*(chat(url, token) for _ in range(50)))
            clock.wrong_by(HOUR)
            answers.append(await chat(url, token))
        await shipped(cli, 102)
    ended = datetime.now(UTC)
    began_at = [row[0] for row in query(cli.settings["DATABASE_URL"], "SELECT started_at FROM usage")]
    # While one thread reads libfaketime's file, another is told the right time: 15 times in 400,000 with two threads
    # that do nothing else.
    let_through = sum(moment < at < ended for at in began_at)
    assert let_through < 5
    assert began_at.count(moment) + let_through == 100
    check(cli.settings["DATABASE_URL"], upstream, answers)


async def test_known_tokens_work_on(cli: Cli, clock: WallClock, database: Database) -> None:
    """PostgreSQL is away, and the copy of its users is not an hour old when the clock is set an hour on."""
    async with stepping(cli, clock) as (_, url, token):
        with away(database):
            await until(lambda: fetch(f"{url}/readyz"), lambda answer: json.loads(answer.body)["database"] == "away")
            clock.wrong_by(HOUR)
            assert (await chat(url, token)).status == 200
        await shipped(cli, 1)


async def test_a_clock_set_back_gives_no_token_more_time(cli: Cli, clock: WallClock, database: Database) -> None:
    """PostgreSQL is away for longer than `stale_after`: 503, though on the wall it is an hour before."""
    async with stepping(cli, clock, STALE_AFTER="1") as (_, url, token):
        with away(database):
            clock.wrong_by(-HOUR)
            answer = await until(lambda: chat(url, token), lambda answer: answer.status != 200)
    assert (answer.status, answer.error["code"]) == (503, "directory_stale")


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
async def test_a_clock_that_steps_moves_no_timeout(
    cli: Cli, upstream: Upstream, clock: WallClock, step: timedelta
) -> None:
    """An upstream that says nothing is given up after `first_byte_timeout`, neither an hour later nor at once."""
    async with stepping(cli, clock, FIRST_BYTE_TIMEOUT="1") as (_, url, token):
        assert (await chat(url, token)).status == 200

        async def silent(request: object, reply: object) -> None:
            await asyncio.sleep(60)

        upstream.script = silent
        began = time.monotonic()
        running = asyncio.create_task(chat(url, token))
        await until(lambda: asyncio.sleep(0, len(upstream.requests)), lambda count: count == 2)
        clock.wrong_by(step)
        answer = await running
        took = time.monotonic() - began
    assert 0.9 < took < 15
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
