"""`backup` and `restore` that are interrupted: nothing half done stays, or it is known and the same command goes on."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatgpt_agent.adapters.migrate import LOCK
from tests.support.backups import contents
from tests.support.commands import PROGRAM, Cli, environ_with
from tests.support.database import connected, query
from tests.support.waiting import SECONDS

pytestmark = pytest.mark.slow

WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE %s"""
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
def started(cli: Cli) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Processes that end with the test."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def start(cli: Cli, *args: str) -> "subprocess.Popen[bytes]":
    """Starts a command in a process of its own."""
    return subprocess.Popen(
        [*PROGRAM, *args], env=environ_with(cli.settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def until_equal(dsn: str, sql: str, number: int, *values: str) -> None:
    """Waits until a statement counts this number."""
    deadline = time.monotonic() + SECONDS
    while query(dsn, sql, values) != [(number,)]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def file(cli: Cli, tmp_path: Path) -> Path:
    """A backup."""
    cli.add_user("alice")
    cli.ok("backup", str(tmp_path / "b.tar"))
    return tmp_path / "b.tar"


@pytest.fixture
def other(cli: Cli, empty_dsn: str, tmp_path: Path) -> Cli:
    """The program on an empty database and data directory."""
    return Cli({**cli.settings, "DATABASE_URL": empty_dsn, "DATA_DIR": str(tmp_path / "other")})


def check_restored(cli: Cli, other: Cli) -> None:
    """The database is that of the backup, and the mark is gone."""
    before, after = contents(cli.settings["DATABASE_URL"]), contents(other.settings["DATABASE_URL"])
    assert {name for name in before if before[name] != after[name]} <= {"settings", "ledger_checks"}
    assert list(Path(other.settings["DATA_DIR"]).iterdir()) == []


def test_restore_that_is_killed_while_rows_arrive_can_be_repeated(
    cli: Cli, file: Path, other: Cli, started: list["subprocess.Popen[bytes]"]
) -> None:
    """pg_restore may live on and commit without its parent, or not."""
    dsn = other.settings["DATABASE_URL"]
    with connected(dsn) as cursor:
        cursor.execute("BEGIN; CREATE TABLE users ()")  # pg_restore waits for the outcome of this
        started.append(start(other, "restore", str(file)))
        until_equal(dsn, WAITING, 1, "CREATE TABLE public.users%")
        started[0].kill()
        started[0].wait()
        cursor.execute("ROLLBACK")
        cursor.connection.close()
    until_equal(dsn, OTHERS, 0)
    [line] = other.refused("user", "list")
    assert line.endswith(f"is not finished: repeat `chatgpt-agent restore` with {file}")
    other.ok("restore", str(file))
    check_restored(cli, other)


def test_restore_that_is_killed_after_the_database_goes_on(
    cli: Cli, file: Path, other: Cli, started: list["subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    """Until then no agent starts, and another backup is refused."""
    dsn = other.settings["DATABASE_URL"]
    with connected(dsn) as cursor:
        cursor.execute(f"BEGIN; SELECT pg_advisory_xact_lock({LOCK})")  # the migration waits for it
        started.append(start(other, "restore", str(file)))
        until_equal(dsn, WAITING, 1, "%pg_advisory_xact_lock%")
        started[0].kill()
        started[0].wait()
    done = other.process("serve")  # not in this process: it blocks signals
    assert (done.returncode, b"is not finished: repeat" in done.stderr) == (1, True)
    cli.ok("backup", str(tmp_path / "another.tar"))
    [line] = other.refused("restore", str(tmp_path / "another.tar"))
    assert f"a restore of another backup, {file}, into " in line
    other.ok("restore", str(file))
    check_restored(cli, other)


def test_backup_that_is_stopped_leaves_no_file(
    cli: Cli, started: list["subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    """As by a timer of systemd that takes too long; the last good file stays."""
    dsn, folder = cli.settings["DATABASE_URL"], tmp_path / "backups"
    folder.mkdir()
    (folder / "b.tar").write_text("the last good one")
    with connected(dsn) as cursor:
        cursor.execute("BEGIN; LOCK TABLE users")
        started.append(start(cli, "backup", str(folder / "b.tar"), "--force"))
        until_equal(dsn, WAITING, 1, "LOCK TABLE%")
        assert len(list(folder.iterdir())) == 2
        started[0].send_signal(signal.SIGTERM)
        _, errors = started[0].communicate(timeout=SECONDS)
    assert (started[0].returncode, errors) == (130, b"Aborted.\n")
    assert [path.read_text() for path in folder.iterdir()] == ["the last good one"]


def test_two_restores_into_one_folder_do_not_mix(
    file: Path, other: Cli, started: list["subprocess.Popen[bytes]"]
) -> None:
    """The second one is refused while the first one runs."""
    dsn = other.settings["DATABASE_URL"]
    with connected(dsn) as cursor:
        cursor.execute("BEGIN; CREATE TABLE users ()")
        started.append(start(other, "restore", str(file)))
        until_equal(dsn, WAITING, 1, "CREATE TABLE public.users%")
        [line] = other.refused("restore", str(file))
        assert line.startswith("Error: another restore into ")
        cursor.execute("ROLLBACK")
    assert started[0].wait(SECONDS) == 0
