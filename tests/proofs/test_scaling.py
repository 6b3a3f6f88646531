"""A short run with two agents behind HAProxy, while an agent and the primary of two databases are killed."""

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir

import pytest

from benchmarks.cluster import HAPROXY
from tests.support.folders import memory_folder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed (apt-get install haproxy)")
def test_nothing_is_lost_where_an_agent_and_the_primary_are_killed(tmp_path: Path) -> None:
    """No row is lost or doubled, no budget overspent, no restart breaks an answer; a revocation takes effect
    everywhere."""
    report = tmp_path / "scaling.md"
    command = [sys.executable, "-m", "benchmarks.scaling", "--phase", "1", "--workers", "6", "--output", str(report)]
    # In memory: a process that is killed loses nothing that it wrote, on a disk or not.
    environ = {**os.environ, "TMPDIR": str(memory_folder() or gettempdir())}
    process = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    figures = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", report.read_text(), re.MULTILINE))
    assert int(figures["requests that reached the upstream"].replace(",", "")) > 50
    assert (figures["**lost**"], figures["**doubled**"], figures["**wrong**"]) == ("0", "0", "0")
