"""packaging/chatgpt-agent.service: systemd understands it, and what the agent may do under it is little."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "packaging/chatgpt-agent.service"
OLD = "Failed to parse service type, ignoring: notify-reload"  # of systemd before 253
EXPOSURE = 15  # of 100, at most; systemd's own services have 10 to 95

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program and an account that exist here."""
    text = UNIT.read_text().replace("/opt/chatgpt-agent/bin/chatgpt-agent", sys.executable)
    path = tmp_path / UNIT.name
    path.write_text(text.replace("User=chatgpt-agent", "User=daemon").replace("Group=chatgpt-agent", "Group=daemon"))
    return path


def analyze(*args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["systemd-analyze", *args], capture_output=True, text=True, check=False)


def test_systemd_accepts_every_line(unit: Path) -> None:
    """The one line that a version before 253 does not know is the type of the service."""
    result = analyze("--man=no", "verify", str(unit))
    version = int(analyze("--version").stdout.split()[1])
    complaints = [line for line in result.stderr.splitlines() if unit.name in line]
    expected = [f"{unit}:{line_of('Type=notify-reload')}: {OLD}"] if version < 253 else []
    assert complaints == expected


def test_agent_may_do_little(unit: Path) -> None:
    """systemd counts what a service could do to the system."""
    result = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(unit))
    assert result.returncode == 0, result.stdout


def line_of(text: str) -> int:
    """The number of a line of the unit."""
    return UNIT.read_text().splitlines().index(text) + 1
