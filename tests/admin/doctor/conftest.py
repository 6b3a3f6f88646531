"""Fixtures: the folder of an agent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres_server import server_folder


@pytest.fixture
def parent() -> Iterator[Path]:
    """A folder that every account can enter."""
    with server_folder() as folder:
        yield folder


@pytest.fixture
def data_dir(parent: Path) -> Path:
    """A private folder."""
    folder = parent / "data"
    folder.mkdir(mode=0o700)
    return folder
