"""PostgreSQL fails over to a replica that is behind: the rows that the new server does not have are shipped again."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatgpt_agent.adapters.migrate import migrate
from tests.conftest import MakeAgent
from tests.faults.conftest import Load, Postgres
from tests.faults.postgresql_faults import statuses, until_result
from tests.support.database import query
from tests.support.oracle import verify
from tests.support.postgres_server import server_folder
from tests.support.upstream import Upstream
from tests.support.waiting import until

pytestmark = pytest.mark.slow

RECEIVERS = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"


class Pair:
    """A primary with an asynchronous streaming replica."""

    def __init__(self, folder: Path) -> None:
        self.primary, self.replica = Postgres(folder / "a"), Postgres(folder / "b")
        self.primary.start()
        migrate(self.primary.dsn)
        self.primary.stop()
        subprocess.run(["cp", "-a", folder / "a", folder / "b"], check=True)
        (self.replica.data / "standby.signal").touch()
        self.primary.start()
        with (self.replica.data / "postgresql.auto.conf").open("a") as file:
            file.write(f"primary_conninfo = 'host={self.primary.socket_folder} user=postgres'\n")
        self.replica.start()

    @property
    def dsn(self) -> str:
        """The connection string of whichever of them is the primary."""
        hosts = f"{self.primary.socket_folder},{self.replica.socket_folder}"
        return f"host={hosts} port=5432,5432 user=postgres dbname=postgres target_session_attrs=read-write"

    async def stop_receiver(self) -> None:
        """Lets the replica fall behind."""
        query(self.replica.dsn, "ALTER SYSTEM SET primary_conninfo = ''")
        query(self.replica.dsn, "SELECT pg_reload_conf()")
        await until_result(self.replica.dsn, RECEIVERS, 0)

    async def fail_over(self) -> None:
        """Ends the primary with kill -9 and promotes the replica."""
        self.primary.kill()
        await asyncio.to_thread(query, self.replica.dsn, "SELECT pg_promote()")


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A primary and its replica, for one test."""
    with server_folder() as folder:
        pair = Pair(folder)
        try:
            yield pair
        finally:
            pair.replica.stop()
            pair.primary.stop()


@pytest.fixture
def dsn(pair: Pair) -> str:
    """The database of the pair."""
    return pair.dsn


async def one_more_batch(dsn: str) -> None:
    """Waits until a database has more rows than now."""
    count = "SELECT count(*) FROM usage"
    [(before,)] = await asyncio.to_thread(query, dsn, count)
    await until(lambda: asyncio.to_thread(query, dsn, count), lambda rows: rows[0][0] > before)


async def test_rows_that_a_failover_loses_are_shipped_again(
    make_agent: MakeAgent, pair: Pair, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """The replica takes over without rows that the primary had confirmed; then it has every row once."""
    agent = await make_agent(database_url=pair.dsn)
    await until_result(pair.replica.dsn, RECEIVERS, 1)
    async with Load(agent, clients=2) as load:
        await load.more(10)
        await pair.stop_receiver()
        # What the primary gets from here on, the replica does not. Its own rows say less: it may not have applied all
        # that it has received, and after its promotion the agent ships the lost ones again.
        for _ in range(2):  # the second batch only comes when the agent knows that the primary has the first one
            await one_more_batch(pair.primary.dsn)
        await pair.fail_over()
        await load.more(10)
    await until(lambda: "does not have the last" in caplog.text and "are shipped again" in caplog.text)
    assert statuses(load.answers) == {200}
    assert len(await verify(agent, upstream, load.answers)) == len(load.answers)
