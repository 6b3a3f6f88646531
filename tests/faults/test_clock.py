"""A wall clock that steps while the agent runs (X9), as after a correction or a suspended machine.

The agent is a process of its own, and a library that it loads first changes its time of day. PostgreSQL, the upstream
and the clients have the right time, and the agent's monotonic clock is the system's."""

import asyncio
import json
import mmap
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg2.extensions import parse_dsn

from tests.faults.processes import CHAT, serving
from tests.support.client import Answer, fetch
from tests.support.commands import Cli
from tests.support.database import Database, query
from tests.support.oracle import check
from tests.support.serving import Serve, chat, headers
from tests.support.upstream import Upstream
from tests.support.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None or sys.platform != "linux", reason="needs a C compiler and Linux"),
]

NONE, HOUR = timedelta(), timedelta(hours=1)
LEAP = timedelta(days=40)  # into another month, which is another partition
STEPS = {"an hour back": -HOUR, "an hour on": HOUR}
LEAPS = {"a leap back": -LEAP, "a leap on": LEAP}


class WallClock:
    """The time of day of processes with this `environment`. `file` is as stepping_clock.c says."""

    def __init__(self, library: Path, file: Path) -> None:
        file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 8)
        self.environment = {"LD_PRELOAD": str(library), "STEPPING_CLOCK": str(file), "TZ": "UTC"}

    def wrong_by(self, offset: timedelta) -> None:
        """Lets it run, with this offset to the right time."""
        self._set(2 * int(offset.total_seconds()))

    def stands_at(self, moment: datetime) -> None:
        """Stops it at a moment."""
        self._set(2 * int(moment.timestamp()) + 1)

    def _set(self, number: int) -> None:
        self._memory[:] = number.to_bytes(8, sys.byteorder, signed=True)


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> WallClock:
    """A clock that a test may set; it starts with the right time."""
    folder = tmp_path_factory.mktemp("clock")
    library = folder / "stepping_clock.so"
    source = Path(__file__).with_name("stepping_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O", "-o", library, source], check=True)
    return WallClock(library, folder / "time")


@pytest.fixture
def cli(dsn: str, upstream: Upstream, tmp_path: Path, clock: WallClock) -> Cli:
    """The program on a database of the test's own, with a fake OpenAI and the right time."""
    clock.wrong_by(NONE)
    return Cli({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path / "data"), "OPENAI_URL": upstream.url})


@contextmanager
def away(database: Database) -> Iterator[None]:
    """Lets PostgreSQL refuse connections to the database."""
    database.close()
    try:
        yield
    finally:
        database.open()


@pytest.fixture
def database(postgres: str, dsn: str) -> Database:
    """The test's own database, which can be made unreachable."""
    return Database(postgres, parse_dsn(dsn)["dbname"])


@asynccontextmanager
async def stepping(cli: Cli, clock: WallClock, **settings: str) -> AsyncIterator[tuple[Serve, str, str]]:
    """Runs an agent with this clock, like `serving`; its price is valid at every time that the clock shows."""
    await cli.in_thread("price", "set", "m", "--input", "3", "--output", "4", "--from", "2020-01-01")
    async with serving(cli, Serve, **clock.environment, **settings) as served:
        yield served


async def ask(url: str, token: str, *, stream: bool) -> Answer:
    """Sends a request whose answer takes 0.4 seconds: a stream with gaps, or a whole answer that is late."""
    message = {"role": "user", "content": "chunks=1 gap=0.1 delay=0.4"}
    body = json.dumps({"model": "m", "messages": [message], "stream": stream}).encode()
    return await fetch(url + CHAT, "POST", headers(token), body)


async def under_way(url: str, token: str, upstream: Upstream) -> "list[asyncio.Task[Answer]]":
    """Starts three streams and three whole answers, and waits until the upstream has the requests."""
    expected = len(upstream.requests) + 6
    tasks = [asyncio.create_task(ask(url, token, stream=n % 2 == 0)) for n in range(6)]
    await until(lambda: len(upstream.requests) == expected)
    return tasks


async def shipped(cli: Cli, count: int) -> None:
    """Waits a few seconds for rows in PostgreSQL: an agent that slept by the wall clock would take an hour."""
    dsn = cli.settings["DATABASE_URL"]
    await until(lambda: asyncio.to_thread(query, dsn, "SELECT 1 FROM usage"), lambda rows: len(rows) == count)


@pytest.mark.parametrize("step", (STEPS | LEAPS).values(), ids=STEPS | LEAPS)
async def test_the_ledger_is_right_after_any_step_of_the_clock(
    cli: Cli, upstream: Upstream, clock: WallClock, step: timedelta
) -> None:
    """The clock steps there and back during requests, and then for good while a row waits to be shipped: all requests
    are answered, and their rows are in PostgreSQL within seconds."""
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
    assert await cli.in_thread("ledger", "verify") == "The ledger is consistent.\n"


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
async def test_a_row_has_the_time_of_the_clock_and_the_right_duration(
    cli: Cli, upstream: Upstream, clock: WallClock, step: timedelta
) -> None:
    """Durations are right even if the clock steps during the request."""
    async with stepping(cli, clock) as (_, url, token):
        began = time.time()
        running = await under_way(url, token, upstream)
        clock.wrong_by(step)
        await chat(url, token)
        await asyncio.gather(*running)
        longest = (time.time() - began) * 1000
        await shipped(cli, 7)
    sql = "SELECT started_at, first_byte_ms, duration_ms FROM usage ORDER BY request_id"
    rows = query(cli.settings["DATABASE_URL"], sql)
    wrong = [round((started_at.timestamp() - began) / 60) for started_at, _, _ in rows]
    assert sorted(wrong) == sorted([0] * 6 + [round(step.total_seconds() / 60)])
    assert all(0 <= first <= last <= longest for _, first, last in rows)


async def test_ids_are_unique_where_time_stands_still(cli: Cli, upstream: Upstream, clock: WallClock) -> None:
    """A hundred requests in the same millisecond get different ids; for half of them the clock was set back to it."""
    moment = datetime.now(UTC).replace(microsecond=0)
    async with stepping(cli, clock) as (_, url, token):
        answers: list[Answer] = []
        for _ in range(2):
            clock.stands_at(moment)
            answers += await asyncio.gather(*(chat(url, token) for _ in range(50)))
            clock.wrong_by(HOUR)
            answers.append(await chat(url, token))
        await shipped(cli, 102)
    began_at = [row[0] for row in query(cli.settings["DATABASE_URL"], "SELECT started_at FROM usage")]
    assert began_at.count(moment) == 100
    check(cli.settings["DATABASE_URL"], upstream, answers)


async def test_known_tokens_work_after_a_step_of_the_clock(cli: Cli, clock: WallClock, database: Database) -> None:
    """While PostgreSQL is down, the copy of its users does not age by the hour that the clock is set forward."""
    async with stepping(cli, clock) as (_, url, token):
        with away(database):
            await until(lambda: fetch(f"{url}/readyz"), lambda answer: json.loads(answer.body)["database"] == "away")
            clock.wrong_by(HOUR)
            assert (await chat(url, token)).status == 200
        await shipped(cli, 1)


async def test_a_clock_that_is_set_back_does_not_prolong_stale_after(
    cli: Cli, clock: WallClock, database: Database
) -> None:
    """When PostgreSQL is down for longer than `stale_after`, the answer is 503 although the clock was set back."""
    async with stepping(cli, clock, STALE_AFTER="1") as (_, url, token):
        with away(database):
            clock.wrong_by(-HOUR)
            answer = await until(lambda: chat(url, token), lambda answer: answer.status != 200)
    assert (answer.status, answer.error["code"]) == (503, "directory_stale")


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
async def test_a_clock_that_steps_moves_no_timeout(
    cli: Cli, upstream: Upstream, clock: WallClock, step: timedelta
) -> None:
    """A silent upstream times out after `first_byte_timeout`, neither at once nor an hour later."""
    async with stepping(cli, clock, FIRST_BYTE_TIMEOUT="1") as (_, url, token):

        async def silent(request: object, reply: object) -> None:
            await asyncio.sleep(3600)

        upstream.script = silent
        began = time.monotonic()
        running = asyncio.create_task(chat(url, token))
        await until(lambda: len(upstream.requests) == 1)
        clock.wrong_by(step)
        answer = await running
        took = time.monotonic() - began
    assert took > 0.9
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")


async def test_a_clock_set_back_before_all_prices_refuses_no_model(cli: Cli, clock: WallClock) -> None:
    """The agent starts on a machine whose clock is years behind, as without a battery; prices were set today."""
    clock.wrong_by(timedelta(days=-3000))
    async with serving(cli, Serve, **clock.environment) as (serve, url, token):
        assert (await chat(url, token)).status == 200
        await serve.logged("this machine's clock is 259")
        await shipped(cli, 1)
