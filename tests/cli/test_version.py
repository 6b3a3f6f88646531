"""`--version` and `version`: this program, what it runs on, and PostgreSQL."""

import json
import platform
import re
import sqlite3
import ssl
from pathlib import Path

import psycopg2
import pycurl
import pytest
import tornado
from cryptography.hazmat.backends.openssl import backend

from chatgpt_agent import __version__
from tests.support.commands import Cli
from tests.support.database import query

LIBRARIES = [
    "OpenSSL (Python)", "Tornado", "pycurl", "libcurl", "OpenSSL (libcurl)", "cryptography", "OpenSSL (cryptography)",
    "SQLite", "psycopg2", "libpq",
]  # fmt: skip


def versions_of(text: str) -> dict[str, str]:
    """The lines of the text by name."""
    return dict(re.findall(r"^(.+?),? (?:version )?([\d.]+\S*)", text, re.MULTILINE))


def test_first_line_is_the_programs_own_version() -> None:
    """It is the same for the option and for the command."""
    for arguments in (["--version"], ["version"]):
        first, *others = Cli({}).ok(*arguments).splitlines()
        assert first == f"chatgpt-agent, version {__version__}"
        assert len(others) >= len(LIBRARIES)


def test_versions_are_those_that_the_libraries_report() -> None:
    """Each OpenSSL is named with the library that has it."""
    text = Cli({}).ok("--version")
    versions = versions_of(text)
    assert set(LIBRARIES) <= set(versions)
    assert versions["Python"] == platform.python_version()
    assert versions["Tornado"] == tornado.version
    assert versions["SQLite"] == sqlite3.sqlite_version
    assert f"libcurl/{versions['libcurl']} " in pycurl.version
    assert f"OpenSSL/{versions['OpenSSL (libcurl)']} " in pycurl.version
    assert f"OpenSSL {versions['OpenSSL (Python)']} " in ssl.OPENSSL_VERSION
    assert f"OpenSSL {versions['OpenSSL (cryptography)']} " in backend.openssl_version_text()
    assert versions["libpq"] == f"{psycopg2.__libpq_version__ // 10000}.{psycopg2.__libpq_version__ % 10000}"


def test_option_reads_no_configuration() -> None:
    """It works where the configuration is broken."""
    assert Cli({"PORT": "high"}).ok("--version").startswith("chatgpt-agent, version ")


def test_version_asks_the_database(empty_dsn: str) -> None:
    """It needs no tables, and creates none."""
    [(server,)] = query(empty_dsn, "SELECT current_setting('server_version')")
    cli = Cli({"DATABASE_URL": empty_dsn})
    assert cli.ok("version").splitlines()[-1] == f"PostgreSQL {server}"
    assert json.loads(cli.ok("version", "--json"))["versions"]["PostgreSQL"] == server
    assert query(empty_dsn, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


@pytest.mark.parametrize("form", ["text", "json"])
def test_unreachable_database_is_no_failure(form: str, refused_port: int) -> None:
    """The other versions are what a report of a bug needs."""
    cli = Cli({"DATABASE_URL": f"postgresql://127.0.0.1:{refused_port}/none"})
    text = cli.ok("version", "--format", form)
    reason = "the database is unavailable: Connection refused"
    if form == "json":
        report = json.loads(text)
        assert (report["database_error"], report["versions"]["chatgpt-agent"]) == (reason, __version__)
        assert "PostgreSQL" not in report["versions"]
    else:
        assert text.splitlines()[-1] == f"PostgreSQL unknown: {reason}"


def test_embedded_database_is_not_created(tmp_path: Path) -> None:
    """A look at the versions leaves an empty data_dir empty."""
    text = Cli({"DATABASE_URL": "embedded", "DATA_DIR": str(tmp_path)}).ok("version")
    assert text.splitlines()[-1].startswith("PostgreSQL unknown: there is no database in ")
    assert list(tmp_path.iterdir()) == []
