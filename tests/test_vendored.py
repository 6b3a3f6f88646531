"""Files of other projects are unchanged, have their license beside them, and load nothing from other hosts."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = [ROOT / "chatgpt_agent/web/console/static/vendor", ROOT / "tests/browser/vendor"]
MANIFEST = "MANIFEST.json"
# What makes a browser load something: in style sheets, in scripts that build elements, and in HTML.
LOADS = re.compile(
    r"""(?:url\(|@import\s|\bimport\(|\bfrom\s|importScripts\(|\bsrc\s*=|\.src=)\s*["']?\s*(?:https?:)?//[\w.-]+""",
    re.IGNORECASE,
)

each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(ROOT).as_posix())


def projects(folder: Path) -> list[dict[str, Any]]:
    """The entries of a folder's manifest."""
    entries: list[dict[str, Any]] = json.loads((folder / MANIFEST).read_text("utf-8"))
    return entries


@each_folder
def test_each_file_is_the_one_of_its_release(folder: Path) -> None:
    """The manifest has each file of the folder, with its SHA-256."""
    listed = {name: digest for project in projects(folder) for name, digest in project["files"].items()}
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    del hashes[MANIFEST]
    assert hashes == listed


@each_folder
def test_each_project_has_its_license(folder: Path) -> None:
    """Its short name in the manifest, and its text beside the files."""
    for project in projects(folder):
        [text] = [folder / name for name in project["files"] if name.endswith(".license.txt")]
        sentences = {"MIT": "Permission is hereby granted, free of charge", "MPL-2.0": "Mozilla Public License"}
        assert sentences[project["license"]] in text.read_text("utf-8")


@each_folder
def test_each_file_names_its_version(folder: Path) -> None:
    """The version in the manifest is the one at the head of the file."""
    for project in projects(folder):
        [file] = [folder / name for name in project["files"] if name.endswith((".js", ".css"))]
        assert f"v{project['version']}" in file.read_text("utf-8")[:300]


def test_no_file_of_the_console_loads_anything_from_another_host() -> None:
    """Neither ours nor another project's: no address of another host in a place from which a browser loads it."""
    files = [path for path in FOLDERS[0].parent.rglob("*") if path.suffix in (".css", ".js", ".svg")]
    assert len(files) >= 4
    assert [(path.name, hit[0]) for path in files for hit in LOADS.finditer(path.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    "text",
    [
        "a { background: url( 'https://cdn.example.com/a.png') }",
        '@import "//fonts.example.com/css";',
        'image.src="http://example.com/a.gif"',
        'import("https://example.com/a.js")',
        "import x from 'https://example.com/a.js'",
    ],
)
def test_an_address_of_another_host_is_noticed(text: str) -> None:
    """In each of the notations that make a browser load it."""
    assert LOADS.search(text)
