"""A short kill run: real processes, killed under load, and the books compared afterwards."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORDS = ("--requests", "300", "--kills", "4", "--db-stops", "2", "--seconds", "60")


def test_books_are_right_after_kills_of_agent_and_database(tmp_path: Path) -> None:
    """Four kills and two database stops lose nothing, double nothing and hide nothing."""
    report = tmp_path / "loss.md"
    command = [sys.executable, "-m", "benchmarks.loss", *WORDS, "--output", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", report.read_text(), re.MULTILINE))
    assert (found["`kill -9` of the agent"], found["`stop -m immediate` of PostgreSQL"]) == ("4", "2")
    assert int(found["answers that broke off"]) + int(found.get("rows in state `unknown`", "0")) > 0
