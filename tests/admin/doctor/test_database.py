"""`doctor` on PostgreSQL: reached, schema, rights, partitions, clock."""

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg2.extensions import make_dsn

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.migrate import rollback
from chatgpt_agent.adapters.postgres.health import DatabaseHealth
from chatgpt_agent.adapters.postgres.rights import Rights
from chatgpt_agent.admin.doctor.database import check_clock, check_database, of_health, of_rights
from chatgpt_agent.admin.doctor.examination import Examination
from chatgpt_agent.admin.doctor.results import Outcome
from tests.support.database import connected, query
from tests.support.doctor import run_check, run_one

PASSWORD = "made-up-password"


# Reached.


async def test_database_is_ok(dsn: str) -> None:
    """Its version and its name are shown, and its clock is read."""
    examination = Examination(Config(database_url=dsn), None)
    [result] = await check_database(examination)
    await examination.close()
    assert (result.outcome, result.text.startswith("PostgreSQL ")) == (Outcome.OK, True)
    assert abs(examination.clocks["PostgreSQL's"]) < 5


async def test_closed_port_is_a_failure() -> None:
    """libpq's words are shown, and no password."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        outcome, text, advice = await run_one("database", database_address=address, database_password=PASSWORD)
    assert (outcome, advice) == (Outcome.FAILURE, "start PostgreSQL, or correct database_address")
    assert "Connection refused" in text
    assert PASSWORD not in text


async def test_locked_table_does_not_stop_the_check(dsn: str) -> None:
    """Sizes of tables would wait for it."""
    with connected(dsn) as cursor:
        cursor.execute("BEGIN; LOCK TABLE prices, usage IN ACCESS EXCLUSIVE MODE")
        assert (await run_one("database", database_url=dsn))[0] is Outcome.OK


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"dbname": "no_such_database"}, "create the database"),
        ({"user": "no_such_role"}, "create the role"),
        ({"host": "/nowhere"}, "start PostgreSQL"),
        ({"host": "no-such-host.invalid"}, "correct the host"),
    ],
)
async def test_wrong_connection_string_is_a_failure(dsn: str, change: dict[str, str], advice: str) -> None:
    """The advice names the part and the key."""
    outcome, _, text = await run_one("database", database_url=make_dsn(dsn, **change))
    assert outcome is Outcome.FAILURE
    assert text.startswith(advice)
    assert "in database_url" in text


async def test_embedded_database_that_does_not_exist_is_ok(tmp_path: Path) -> None:
    """The first start creates it; doctor does not."""
    [result] = await run_check("database", database_url="embedded", data_dir=tmp_path / "data")
    assert (result.outcome, result.blocks) == (Outcome.OK, True)
    assert not (tmp_path / "data").exists()


async def test_embedded_database_that_does_not_start_is_a_failure(data_dir: Path) -> None:
    """The text names its log."""
    create_folder(data_dir / "postgres" / "pg")
    outcome, text, _ = await run_one("database", database_url="embedded", data_dir=data_dir)
    assert (outcome, "postgres/pg" in text) == (Outcome.FAILURE, True)


def create_folder(path: Path) -> None:
    """Creates a folder and those above it."""
    path.mkdir(parents=True)


def health(version: str = "18.1", connections: int = 5) -> DatabaseHealth:
    """What PostgreSQL says of itself."""
    return DatabaseHealth(
        name="agent",
        version=version,
        bytes=1 << 23,
        connections=connections,
        all_connections=connections,
        max_connections=100,
        tables=[],
    )


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (health(), Outcome.OK),
        (health("14.9 (Debian 14.9-1)"), Outcome.WARNING),
        (health(connections=95), Outcome.WARNING),
    ],
)
def test_version_and_connections(state: DatabaseHealth, expected: Outcome) -> None:
    """An old version, and a server without room for connections, are warnings."""
    assert [result.outcome for result in of_health(state)] == [expected]


# Schema.


async def test_schema_is_ok(dsn: str) -> None:
    """It names the last migration."""
    outcome, text, _ = await run_one("schema", database_url=dsn)
    assert (outcome, text.startswith("up to date, 00")) == (Outcome.OK, True)


@pytest.mark.parametrize(("migrates", "expected"), [(True, Outcome.OK), (False, Outcome.WARNING)])
async def test_empty_database_stops_the_checks_that_need_tables(
    empty_dsn: str, migrates: bool, expected: Outcome
) -> None:
    """The first start creates the tables, where it may."""
    [result] = await run_check("schema", database_url=empty_dsn, auto_migrate=migrates)
    assert (result.outcome, result.blocks) == (expected, True)


async def test_older_schema_is_a_warning(dsn: str) -> None:
    """The advice is the command that migrates it."""
    query(dsn, "DELETE FROM _yoyo_migration WHERE migration_id = (SELECT max(migration_id) FROM _yoyo_migration)")
    [result] = await run_check("schema", database_url=dsn, auto_migrate=False)
    assert (result.outcome, result.advice, result.blocks) == (Outcome.WARNING, "chatgpt-agent migrate", True)


async def test_newer_schema_is_a_failure(dsn: str) -> None:
    """Only the newer program can use it."""
    query(dsn, "INSERT INTO _yoyo_migration (migration_hash, migration_id) VALUES ('x', '9999.made-up')")
    outcome, text, _ = await run_one("schema", database_url=dsn)
    assert (outcome, "9999.made-up" in text) == (Outcome.FAILURE, True)


async def test_schema_that_was_rolled_back_is_a_failure(dsn: str) -> None:
    """The start refuses it, too."""
    rollback(dsn, 1)
    assert (await run_one("schema", database_url=dsn))[0] is Outcome.FAILURE


# Rights.


async def test_owner_has_all_rights(dsn: str) -> None:
    """The account and the schema are named."""
    outcome, text, _ = await run_one("rights", database_url=dsn)
    assert (outcome, text) == (Outcome.OK, "postgres may write, create partitions and migrate in public")


@contextmanager
def other_account(dsn: str) -> Iterator[str]:
    """A role without rights; the connection string with it."""
    name = f"r_{secrets.token_hex(4)}"
    query(dsn, f"CREATE ROLE {name} LOGIN")
    try:
        yield make_dsn(dsn, user=name)
    finally:
        query(dsn, f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_schema_that_the_account_cannot_read_is_a_failure(dsn: str) -> None:
    """The advice is the owner, or its GRANT."""
    with other_account(dsn) as other:
        outcome, text, advice = await run_one("schema", database_url=other)
    assert (outcome, "permission denied" in text) == (Outcome.FAILURE, True)
    assert advice.startswith("use the account that owns the tables")


async def test_account_without_rights_is_a_failure(dsn: str) -> None:
    """Each missing right is a line with the statement that grants it."""
    with other_account(dsn) as other:
        results = await run_check("rights", database_url=other)
    assert {result.outcome for result in results} == {Outcome.FAILURE}
    assert [result.advice.partition(" TO ")[0] for result in results] == [
        "GRANT CREATE ON SCHEMA public",
        "ALTER TABLE … OWNER",
        "GRANT ALL ON ALL TABLES IN SCHEMA public",
    ]


async def test_read_only_database_is_a_failure(dsn: str) -> None:
    """The advice names the setting."""
    [(name,)] = query(dsn, "SELECT current_database()::text")
    query(dsn, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    outcome, _, advice = await run_one("rights", database_url=dsn)
    assert (outcome, "default_transaction_read_only" in advice) == (Outcome.FAILURE, True)


def test_replica_is_a_failure() -> None:
    """It takes no writes, whatever the account may do."""
    rights = Rights(
        account="agent",
        schema="public",
        is_replica=True,
        is_read_only=True,
        may_create=True,
        owns_ledger=True,
        closed_tables=[],
    )
    [result] = of_rights(rights)
    assert (result.outcome, "primary" in result.advice) == (Outcome.FAILURE, True)


# Partitions.


async def test_partitions_are_ok(dsn: str) -> None:
    """This month and the next have one."""
    query(dsn, "SELECT ensure_usage_partition(now()), ensure_usage_partition(now() + interval '1 month')")
    query(dsn, "SELECT ensure_usage_partition(date_trunc('month', now()) + interval '40 days')")
    assert (await run_one("partitions", database_url=dsn))[0] is Outcome.OK


@pytest.mark.parametrize(("runs", "expected"), [(False, Outcome.OK), (True, Outcome.WARNING)])
async def test_missing_partitions_beside_an_agent_are_warnings(dsn: str, runs: bool, expected: Outcome) -> None:
    """An agent creates them when it starts."""
    if runs:
        query(dsn, "INSERT INTO agents (id, seen_at, backlog) VALUES (gen_random_uuid(), now(), 0)")
    results = await run_check("partitions", database_url=dsn)
    assert {result.outcome for result in results} == {expected}


# Clock.


@pytest.mark.parametrize(
    ("ahead", "expected"), [(0.4, Outcome.OK), (-30.0, Outcome.WARNING), (3600.0, Outcome.FAILURE)]
)
async def test_clock(ahead: float, expected: Outcome) -> None:
    """A few seconds are a warning, a minute is a failure."""
    examination = Examination(Config(), None)
    examination.clocks = {"PostgreSQL's": ahead}
    [result] = await check_clock(examination)
    assert result.outcome is expected


async def test_clocks_that_agree_are_one_line() -> None:
    """It is this machine's clock that is wrong; clocks that do not agree have a line each."""
    examination = Examination(Config(), None)
    examination.clocks = {"PostgreSQL's": 7200.0, "that of openai": 7201.0}
    [result] = await check_clock(examination)
    assert result.text.startswith("this machine's clock is 2 hours ahead of PostgreSQL's and that of openai: ")
    examination.clocks = {"PostgreSQL's": 7200.0, "that of openai": -20.0}
    assert [each.outcome for each in await check_clock(examination)] == [Outcome.FAILURE, Outcome.WARNING]


async def test_clock_that_cannot_be_compared_is_skipped() -> None:
    """Neither PostgreSQL nor OpenAI was reached."""
    assert (await run_one("clock"))[0] is Outcome.SKIPPED
