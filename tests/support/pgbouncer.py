"""A real PgBouncer with its default configuration, in front of a test's database."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg2.extensions import parse_dsn

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
MISSING = "PgBouncer is not installed (apt-get install pgbouncer)"


@contextmanager
def pgbouncer(folder: Path, dsn: str, pool_mode: str) -> Iterator[str]:
    """Runs PgBouncer for a database; the connection string through it. It refuses to run as root, and only the account
    of the server may use its socket."""
    assert PGBOUNCER is not None
    target = parse_dsn(dsn)
    port, owner = _free_port(), Path(target["host"]).stat().st_uid
    (folder / "users.txt").write_text(f'"{target["user"]}" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n{target['dbname']} = host={target['host'].strip(chr(39))} port={target['port']}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
        f"auth_file = {folder / 'users.txt'}\npool_mode = {pool_mode}\nlogfile = {folder / 'log'}\n"
    )
    if os.geteuid() == 0:
        os.chown(folder, owner, -1)
        Path(target["host"]).parent.chmod(0o711)
    process = subprocess.Popen(
        [PGBOUNCER, "-q", str(folder / "pgbouncer.ini")], user=owner if os.geteuid() == 0 else None
    )
    try:
        _wait_for(port, process)
        yield f"host=127.0.0.1 port={port} user={target['user']} dbname={target['dbname']}"
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        assert process.poll() is None, "PgBouncer has ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError
