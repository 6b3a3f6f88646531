"""docs/security-controls.md names code and tests that exist, for each control."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/security-controls.md").read_text("utf-8")
TABLES = PAGE.partition("\n## Controls\n")[2].partition("\n## ")[0]


def rows() -> Iterator[list[str]]:
    """Yields the cells of each control: what it is, its code, its tests, whether it was taken out."""
    for line in TABLES.splitlines():
        if line.startswith("| ") and not line.startswith("| Control"):
            yield [cell.strip() for cell in line[1:-1].split(" | ")]


def places(cell: str, folder: str) -> Iterator[tuple[Path, str]]:
    """Yields the files of a cell, each with the names in it; a file alone with an empty name."""
    for part in cell.split("; "):
        path, *names = re.findall("`([^`]+)`", part)
        below = ROOT / folder / path
        yield from ((below if below.exists() else ROOT / path, name) for name in names or [""])


def test_page_has_the_controls() -> None:
    """There are dozens, each with a test, and nearly all were taken out once."""
    table = list(rows())
    assert len(table) > 80
    assert {len(cells) for cells in table} == {4}
    assert {cells[3] for cells in table} == {"yes", "—"}


@pytest.mark.parametrize("cells", rows(), ids=lambda cells: cells[0])
def test_control_is_where_the_page_says(cells: list[str]) -> None:
    """The file exists, and has what is named: a function, a class, a constant."""
    for path, name in places(cells[1], "chatgpt_agent"):
        assert path.exists(), path
        assert not name or re.search(rf"\b{name}\b", path.read_text("utf-8"))


@pytest.mark.parametrize("cells", rows(), ids=lambda cells: cells[0])
def test_control_has_its_tests(cells: list[str]) -> None:
    """Each is a function of the named file."""
    for path, name in places(cells[2], "tests"):
        assert re.search(rf"^(?:async )?def {name}\(", path.read_text("utf-8"), re.MULTILINE), f"{path}: {name}"
