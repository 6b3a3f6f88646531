"""Fixtures: the program on the test's own database, or on one that a module shares."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chatgpt_agent.adapters.embedded_postgres import EmbeddedPostgres
from tests.support.commands import Cli
from tests.support.postgres_server import server_folder, temporary_database
from tests.support.serving import postmaster
from tests.support.upstream import Upstream


@pytest.fixture
def cli(dsn: str, tmp_path: Path) -> Cli:
    """The program on a migrated database."""
    return Cli({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path / "data")})


@pytest.fixture
def empty_cli(empty_dsn: str, tmp_path: Path) -> Cli:
    """The program on a database without tables."""
    return Cli({"DATABASE_URL": empty_dsn, "DATA_DIR": str(tmp_path / "data")})


@pytest.fixture(scope="module")
def shared_cli(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The program on a database that a module's tests share: for commands that change nothing, because creating a
    database takes longer than they do."""
    with temporary_database(postgres) as dsn:
        yield Cli({"DATABASE_URL": dsn, "DATA_DIR": str(tmp_path_factory.mktemp("shared") / "data")})


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path that every account may enter: PostgreSQL does not run as root."""
    with server_folder() as folder:
        yield folder
        if postmaster(folder).exists():  # the test has failed, or killed the agent
            with EmbeddedPostgres(folder / "data" / "postgres"):
                pass


@pytest.fixture
def embedded(folder: Path) -> Cli:
    """The program with an embedded database, as in config.example.yml."""
    return Cli({"DATABASE_URL": "embedded", "DATA_DIR": str(folder / "data")})


@pytest.fixture
def served(cli: Cli, upstream: Upstream) -> Cli:
    """The program with a fake OpenAI."""
    cli.settings["OPENAI_URL"] = upstream.url
    return cli
