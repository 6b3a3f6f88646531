"""A real PgBouncer in front of a test's database, by default with its default configuration."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg2.extensions import parse_dsn

from tests.support.waiting import SECONDS

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
MISSING = "PgBouncer is not installed (apt-get install pgbouncer)"


@contextmanager
def pgbouncer(folder: Path, dsn: str, pool_mode: str, *, more: str = "", name: str = "") -> Iterator[str]:
    """Runs PgBouncer for a database; the connection string through it. `more`: lines of its configuration; `name`: what
    it calls the database."""
    target = parse_dsn(dsn)
    name = name or target["dbname"]
    (folder / "users.txt").write_text(f'"{target["user"]}" ""\n')
    ini = (
        f"[databases]\n{name} = host={target['host'].strip(chr(39))} port={target['port']} dbname={target['dbname']}\n"
        "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 6432\nunix_socket_dir =\nauth_type = trust\n"
        f"auth_file = {folder / 'users.txt'}\npool_mode = {pool_mode}\nlogfile = {folder / 'log'}\n{more}\n"
    )
    with running(folder, ini, Path(target["host"])) as port:
        yield f"host=127.0.0.1 port={port} user={target['user']} dbname={name}"


@contextmanager
def running(folder: Path, ini: str, socket_folder: Path) -> Iterator[int]:
    """Runs PgBouncer with a configuration, on a free port in place of 6432; the port. It refuses to run as root, and
    only the account of the server may use its socket."""
    assert PGBOUNCER is not None
    port, owner = _free_port(), socket_folder.stat().st_uid
    path = folder / "pgbouncer.ini"
    path.write_text(ini.replace("listen_port = 6432", f"listen_port = {port}"))
    if os.geteuid() == 0:
        os.chown(folder, owner, -1)
        socket_folder.parent.chmod(0o711)
    process = subprocess.Popen([PGBOUNCER, "-q", str(path)], user=owner if os.geteuid() == 0 else None)
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, "PgBouncer has ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError
