"""`chatgpt-agent migrate`: the schema goes up and back, and a newer one is left alone."""

from pathlib import Path

import psycopg2
import pytest

from chatgpt_agent.adapters.migrate import known_migrations, schema_status
from tests.cli.commands import Cli

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


def test_migrate_brings_an_empty_database_up(empty_cli: Cli) -> None:
    """Every migration is applied."""
    empty_cli.ok("migrate")
    assert applied(empty_cli) == known_migrations()


def test_migrate_says_what_it_applied(empty_cli: Cli) -> None:
    """A line for each."""
    assert empty_cli.ok("migrate").splitlines() == [f"applied {name}" for name in known_migrations()]


def test_a_second_migrate_has_nothing_to_do(cli: Cli) -> None:
    """And says so."""
    assert "up to date" in cli.ok("migrate")


def test_status_shows_what_is_pending(empty_cli: Cli) -> None:
    """Of an empty database everything."""
    lines = empty_cli.ok("migrate", "--status").splitlines()[2:]
    assert [line.split() for line in lines] == [[name, "pending"] for name in known_migrations()]


def test_status_changes_nothing(empty_cli: Cli) -> None:
    """The empty database stays empty."""
    empty_cli.ok("migrate", "--status")
    assert applied(empty_cli) == []


def test_status_shows_what_is_applied(cli: Cli) -> None:
    """Of a migrated database everything."""
    lines = cli.ok("migrate", "--status").splitlines()[2:]
    assert [line.split() for line in lines] == [[name, "applied"] for name in known_migrations()]


def test_rollback_takes_the_last_back(cli: Cli) -> None:
    """One where one is asked for."""
    out = cli.ok("migrate", "--rollback", "1")
    assert (out.splitlines(), applied(cli)) == ([f"rolled back {known_migrations()[-1]}"], known_migrations()[:-1])


def test_rollback_of_more_than_there_are_takes_all_back(cli: Cli) -> None:
    """Newest first."""
    out = cli.ok("migrate", "--rollback", "999999999999999999999")
    assert out.splitlines() == [f"rolled back {name}" for name in reversed(known_migrations())]


def test_the_schema_comes_up_again_after_a_rollback(cli: Cli) -> None:
    """A rollback leaves nothing behind that is in the way."""
    cli.ok("migrate", "--rollback", "99")
    cli.ok("migrate")
    assert cli.ok("user", "list")


@pytest.mark.parametrize("number", ["0", "-1", "all", "1.5", ""])
def test_rollback_takes_a_number(shared_cli: Cli, number: str) -> None:
    """Exit code 2 for any other, naming the option."""
    assert "--rollback" in shared_cli.refused("migrate", "--rollback", number, code=2)[-1]


def test_status_and_rollback_are_two_things(shared_cli: Cli) -> None:
    """Exit code 2, and nothing is taken back."""
    shared_cli.refused("migrate", "--status", "--rollback", "1", code=2)
    assert applied(shared_cli) == known_migrations()


def test_migrate_works_where_auto_migrate_is_off(empty_cli: Cli) -> None:
    """That is what it is there for."""
    empty_cli.settings["AUTO_MIGRATE"] = "false"
    empty_cli.ok("migrate")
    assert applied(empty_cli) == known_migrations()


def test_any_command_brings_an_empty_database_up(empty_cli: Cli) -> None:
    """The first one on a new machine may be any."""
    empty_cli.ok("user", "list")
    assert applied(empty_cli) == known_migrations()


def test_no_command_migrates_where_auto_migrate_is_off(empty_cli: Cli) -> None:
    """It says what to do instead, in one line."""
    empty_cli.settings["AUTO_MIGRATE"] = "false"
    [line] = empty_cli.refused("user", "list")
    assert "`chatgpt-agent migrate`" in line
    assert applied(empty_cli) == []


@pytest.mark.parametrize("words", ["user list", "usage report", "migrate", "migrate --rollback 1", "price remove m"])
def test_a_newer_database_is_left_alone(newer_cli: Cli, words: str) -> None:
    """One line that names what is newer, exit code 1."""
    [line] = newer_cli.refused(*words.split())
    assert line.startswith("Error: the database is newer than this program")
    assert NEWER in line


def test_status_shows_what_is_newer(newer_cli: Cli) -> None:
    """And exits with 1, so that a script sees it."""
    result = newer_cli.run("migrate", "--status")
    assert (result.exit_code, result.stdout.splitlines()[-1].split()[:2]) == (1, [NEWER, "unknown:"])


def test_an_unreachable_database_is_one_line(empty_cli: Cli, tmp_path: Path) -> None:
    """Exit code 1."""
    for words in ("migrate", "migrate --status", "migrate --rollback 1"):
        [line] = empty_cli.refused(*words.split(), settings={"DATABASE_URL": f"host={tmp_path}"})
        assert line.startswith("Error: the database cannot be reached")


def test_migrate_with_nothing_to_do_says_so(cli: Cli) -> None:
    """Once more is no fault."""
    cli.ok("migrate")
    assert cli.ok("migrate") == "nothing to do: the schema is up to date\n"
