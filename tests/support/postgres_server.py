"""The PostgreSQL server of a test run, and databases in it."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from chatgpt_agent.adapters.migrate import migrate
from tests.support.database import query

MIGRATED = "template_migrated"  # a database with all tables, to copy
EMPTY = "template0"
OPTIONS = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=100"


@contextmanager
def run_postgres(folder: Path) -> Iterator[str]:
    """Runs a server in a folder; its connection string. A crash of the machine may cost it its data."""
    with EmbeddedPostgres(folder / "p", OPTIONS) as dsn:
        query(dsn, f'CREATE DATABASE "{MIGRATED}"')
        migrate(dsn_of(dsn, MIGRATED))
        yield dsn


def server_folder() -> Path:
    """Makes a folder for a server, in memory where there is room: /dev/shm of a container may have 64 MiB."""
    memory = Path("/dev/shm")
    parent = memory if memory.is_dir() and shutil.disk_usage(memory).free > 4 * 1024**3 else None
    # A short path, because a socket's path is limited; readable, because as root PostgreSQL runs as another account.
    folder = Path(tempfile.mkdtemp(prefix="cga", dir=parent))
    folder.chmod(0o755)
    return folder


@contextmanager
def temporary_database(server: str, template: str = MIGRATED) -> Iterator[str]:
    """Makes a copy of a template database and drops it afterwards; its connection string."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    # Copying files takes 14 ms where no write waits for the disk, and PostgreSQL's default strategy 117 ms.
    query(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
    yield dsn_of(server, name)
    query(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def dsn_of(server: str, name: str) -> str:
    """The connection string of a database, from that of its server."""
    return server.replace("dbname=postgres", f"dbname={name}")
