"""`chatgpt-agent migrate`: the schema goes up and back, and a newer one is left alone."""

from pathlib import Path

import psycopg2
import pytest

from chatgpt_agent.adapters.migrate import known_migrations, schema_status
from tests.support.commands import Cli

NEWER = "9999.of-a-newer-program"


@pytest.fixture
def newer_cli(cli: Cli) -> Cli:
    """The program on a database that a newer program has migrated."""
    connection = psycopg2.connect(cli.settings["DATABASE_URL"])
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc) VALUES ('x', %s, now())",
            [NEWER],
        )
    connection.close()
    return cli


def applied(cli: Cli) -> list[str]:
    """The migrations that the database has."""
    return schema_status(cli.settings["DATABASE_URL"]).applied


def test_migrate_applies_every_migration_to_an_empty_database(empty_cli: Cli) -> None:
    """An empty database gets the whole schema."""
    empty_cli.ok("migrate")
    assert applied(empty_cli) == known_migrations()


def test_migrate_lists_the_applied_migrations(empty_cli: Cli) -> None:
    """Each migration is one line."""
    assert empty_cli.ok("migrate").splitlines() == [f"applied {name}" for name in known_migrations()]


def test_a_plain_postgresql_is_not_distributed(empty_cli: Cli) -> None:
    """One line says so, and nothing is changed."""
    result = empty_cli.run("migrate", "--distribute")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "has no extension Citus, so the ledger stays on this PostgreSQL" in result.stderr
    assert applied(empty_cli) == []


def test_parts_are_only_for_a_distribution(cli: Cli) -> None:
    """The option is refused alone, and two changes at once are, too."""
    assert cli.run("migrate", "--shards", "4").exit_code == 2
    assert cli.run("migrate", "--distribute", "--rollback", "1").exit_code == 2


def test_second_migrate_changes_nothing(cli: Cli) -> None:
    """The command says that the schema is up to date."""
    assert "up to date" in cli.ok("migrate")


def test_status_lists_pending_migrations(empty_cli: Cli) -> None:
    """In an empty database, every migration is pending."""
    lines = empty_cli.ok("migrate", "--status").splitlines()[2:]
    assert [line.split() for line in lines] == [[name, "pending"] for name in known_migrations()]


def test_status_changes_nothing(empty_cli: Cli) -> None:
    """The empty database stays empty."""
    empty_cli.ok("migrate", "--status")
    assert applied(empty_cli) == []


def test_status_lists_applied_migrations(cli: Cli) -> None:
    """In a migrated database, every migration is applied."""
    lines = cli.ok("migrate", "--status").splitlines()[2:]
    assert [line.split() for line in lines] == [[name, "applied"] for name in known_migrations()]


@pytest.mark.parametrize("number", ["0", "-1", "all", "1.5", ""])
def test_rollback_requires_a_positive_number(shared_cli: Cli, number: str) -> None:
    """The exit code is 2; the error names the option."""
    assert "--rollback" in shared_cli.refused("migrate", "--rollback", number, code=2)[-1]


def test_status_and_rollback_exclude_each_other(shared_cli: Cli) -> None:
    """The exit code is 2, and nothing is rolled back."""
    shared_cli.refused("migrate", "--status", "--rollback", "1", code=2)
    assert applied(shared_cli) == known_migrations()


def test_migrate_works_without_auto_migrate(empty_cli: Cli) -> None:
    """The command applies migrations when the start must not."""
    empty_cli.settings["AUTO_MIGRATE"] = "false"
    empty_cli.ok("migrate")
    assert applied(empty_cli) == known_migrations()


def test_changing_command_migrates_an_empty_database(empty_cli: Cli) -> None:
    """Users and prices can be added before the first start."""
    empty_cli.ok("price", "set", "m", "--input", "1", "--output", "2")
    assert applied(empty_cli) == known_migrations()


def test_no_other_command_migrates_without_auto_migrate(empty_cli: Cli) -> None:
    """The error says to run `chatgpt-agent migrate`."""
    empty_cli.settings["AUTO_MIGRATE"] = "false"
    [line] = empty_cli.refused("price", "remove", "m")
    assert "`chatgpt-agent migrate`" in line
    assert applied(empty_cli) == []


@pytest.mark.parametrize("args", ["user list", "usage report", "migrate", "migrate --rollback 1", "price remove m"])
def test_newer_database_is_not_changed(newer_cli: Cli, args: str) -> None:
    """One line names the unknown migration, and the exit code is 1."""
    [line] = newer_cli.refused(*args.split())
    assert line.startswith("Error: the database is newer than this program")
    assert NEWER in line


def test_status_of_a_newer_database_exits_with_1(newer_cli: Cli) -> None:
    """The status lists the unknown migration."""
    result = newer_cli.run("migrate", "--status")
    assert (result.exit_code, result.stdout.splitlines()[-1].split()[:2]) == (1, [NEWER, "unknown:"])


def test_unreachable_database_is_one_line(empty_cli: Cli, tmp_path: Path) -> None:
    """The exit code is 1."""
    for args in ("migrate", "migrate --status", "migrate --rollback 1"):
        [line] = empty_cli.refused(*args.split(), settings={"DATABASE_URL": f"host={tmp_path}"})
        assert line.startswith("Error: the database cannot be reached")


def test_migrate_without_changes_says_so(cli: Cli) -> None:
    """A second run is no error."""
    cli.ok("migrate")
    assert cli.ok("migrate") == "nothing to do: the schema is up to date\n"
