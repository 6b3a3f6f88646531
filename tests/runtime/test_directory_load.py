"""The copy of very many users and tokens: nobody waits while it is read, and nobody sees half of it."""

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
HELD_SECONDS = 0.05  # at most, of the processor's time, in one piece

# As triggers would have left them, which take a minute for so many.
FILL = """
    SET session_replication_role = replica;
    INSERT INTO users (id, name, upstream_key, created_at, version)
    SELECT n, 'user' || n, '', now(), 2 * n - 1 FROM generate_series(1, %(users)s) n;
    INSERT INTO tokens (id, user_id, digest, token_prefix, created_at, version)
    SELECT n, n, CASE n WHEN %(users)s THEN %(digest)s ELSE sha256(n::text::bytea) END, '', now(), 2 * n
    FROM generate_series(1, %(users)s) n;
    UPDATE directory_version SET version = 2 * %(users)s;
    ANALYZE"""


class Meter:
    """How long the loop was held at most, in seconds of the processor: other processes' load does not count."""

    def __init__(self) -> None:
        self.held = 0.0

    async def run(self) -> None:
        """Looks at every turn of the loop until it is cancelled."""
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.held = max(self.held, time.thread_time() - before)


@pytest.fixture
def token(dsn: str) -> str:
    """The token of the last of very many users."""
    token, digest = KEYRING.new_token()
    with connected(dsn) as cursor:
        cursor.execute(FILL, {"users": USERS, "digest": digest})
    return token


@pytest.fixture
def directory(io_loop: IOLoop, dsn: str) -> Iterator[Directory]:
    """A directory that was not started."""
    made = Directory(Store(dsn), on_budgets=ignore, stale_after=300.0, clock=time.monotonic)
    yield made
    io_loop.run_sync(made.close)


async def test_a_start_with_very_many_users_holds_nobody_up(directory: Directory, token: str) -> None:
    """Health checks, and requests while a database was restored, are answered while the copy is read."""
    gc.collect()
    gc.freeze()  # what the tests hold is none of an agent's
    meter = Meter()
    measuring = asyncio.create_task(meter.run())
    await directory.start(KEYRING)
    measuring.cancel()
    gc.unfreeze()
    assert directory.identify(token).user.id == USERS
    assert meter.held < HELD_SECONDS


async def test_while_everything_is_read_anew_everybody_is_known(directory: Directory, token: str, dsn: str) -> None:
    """A deleted row makes agents read everything: until all of it is there, the old copy counts."""
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
