"""Commands that only read change no database, whichever it is."""

from pathlib import Path

import pytest

from chatgpt_agent.adapters.migrate import migrate, rollback
from tests.cli.test_common import ON_A_DATABASE, arguments_of
from tests.support.commands import KEY, Cli
from tests.support.database import query

# What each command that may change something is run with; all others only read.
CHANGES = {
    "import-legacy", "user add", "user disable", "user enable", "user set-key", "user set", "user rename",
    "user remove", "user import", "token issue", "token set", "token rotate", "token revoke", "admin token",
    "admin password", "admin revoke", "price set", "price remove", "price cancel", "price surcharge set",
    "price surcharge cancel", "budget set", "budget raise", "budget remove", "ledger correct", "migrate",
    "master-key rotate", "ledger prune", "backup", "restore", "database upgrade",
}  # fmt: skip
READING = [arguments_of(command) for command in ON_A_DATABASE if command not in CHANGES]
READING += [["user", "import", "-", "--dry-run"], ["migrate", "--status"]]
READING += [["ledger", "prune", "--before", "2025-01", "--dry-run"]]
RELATIONS = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"


@pytest.mark.parametrize("args", READING, ids=" ".join)
def test_reading_command_creates_nothing(postgres: str, empty_cli: Cli, args: list[str]) -> None:
    """In an empty database, every command that only reads says so, and leaves it empty."""
    result = empty_cli.run(*args, stdin=f"name,openai_key\nalice,{KEY}\n")
    if args != ["migrate", "--status"]:
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: the database has no tables of chatgpt-agent: ")
    assert query(empty_cli.settings["DATABASE_URL"], RELATIONS) == []


@pytest.mark.parametrize("command", ["user list", "migrate --status"])
def test_reading_command_creates_no_embedded_database(tmp_path: Path, command: str) -> None:
    """The folder stays empty."""
    cli = Cli({"DATABASE_URL": "embedded", "DATA_DIR": str(tmp_path / "data")})
    [line] = cli.refused(*command.split())
    assert line.startswith(f"Error: there is no database in {tmp_path}/data yet: start the agent")
    assert not (tmp_path / "data").exists()


def test_reading_command_does_not_migrate_an_older_database(empty_cli: Cli) -> None:
    """The error names the command that does."""
    dsn = empty_cli.settings["DATABASE_URL"]
    migrate(dsn)
    rollback(dsn, 1)
    before = query(dsn, RELATIONS)
    [line] = empty_cli.refused("user", "list")
    assert line.startswith("Error: the database is older than this program: run `chatgpt-agent migrate` for ")
    assert query(dsn, RELATIONS) == before


@pytest.mark.parametrize(
    "command", ["user list", "migrate", "price set m --input 1 --output 1", "migrate --rollback 1"]
)
def test_database_of_another_application_is_left_alone(empty_cli: Cli, command: str) -> None:
    """One line, exit code 1, and no table."""
    dsn = empty_cli.settings["DATABASE_URL"]
    query(dsn, "CREATE TABLE customers (id int)")
    assert len(empty_cli.refused(*command.split())) == 1
    assert query(dsn, RELATIONS) == [("customers",)]
