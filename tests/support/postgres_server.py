"""The PostgreSQL server of a test run, and databases in it."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from chatgpt_agent.adapters.migrate import migrate
from tests.support.citus import drop_database
from tests.support.database import query, servers_of
from tests.support.folders import memory_folder

# A database with all tables, to copy; each process of a run has its own, because they may share a cluster of Citus.
MIGRATED = f"template_migrated_{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
EMPTY = "template0"
OPTIONS = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=100"


@contextmanager
def run_postgres(folder: Path) -> Iterator[str]:
    """Runs a server in a folder; its connection string. A crash of the machine may cost it its data."""
    with EmbeddedPostgres(folder / "p", OPTIONS) as dsn:
        make_template(dsn)
        yield dsn


def make_template(dsn: str) -> None:
    """Makes the database with all tables that others are copied from."""
    query(dsn, f'CREATE DATABASE "{MIGRATED}"')
    migrate(dsn_of(dsn, MIGRATED))


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for a server, in memory where there is room."""
    # A short path, because a socket's path is limited; readable, because as root PostgreSQL runs as another account.
    folder = Path(tempfile.mkdtemp(prefix="agt", dir=memory_folder()))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def temporary_database(server: str, template: str = MIGRATED) -> Iterator[str]:
    """Makes a copy of a template database and drops it afterwards; its connection string."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    # Copying files takes 14 ms where no write waits for the disk, and PostgreSQL's default strategy 117 ms.
    for each in servers_of(server):
        query(each, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
    yield dsn_of(server, name)
    for each in servers_of(server):
        drop_database(each, name)


def dsn_of(server: str, name: str) -> str:
    """The connection string of a database, from that of its server."""
    return server.replace("dbname=postgres", f"dbname={name}")


def url_of(dsn: str) -> str:
    """A connection string as a postgresql:// URL."""
    fields = dict(field.split("=", 1) for field in dsn.split())
    host = quote(fields["host"].strip("'"), safe="")
    return f"postgresql://{fields['user']}@/{fields['dbname']}?host={host}&port={fields['port']}"
