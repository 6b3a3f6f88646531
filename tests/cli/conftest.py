"""Fixtures: the program on the test's own database, or on one that a module shares."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from tests.support.commands import Cli


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
    name = f"shared_{uuid.uuid4().hex[:12]}"
    connection = psycopg2.connect(postgres)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE template_migrated")
        yield Cli(
            {
                "DATABASE_URL": postgres.replace("dbname=postgres", f"dbname={name}"),
                "DATA_DIR": str(tmp_path_factory.mktemp("shared") / "data"),
            }
        )
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    connection.close()
