"""The schema of a real database: migrations, rollbacks, concurrent agents, and newer databases."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

from chatgpt_agent.adapters.migrate import (
    LOCK,
    check_not_newer,
    connect,
    known_migrations,
    migrate,
    migrations_folder,
    rollback,
    schema_status,
)
from chatgpt_agent.core.errors import SetupError, StoreUnavailable
from tests.support.database import connected, query

NAMES = known_migrations()
NEWER = "INSERT INTO _yoyo_migration (migration_hash, migration_id) VALUES ('x', '9999.from-the-future')"
UNREACHABLE = "host=/nowhere user=agent password=hunter2 dbname=agent"


def tables(dsn: str) -> set[str]:
    """The names of our tables, indexes and functions."""
    sql = """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"""
    return {name for (name,) in query(dsn, sql) if "yoyo" not in name}


def test_a_fresh_database_is_migrated(empty_dsn: str) -> None:
    """All migrations are applied in order, and their names returned."""
    assert migrate(empty_dsn) == NAMES
    assert {"users", "tokens", "prices", "usage", "usage_daily", "settings"} <= tables(empty_dsn)


def test_a_migrated_database_is_unchanged(dsn: str) -> None:
    """A second call applies nothing."""
    assert migrate(dsn) == []


def test_the_status_of_a_fresh_database(empty_dsn: str) -> None:
    """Everything is pending, and reading the status creates nothing."""
    status = schema_status(empty_dsn)
    assert (status.applied, status.pending, status.unknown) == ([], NAMES, [])
    assert tables(empty_dsn) == set()


def test_the_status_of_a_migrated_database(dsn: str) -> None:
    """Everything is applied."""
    status = schema_status(dsn)
    assert (status.applied, status.pending, status.unknown) == (NAMES, [], [])


def test_account_without_a_name_can_migrate(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run under a user id that its operator chooses."""
    rollback(dsn, 1)
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert migrate(dsn) == NAMES[-1:]
    assert ("54321",) in query(dsn, "SELECT username FROM _yoyo_log")


def test_concurrent_agents_migrate_once(empty_dsn: str) -> None:
    """One of four agents migrates, the others wait and find nothing to do."""
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(migrate, [empty_dsn] * 4))
    assert sorted(done) == [[], [], [], NAMES]


def test_a_rollback_of_all_migrations_leaves_nothing(dsn: str) -> None:
    """No table, function or index of ours is left."""
    assert rollback(dsn, len(NAMES)) == NAMES[::-1]
    assert tables(dsn) == set()


def test_a_rolled_back_database_can_be_migrated_again(dsn: str) -> None:
    """The schema is the same as before."""
    before = tables(dsn)
    rollback(dsn, len(NAMES))
    assert migrate(dsn) == NAMES
    assert tables(dsn) == before


def test_a_rollback_takes_the_newest_migrations(dsn: str) -> None:
    """Only the requested number of migrations is rolled back."""
    assert rollback(dsn, 1) == NAMES[-1:]
    assert schema_status(dsn).applied == NAMES[:-1]


def test_a_rollback_of_too_many_is_refused(dsn: str) -> None:
    """A number above that of the applied migrations changes nothing."""
    with pytest.raises(SetupError, match=f"{len(NAMES)} migrations are applied, so 100 cannot be rolled back"):
        rollback(dsn, 100)
    assert schema_status(dsn).applied == NAMES


def test_a_rollback_of_a_used_database_works(dsn: str) -> None:
    """Partitions that were added later are dropped with their table."""
    query(dsn, "SELECT ensure_usage_partition('2024-05-17')")
    rollback(dsn, len(NAMES))
    assert tables(dsn) == set()


def test_imported_rows_get_the_endpoint_of_chat_completions(dsn: str) -> None:
    """Rows that were imported as `/chat` move to `/v1/chat/completions`, also in the daily sums."""
    rollback(dsn, len(NAMES) - NAMES.index("0005.imported-endpoint"))
    query(dsn, "SELECT ensure_usage_partition('2024-05-17')")
    for state, endpoint in (("imported", "/chat"), ("done", "/v1/chat/completions")):
        query(
            dsn,
            """
            INSERT INTO usage (request_id, user_id, token_id, endpoint, model, price_id, cost, state, client_closed,
                               streamed, started_at)
            VALUES (gen_random_uuid(), 1, 1, %s, 'm', 0, 1, %s, false, false, '2024-05-17')""",
            [endpoint, state],
        )
    query(dsn, "SELECT rebuild_usage_daily()")
    migrate(dsn)
    assert query(dsn, "SELECT endpoint, requests::int FROM usage_daily") == [("/v1/chat/completions", 2)]
    assert query(dsn, "SELECT DISTINCT endpoint FROM usage") == [("/v1/chat/completions",)]


@pytest.mark.parametrize("name", NAMES)
def test_every_migration_has_a_rollback(name: str) -> None:
    """Each migration is installed with its rollback."""
    assert (migrations_folder() / f"{name}.rollback.sql").is_file()


def test_a_newer_database_is_refused(dsn: str) -> None:
    """The error names the database's migration and the newest one of this program."""
    query(dsn, NEWER)
    with pytest.raises(SetupError, match=rf"it has 9999\.from-the-future, .* up to {NAMES[-1]}"):
        migrate(dsn)


def test_a_newer_database_is_not_rolled_back(dsn: str) -> None:
    """This program does not have the rollback of a newer migration."""
    query(dsn, NEWER)
    with pytest.raises(SetupError, match=r"9999\.from-the-future"):
        rollback(dsn, 1)
    assert "usage" in tables(dsn)


def test_the_status_of_a_newer_database_has_unknown_migrations(dsn: str) -> None:
    """A start with auto_migrate off refuses such a database."""
    query(dsn, NEWER)
    status = schema_status(dsn)
    assert status.unknown == ["9999.from-the-future"]
    with pytest.raises(SetupError, match="the database is newer than this program"):
        check_not_newer(status)


# Databases that are not for us.


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE customers (id int)",
        "CREATE TABLE users (id int)",
        "CREATE VIEW report AS SELECT 1",
        "CREATE MATERIALIZED VIEW report AS SELECT 1",
        "CREATE SEQUENCE numbers",
        "CREATE SCHEMA crm; CREATE TABLE crm.customers (id int)",
        "CREATE TABLE _yoyo_migration (migration_hash text, migration_id text); "
        "INSERT INTO _yoyo_migration VALUES ('x', '0001.tables-of-a-shop')",
    ],
    ids=["table", "our-name", "view", "materialized-view", "sequence", "other-schema", "yoyo"],
)
def test_the_database_of_another_application_is_refused(empty_dsn: str, sql: str) -> None:
    """Nothing is created in it."""
    query(empty_dsn, sql)
    before = tables(empty_dsn)
    with pytest.raises(SetupError, match="belongs to another application: it holds"):
        migrate(empty_dsn)
    assert tables(empty_dsn) == before


def test_a_schema_of_our_own_may_stand_beside_other_tables(empty_dsn: str) -> None:
    """A schema that `search_path` names counts as a database of its own."""
    query(empty_dsn, "CREATE TABLE customers (id int); CREATE SCHEMA agent")
    assert migrate(make_dsn(empty_dsn, options="-c search_path=agent")) == NAMES


def test_tables_beside_ours_do_not_matter_later(dsn: str) -> None:
    """A database that is in use is not refused for a table that an administrator has added."""
    query(dsn, "CREATE TABLE notes (id int)")
    assert migrate(dsn) == []


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_without_unicode_is_refused(postgres: str, encoding: str) -> None:
    """The error names the encoding and creates nothing."""
    name = f"encoded_{encoding.lower()}"
    query(postgres, f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    dsn = make_dsn(postgres, dbname=name)
    with pytest.raises(SetupError, match=f"the database {name} has the encoding {encoding}"):
        migrate(dsn)
    assert tables(dsn) == set()
    query(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("work", [migrate, schema_status])
def test_an_unreachable_database_is_unavailable(work: Callable[[str], object]) -> None:
    """The error is one line without the password."""
    with pytest.raises(StoreUnavailable, match="the database cannot be reached") as caught:
        work(UNREACHABLE)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_error_without_a_class_is_a_lost_connection(empty_dsn: str) -> None:
    """psycopg2 raises it where the server has ended during a statement."""
    with pytest.raises(StoreUnavailable, match="the database was lost: server closed"), connect(empty_dsn):
        raise psycopg2.DatabaseError("server closed the connection unexpectedly")


def test_a_lost_connection_is_unavailable(empty_dsn: str) -> None:
    """A restart of PostgreSQL during a migration is reported as StoreUnavailable."""
    with connected(empty_dsn) as other, ThreadPoolExecutor(1) as threads:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        work = threads.submit(migrate, empty_dsn)
        _until_one_waits(other)
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        with pytest.raises(StoreUnavailable, match="the database was lost"):
            work.result(timeout=60)


def test_an_account_without_the_right_to_create_is_refused(empty_dsn: str, role: str) -> None:
    """The error contains the GRANT that PostgreSQL 15 and later need."""
    with pytest.raises(SetupError, match=r"account reader may not create tables: .* ON SCHEMA public TO reader"):
        migrate(make_dsn(empty_dsn, user=role))


def test_a_failed_migration_changes_nothing(empty_dsn: str) -> None:
    """A migration is a transaction."""
    query(empty_dsn, "CREATE FUNCTION ensure_usage_partition(timestamptz) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    with pytest.raises(SetupError, match='function "ensure_usage_partition" already exists'):
        migrate(empty_dsn)
    assert tables(empty_dsn) == {"ensure_usage_partition"}
    query(empty_dsn, "DROP FUNCTION ensure_usage_partition")
    assert migrate(empty_dsn) == NAMES


def test_a_database_name_may_have_any_character(odd_dsn: str) -> None:
    """Spaces, quotes and URL syntax in the name are allowed."""
    assert migrate(odd_dsn) == NAMES


def test_a_password_may_have_any_character(empty_dsn: str) -> None:
    """The password is passed on unchanged."""
    assert migrate(make_dsn(empty_dsn, password="a b&c=d%2f/?#é'\\")) == NAMES


@pytest.fixture
def odd_dsn(postgres: str) -> Iterator[str]:
    """A database with special characters in its name."""
    name = "odd na'me %41 &x=1 é/?#"
    query(postgres, f'CREATE DATABASE "{name}" TEMPLATE template0')
    yield make_dsn(postgres, dbname=name)
    query(postgres, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def role(postgres: str) -> Iterator[str]:
    """An account that owns nothing."""
    query(postgres, "CREATE ROLE reader LOGIN")
    yield "reader"
    query(postgres, "DROP ROLE reader")


def _until_one_waits(cursor: "psycopg2.extensions.cursor") -> None:
    for _ in range(6000):
        cursor.execute("SELECT pg_sleep(0.01), count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        [(_, waiting)] = cursor.fetchall()
        if waiting:
            return
    raise AssertionError("no connection waits for the lock")


RENAMED = "0004.plain-column-names"
BEFORE_0004 = """
    INSERT INTO users (name, upstream_key, created_at) VALUES ('alice', 'x', '2026-01-01Z');
    INSERT INTO tokens (user_id, digest, shown, created_at)
        VALUES (1, decode(repeat('00', 32), 'hex'), 'cga_abcd', '2026-01-01Z');
    INSERT INTO prices (model, effective_at, input, output, created_at)
        VALUES ('m', '2026-01-01Z', 1, 2, '2026-01-01Z');
    INSERT INTO budgets (user_id, period, amount, created_at) VALUES (1, 'month', 5, '2026-01-01Z');
    SELECT ensure_usage_partition('2026-01-01Z');
    INSERT INTO usage (request_id, user_id, token_id, endpoint, model, price_id, cost, state, client_closed, streamed,
                       started_at, reserved)
        VALUES ('00000000-0000-0000-0000-000000000001', 1, 1, '/chat', 'm', 1, 0, 'unknown', false, false,
                '2026-01-01Z', 0.25);
    SELECT rebuild_usage_daily()"""


@pytest.fixture
def migrated_with_rows(dsn: str) -> str:
    """A database with rows that were written before migration 0004, which was applied to them."""
    rollback(dsn, len(NAMES) - NAMES.index(RENAMED))
    query(dsn, BEFORE_0004)
    migrate(dsn)
    return dsn


def test_migration_0004_keeps_the_values_of_renamed_columns(migrated_with_rows: str) -> None:
    """Rows that existed before the migration have their values under the new names."""
    sql = "SELECT t.token_prefix, t.version > 0, u.uncertain_cost FROM tokens t JOIN usage u ON u.token_id = t.id"
    assert query(migrated_with_rows, sql) == [("cga_abcd", True, Decimal("0.25"))]


@pytest.mark.parametrize("table", ["users", "tokens", "prices", "budgets"])
def test_a_change_after_migration_0004_raises_the_version(migrated_with_rows: str, table: str) -> None:
    """A changed row has the new version of the directory."""
    query(migrated_with_rows, f"UPDATE {table} SET created_at = now()")
    sql = f"SELECT {table}.version = d.version FROM {table}, directory_version d"
    assert query(migrated_with_rows, sql) == [(True,)]


def test_usage_is_immutable_after_migration_0004(migrated_with_rows: str) -> None:
    """A row of usage can be neither updated nor deleted."""
    for sql in ("UPDATE usage SET uncertain_cost = 0", "DELETE FROM usage"):
        with pytest.raises(psycopg2.errors.RestrictViolation, match="rows of usage are immutable"):
            query(migrated_with_rows, sql)


def test_the_daily_sums_can_be_rebuilt_after_migration_0004(migrated_with_rows: str) -> None:
    """The rebuilt sums equal the ones from before the migration."""
    sums = "SELECT * FROM usage_daily"
    before = query(migrated_with_rows, sums)
    query(migrated_with_rows, "SELECT rebuild_usage_daily()")
    assert query(migrated_with_rows, sums) == before != []


def test_the_audit_log_names_columns_as_of_migration_0004(migrated_with_rows: str) -> None:
    """A change is recorded under the new column name and without the version."""
    query(migrated_with_rows, "UPDATE tokens SET token_prefix = 'cga_wxyz'")
    sql = "SELECT before, after FROM audit_log ORDER BY id DESC LIMIT 1"
    assert query(migrated_with_rows, sql) == [({"token_prefix": "cga_abcd"}, {"token_prefix": "cga_wxyz"})]


def test_migration_0004_is_reversible(migrated_with_rows: str) -> None:
    """A rollback restores the former names with their values, and triggers that work with them."""
    rollback(migrated_with_rows, len(NAMES) - NAMES.index(RENAMED))
    query(migrated_with_rows, "UPDATE tokens SET shown = 'cga_wxyz'; SELECT rebuild_usage_daily()")
    sql = "SELECT t.shown, t.changed = d.version, u.reserved FROM tokens t, usage_daily u, directory_version d"
    assert query(migrated_with_rows, sql) == [("cga_wxyz", True, Decimal("0.25"))]


def test_migration_0014_keeps_budgets_and_its_rollback_loses_raises(dsn: str) -> None:
    """A budget from before is not raised; after a rollback its own amount is in force, and a raise does not return."""
    name = "0014.raised-budgets"
    rollback(dsn, len(NAMES) - NAMES.index(name))
    query(dsn, "INSERT INTO users (name, upstream_key, created_at) VALUES ('alice', 'x', now())")
    query(dsn, "INSERT INTO budgets (user_id, period, amount, created_at) VALUES (1, 'month', 5, now())")
    migrate(dsn)
    raises = "SELECT amount, raised_amount, raised_until FROM budgets"
    assert query(dsn, raises) == [(5, None, None)]
    query(dsn, "UPDATE budgets SET raised_amount = 9, raised_until = '2999-01-01Z'")
    rollback(dsn, len(NAMES) - NAMES.index(name))
    assert query(dsn, "SELECT amount FROM budgets") == [(5,)]
    migrate(dsn)
    assert query(dsn, raises) == [(5, None, None)]


@pytest.mark.parametrize(
    "values",
    ["'NaN', '2999-01-01Z'", "-1, '2999-01-01Z'", "9, 'infinity'", "9, '0044-03-15 12:00+00 BC'", "9, NULL",
     "NULL, '2999-01-01Z'"],
)  # fmt: skip
def test_database_refuses_a_raise_that_cannot_be_read(dsn: str, values: str) -> None:
    """An agent would put such a budget in force with 0 USD."""
    query(dsn, "INSERT INTO users (name, upstream_key, created_at) VALUES ('alice', 'x', now())")
    with pytest.raises(psycopg2.errors.CheckViolation):
        query(
            dsn,
            "INSERT INTO budgets (user_id, period, amount, created_at, raised_amount, raised_until)"
            f" VALUES (1, 'month', 5, now(), {values})",
        )
