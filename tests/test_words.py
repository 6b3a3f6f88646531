"""scripts/words finds words of its list; in this file a `~` keeps it from finding them here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

HITS = {
    "comment": ("a.py", "x = 1  # for no~body\n"),
    "comment over two lines": ("a.py", "# a client is\n# to~ld\nx = 1\n"),
    "string": ("a.py", 'x = "some~body"\n'),
    "docstring": ("a.py", '"""A client is to~ld."""\n'),
    "opening of a docstring": ("a.py", '"""An~d more."""\n'),
    "docstring of one word": ("a.py", '"""On~ce."""\n'),
    "name of a variable": ("a.py", "fou~nd = 1\n"),
    "name of a parameter": ("a.py", "def f(wha~t): pass\n"),
    "name of an attribute": ("a.py", "class A:\n    ask~ed: int\n"),
    "part of a name": ("a.py", "def on_no~body(): pass\n"),
    "prose": ("a.md", "Who~ever calls.\n"),
    "prose over two lines": ("a.md", "A client is\nto~ld.\n"),
}


def run(folder: Path, name: str, text: str) -> "subprocess.CompletedProcess[str]":
    """Runs the check on a repository with one file."""
    (folder / "scripts").mkdir()
    for part in ("words", "words.txt"):
        (folder / "scripts" / part).write_bytes((ROOT / "scripts" / part).read_bytes())
    (folder / name).write_text(text.replace("~", ""))
    command = [sys.executable, str(folder / "scripts/words"), str(folder / name)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("case", HITS)
def test_word_of_the_list_is_reported(tmp_path: Path, case: str) -> None:
    """The check prints the file with the line and fails."""
    name, text = HITS[case]
    process = run(tmp_path, name, text)
    assert process.returncode == 1
    assert process.stdout.startswith(f"{name}:")


def test_plain_words_pass(tmp_path: Path) -> None:
    """Words that contain a word of the list are no hits."""
    process = run(tmp_path, "a.py", '"""Returns the foundation."""\n\nwhatever_else = "toldo"  # nobodyish\n')
    assert (process.returncode, process.stdout) == (0, "    0 in all\n")
