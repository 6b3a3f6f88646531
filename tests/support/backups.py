"""Backups of the test's own making: where they go, what is in them, what is changed in them."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.commands import Cli
from tests.support.database import query

TABLES = """
    SELECT relname FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"""
CONTENT = "SELECT array_agg((to_jsonb(t) - 'version')::text ORDER BY t::text) FROM {} t"


def contents(dsn: str) -> dict[str, object]:
    """Returns the rows of every table, but for versions."""
    names = [name for (name,) in query(dsn, TABLES) if "yoyo" not in name]
    return {name: query(dsn, CONTENT.format(name)) for name in names}


def members(path: Path) -> dict[str, bytes]:
    """Returns the members of a backup."""
    with tarfile.open(path) as tar:
        return {each.name: tar.extractfile(each).read() for each in tar.getmembers()}  # type: ignore[union-attr]


def manifest(path: Path) -> Any:
    """Returns the manifest of a backup."""
    return json.loads(members(path)["manifest.json"])


def elsewhere(cli: Cli, dsn: str, folder: Path) -> Cli:
    """Returns the program on another database and data directory."""
    return Cli({**cli.settings, "DATABASE_URL": dsn, "DATA_DIR": str(folder)})


def edited(path: Path, change: Callable[[bytearray], None]) -> Path:
    """Returns a copy of a file with changed bytes."""
    data = bytearray(path.read_bytes())
    change(data)
    copy = path.with_name(f"edited-{path.name}")
    copy.write_bytes(data)
    return copy
