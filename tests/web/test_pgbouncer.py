"""An agent behind a real PgBouncer, by default in both modes, and with the configuration of the documentation."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from chatgpt_agent.adapters.migrate import migrate, schema_status
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.programs import check_sessions
from chatgpt_agent.core.errors import SetupError, StoreUnavailable
from chatgpt_agent.runtime.budget_store import PostgresBudgetStore
from tests.conftest import MakeAgent
from tests.support.client import fetch
from tests.support.commands import Cli
from tests.support.database import query
from tests.support.doctor import run_one
from tests.support.pgbouncer import MISSING, PGBOUNCER, pgbouncer, running
from tests.support.postgres_server import server_folder, temporary_database
from tests.support.snippets import snippets

PAGE = "docs/operations/pgbouncer.md"
NOTIFY = "SELECT pg_notify('chatgpt_agent_spent', '7')"

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason=MISSING)


@pytest.fixture
def folder() -> Iterator[Path]:
    """PgBouncer's folder."""
    with server_folder() as folder:
        yield folder


@pytest.fixture(params=["session", "transaction"])
def pooled(request: pytest.FixtureRequest, folder: Path, dsn: str) -> Iterator[str]:
    """The test's database behind PgBouncer; its connection string."""
    with pgbouncer(folder, dsn, request.param) as pooled_dsn:
        yield pooled_dsn


@pytest.fixture
def in_session_mode(folder: Path, dsn: str) -> Iterator[str]:
    """The same, in session mode."""
    with pgbouncer(folder, dsn, "session") as pooled_dsn:
        yield pooled_dsn


@pytest.fixture
def in_transaction_mode(folder: Path, dsn: str) -> Iterator[str]:
    """The same, in transaction mode."""
    with pgbouncer(folder, dsn, "transaction") as pooled_dsn:
        yield pooled_dsn


async def test_agent_serves_behind_pgbouncer(pooled: str, make_agent: MakeAgent) -> None:
    """Requests are answered and recorded, and a new token works; the oracle finds the ledger right. REST reads it."""
    agent = await make_agent(database_url=pooled)
    for _ in range(3):
        assert (await agent.chat()).status == 200
    agent.token = await agent.add_user("bob")
    assert (await agent.chat()).status == 200
    assert [row["state"] for row in await agent.rows(4)] == ["done"] * 4
    assert await agent.administration.ledger.verify() == []
    headers = {"Authorization": f"Bearer {await agent.admin_token('carol')}"}
    for path in ("users", "ledger/rows", "system"):
        assert (await fetch(f"{agent.admin_url}/api/v1/{path}", headers=headers)).status == 200


async def test_agent_holds_few_connections(in_session_mode: str, dsn: str, make_agent: MakeAgent) -> None:
    """What the page says of `pool_size` holds: nine for a running agent, three more at its start, which PgBouncer keeps
    for a while, and one of this test's own."""
    agent = await make_agent(database_url=in_session_mode)
    assert (await agent.chat()).status == 200
    await agent.rows(1)
    connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert query(dsn, connections)[0][0] <= 9 + 3 + 1


async def test_configuration_of_the_page_works(folder: Path, dsn: str) -> None:
    """The account of the page signs in with its password, keeps its session, and doctor says so."""
    [snippet] = [each for each in snippets("ini") if each.page == PAGE]
    [secret] = [each.text for each in snippets("sql") if each.page == PAGE]
    target = parse_dsn(dsn)
    query(dsn, "CREATE ROLE pooled_agent SUPERUSER LOGIN PASSWORD 'choose-one'")
    try:
        [(line,)] = query(dsn, secret.replace("'agent'", "'pooled_agent'"))
        (folder / "userlist.txt").write_text(line)
        assert '"SCRAM-SHA-256$' in line
        ini = snippet.text.replace("/etc/pgbouncer", str(folder)).replace("dbname=agent", f"dbname={target['dbname']}")
        ini = ini.replace("host=127.0.0.1 port=5432", f"host={target['host']} port={target['port']}")
        with running(folder, f"{ini}unix_socket_dir =\n", Path(target["host"])) as port:
            url = f"postgresql://pooled_agent:choose-one@127.0.0.1:{port}/agent"
            assert migrate(url) == []
            outcome, text, _ = await run_one("database", database_url=url)
            assert (outcome.value, text.endswith("through a pooler that keeps sessions")) == ("ok", True)
            with pytest.raises(StoreUnavailable, match="SASL authentication failed"):
                await Store(url.replace("choose-one", "another")).ping()
    finally:
        query(dsn, "DROP ROLE pooled_agent")


# Notices.


async def test_notices_arrive_in_session_mode(in_session_mode: str, dsn: str) -> None:
    """A change of another agent is known at once."""
    async with Store(in_session_mode) as store, Store(in_session_mode) as listener:
        changes = PostgresBudgetStore(store, listener)
        assert await changes.wait_for_changes(0) is None  # it has begun to listen
        query(dsn, NOTIFY)
        assert await changes.wait_for_changes(30) == {7}


async def test_shared_sessions_do_not_listen(in_transaction_mode: str, folder: Path, dsn: str) -> None:
    """In transaction mode all is read again each time, and PgBouncer closes no connection because of a notice."""
    async with Store(in_transaction_mode) as store, Store(in_transaction_mode) as listener:
        changes = PostgresBudgetStore(store, listener)
        for _ in range(3):
            assert await changes.wait_for_changes(0) is None
            query(dsn, NOTIFY)
        assert await store.fetch("SELECT pg_listening_channels()") == []
    assert "not linked" not in (folder / "log").read_text()


async def test_mode_is_known(pooled: str, request: pytest.FixtureRequest) -> None:
    """The agent sees whether sessions are shared, each time that it is asked."""
    expected = "transaction" in request.node.name
    async with Store(pooled) as store:
        assert [await store.shares_sessions() for _ in range(5)] == [expected] * 5


async def test_full_pool_is_one_that_keeps_sessions(folder: Path, dsn: str) -> None:
    """Where no second session is to be had, the first is not shared."""
    with pgbouncer(folder, dsn, "session", more="default_pool_size = 1") as pooled_dsn:
        async with Store(pooled_dsn, seconds=0.5) as store:
            assert not await store.shares_sessions()
            assert await store.fetch("SELECT 1") == [(1,)]


# Commands.


def test_dumps_are_refused_where_sessions_are_shared(in_transaction_mode: str, tmp_path: Path) -> None:
    """pg_dump would leave an empty search_path to agents."""
    settings = {"DATABASE_URL": in_transaction_mode, "DATA_DIR": str(tmp_path / "data")}
    [line] = Cli(settings).refused("backup", str(tmp_path / "backup.tar"))
    assert "shares sessions" in line
    assert not list(tmp_path.glob("*.tar*"))


def test_dumps_are_allowed_where_sessions_last(in_session_mode: str) -> None:
    """PgBouncer resets a session before another client gets it."""
    check_sessions(in_session_mode)


def test_lost_search_path_is_refused(folder: Path, dsn: str) -> None:
    """Where PgBouncer drops `options`, no table is created in another schema; on the account, the setting counts."""
    with pgbouncer(folder, dsn, "session", more="ignore_startup_parameters = options") as pooled_dsn:
        url = f"{pooled_dsn} options='-csearch_path=own'"
        with pytest.raises(SetupError, match=r"search_path is .*ALTER ROLE postgres SET search_path = own"):
            migrate(url)
        [(name,)] = query(dsn, "SELECT current_database()")
        query(dsn, f'CREATE SCHEMA own; ALTER DATABASE "{name}" SET search_path = own')
    with pgbouncer(folder, dsn, "session", more="ignore_startup_parameters = options") as pooled_dsn:
        assert schema_status(f"{pooled_dsn} options='-csearch_path=own'").applied == []


async def test_doctor_warns_of_shared_sessions(in_transaction_mode: str) -> None:
    """The advice is the setting."""
    outcome, text, advice = await run_one("database", database_url=in_transaction_mode)
    assert (outcome.value, "pool_mode = transaction" in text) == ("warning", True)
    assert advice.startswith("set pool_mode = session")


async def test_doctor_explains_refused_options(in_session_mode: str) -> None:
    """They belong to the account."""
    outcome, _, advice = await run_one("database", database_url=f"{in_session_mode} options='-B 64'")
    assert (outcome.value, advice.startswith("set these with ALTER ROLE")) == ("failure", True)


# Fail-over.


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_the_poolers_primary_is_taken(mode: str, folder: Path, dsn: str, postgres: str) -> None:
    """The agent takes the PgBouncer in front of a server that takes writes."""
    target = parse_dsn(dsn)
    with server_folder() as other, temporary_database(postgres) as replica:
        query(replica, f"ALTER DATABASE {parse_dsn(replica)['dbname']} SET default_transaction_read_only = on")
        with pgbouncer(other, replica, mode, name=target["dbname"]) as first, pgbouncer(folder, dsn, mode) as second:
            ports = f"{parse_dsn(first)['port']},{parse_dsn(second)['port']}"
            url = make_dsn(second, host="127.0.0.1,127.0.0.1", port=ports, target_session_attrs="read-write")
            async with Store(url) as store:
                assert await store.fetch("SELECT current_database()") == [(target["dbname"],)]
