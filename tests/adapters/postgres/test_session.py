"""Settings of a session: set after connecting, directly and behind a real PgBouncer; times in UTC in any session."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest

from chatgpt_agent.adapters.migrate import migrate
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.session import split_options
from tests.support import citus
from tests.support.agent import Agent
from tests.support.database import query
from tests.support.pgbouncer import MISSING, PGBOUNCER, pgbouncer
from tests.support.postgres_server import server_folder

SETTINGS = "SELECT " + ", ".join(f"current_setting('{name}')" for name in ("statement_timeout", "timezone"))
behind_pgbouncer = pytest.mark.skipif(PGBOUNCER is None or citus.URL is not None, reason=f"{MISSING}, or on Citus")


@pytest.fixture
def odd_server(dsn: str) -> str:
    """A database whose sessions begin with another time zone, and with commits that do not wait for the disk."""
    [(name,)] = query(dsn, "SELECT current_database()")
    query(dsn, f"""ALTER DATABASE "{name}" SET timezone = 'Asia/Tokyo'""")
    query(dsn, f"""ALTER DATABASE "{name}" SET synchronous_commit = off""")
    return dsn


@pytest.fixture(params=["session", "transaction"])
def pooled(request: pytest.FixtureRequest, odd_server: str) -> Iterator[str]:
    """The same database behind PgBouncer; its connection string."""
    with server_folder() as folder, pgbouncer(folder, odd_server, request.param) as dsn:
        yield dsn


async def test_settings_are_set_after_connecting(odd_server: str) -> None:
    """Those of the server have no effect on what the ledger relies on."""
    async with Store(odd_server, seconds=2) as store:
        assert await store.fetch(SETTINGS) == [("3s", "UTC")]
        assert await store.fetch("SHOW synchronous_commit") == [("on",)]
        assert await store.fetch("SHOW client_encoding") == [("UTF8",)]
        assert await store.fetch("SHOW jit") == [("off",)]


async def test_an_agent_leaves_processors_to_requests(agent: Agent) -> None:
    """A report of the console or of REST takes one process of PostgreSQL."""
    store = agent.server.admin_api.stores.reports
    assert await store.fetch("SHOW max_parallel_workers_per_gather") == [("0",)]


async def test_settings_of_the_connection_string_are_kept(odd_server: str) -> None:
    """`options` of the connection string are set as well, but not over ours."""
    options = (
        r"-csearch_path=pg_catalog,public -cjit=on --work-mem=8MB -capplication_name=our\ one -ctimezone=Asia/Tokyo"
    )
    async with Store(f"{odd_server} options='{options.replace(chr(92), chr(92) * 2)}'") as store:
        names = ["search_path", "jit", "work_mem", "application_name", "timezone"]
        values = await store.fetch("SELECT current_setting(name) FROM unnest(%s) name", [names])
        assert [value for (value,) in values] == ["pg_catalog,public", "on", "8MB", "our one", "UTC"]


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("", {}),
        ("-c a=1", {"a": "1"}),
        ("-ca=1 --b-c=2", {"a": "1", "b_c": "2"}),
        ("-c geqo=off -B 64", None),
    ],
)
def test_options_of_another_form_stay(options: str, settings: dict[str, str] | None) -> None:
    """What is not a setting can only be given at the start of a session."""
    dsn, result = split_options(f"host=h options='{options}'")
    assert result == (settings or {})
    assert ("options" in dsn) == (settings is None)


async def test_times_are_utc_in_any_session(dsn: str) -> None:
    """What is printed does not depend on the time zone of the session."""
    async with Store(dsn) as store:
        sql = "SELECT set_config('timezone', 'Asia/Tokyo', false), timestamptz '2026-11-23 18:00:00.5Z'"
        await store.fetch(sql)
        [(_, moment)] = await store.fetch(sql)
        assert moment == datetime(2026, 11, 23, 18, 0, 0, 500000, UTC)
        assert moment.utcoffset().total_seconds() == 0


async def test_times_outside_of_pythons_calendar_are_read(dsn: str) -> None:
    """They become the nearest end of the calendar; psycopg2 would raise for the whole result."""
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    async with Store(dsn) as store:
        sql = "SELECT moment::timestamptz FROM unnest(%s) moment"
        early = ["-infinity", "0044-03-15 BC", "4713-01-01 BC", "0001-01-01T00:00:00+01:00"]
        late = ["infinity", "294276-12-31", "10000-01-01Z", "9999-12-31T23:59:59-05:00"]
        assert {moment for (moment,) in await store.fetch(sql, [early])} == {first}
        assert {moment for (moment,) in await store.fetch(sql, [late])} == {last}
        days = await store.fetch("SELECT day::date FROM unnest(%s) day", [["-infinity", "12000-01-01", "2026-11-23"]])
        assert [day for (day,) in days] == [date.min, date.max, date(2026, 11, 23)]


# Behind PgBouncer, in both modes.


@behind_pgbouncer
async def test_settings_hold_behind_pgbouncer(pooled: str) -> None:
    """PgBouncer refuses `options`, and may give each transaction another session of the server."""
    async with Store(pooled, seconds=2) as store, Store(pooled, seconds=4) as other:
        for _ in range(3):
            assert await store.fetch(SETTINGS) == [("3s", "UTC")]
            assert await other.fetch(SETTINGS) == [("5s", "UTC")]
            assert await store.fetch("SHOW synchronous_commit") == [("on",)]


@behind_pgbouncer
async def test_options_of_the_connection_string_hold_behind_pgbouncer(pooled: str) -> None:
    """They are sent with each transaction, too, and so are percent signs in them."""
    async with Store(f"{pooled} options='-csearch_path=pg_catalog -capplication_name=100%'") as store:
        sql = "SELECT current_setting('search_path'), current_setting('application_name'), %s"
        assert await store.fetch(sql, [1]) == [("pg_catalog", "100%", 1)]


@behind_pgbouncer
def test_migration_runs_twice_behind_pgbouncer(pooled: str) -> None:
    """The lock of the first one does not stay with a pooled session."""
    assert migrate(pooled) == migrate(pooled) == []
