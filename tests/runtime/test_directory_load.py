"""A directory of very many users and tokens: it is read without blocking the loop, and never visible in part."""

import asyncio
import gc
import time
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from chatgpt_agent.adapters.keyring import Keyring
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.core.errors import AgentError
from chatgpt_agent.runtime.directory import Directory
from tests.support.database import connected
from tests.support.observers import ignore

KEYRING = Keyring(b"m" * 32)
USERS = 100_000
MAX_HOLD = 1 / 15  # of the CPU time of a load, between two iterations of the loop: on any machine

# The result of the triggers, which would take a minute for this number of rows.
FILL = """
    SET session_replication_role = replica;
    INSERT INTO users (id, name, upstream_key, created_at, version)
    SELECT n, 'user' || n, '', now(), 2 * n - 1 FROM generate_series(1, %(users)s) n;
    INSERT INTO tokens (id, user_id, digest, token_prefix, created_at, version)
    SELECT n, n, CASE n WHEN %(users)s THEN %(digest)s ELSE sha256(n::text::bytea) END, '', now(), 2 * n
    FROM generate_series(1, %(users)s) n;
    UPDATE directory_version SET version = 2 * %(users)s;
    ANALYZE"""


class HoldMeter:
    """The longest time that the loop was held, in seconds of CPU time: the load of other processes does not count."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        """Measures each iteration of the loop until it is cancelled."""
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest = max(self.longest, time.thread_time() - before)


@pytest.fixture
def token(dsn: str) -> str:
    """The token of the last user."""
    token, digest = KEYRING.new_token()
    with connected(dsn) as cursor:
        cursor.execute(FILL, {"users": USERS, "digest": digest})
    return token


@pytest.fixture
def directory(io_loop: IOLoop, dsn: str) -> Iterator[Directory]:
    """A directory that was not started."""
    directory = Directory(Store(dsn), on_budgets=ignore, stale_after=300.0, clock=time.monotonic)
    yield directory
    io_loop.run_sync(directory.close)


async def test_the_first_load_does_not_block_the_loop(directory: Directory, token: str) -> None:
    """Health checks are answered while very many users and tokens are read."""
    gc.collect()
    gc.freeze()  # objects of the tests would cost time that an agent does not need
    meter = HoldMeter()
    measuring = asyncio.create_task(meter.run(), name="meter")
    before = time.thread_time()
    await directory.start(KEYRING)
    load = time.thread_time() - before
    measuring.cancel()
    assert directory.identify(token).user.id == USERS
    assert meter.longest < MAX_HOLD * load


async def test_the_old_copy_is_valid_while_all_is_read_again(directory: Directory, token: str, dsn: str) -> None:
    """A deleted row makes agents read everything; meanwhile no token is refused."""
    await directory.start(KEYRING)
    refusals = 0
    with connected(dsn) as cursor:
        cursor.execute("DELETE FROM tokens WHERE id = 1; UPDATE users SET name = 'renamed' WHERE id = %s", [USERS])
    async with asyncio.timeout(20):
        while refusals == 0 and directory.owner_of(1) is not None:
            await asyncio.sleep(0)
            try:
                directory.identify(token)
            except AgentError:
                refusals += 1
    assert refusals == 0
    assert directory.identify(token).user.name == "renamed"
