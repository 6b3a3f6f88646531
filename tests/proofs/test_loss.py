"""A short run with kills: real processes are killed under load, and the ledger is checked afterwards."""

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir

import pytest

from tests.support.folders import memory_folder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OPTIONS = ("--requests", "300", "--kills", "4", "--db-stops", "2", "--seconds", "60")


def test_the_ledger_is_right_after_kills_of_agent_and_database(tmp_path: Path) -> None:
    """Four kills and two database stops lose, duplicate and hide no row."""
    report = tmp_path / "loss.md"
    command = [sys.executable, "-m", "benchmarks.loss", *OPTIONS, "--output", str(report)]
    # In memory: a process that is killed loses nothing that it wrote, on a disk or not.
    environ = {**os.environ, "TMPDIR": str(memory_folder() or gettempdir())}
    process = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    figures = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", report.read_text(), re.MULTILINE))
    assert (figures["`kill -9` of the agent"], figures["`stop -m immediate` of PostgreSQL"]) == ("4", "2")
    assert int(figures["answers that broke off"]) + int(figures.get("rows in state `unknown`", "0")) > 0
