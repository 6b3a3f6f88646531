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

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program and an account that exist here."""
    text = UNIT.read_text().replace("/opt/chatgpt-agent/bin/chatgpt-agent", sys.executable)
    path = tmp_path / UNIT.name
    path.write_text(text.replace("User=chatgpt-agent", "User=daemon").replace("Group=chatgpt-agent", "Group=daemon"))
    return path


def analyze(*args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["systemd-analyze", *args], capture_output=True, text=True, check=False)


PROTECTIONS = (
    "User=chatgpt-agent", "Group=chatgpt-agent", "LoadCredential=master.key:/etc/chatgpt-agent/master.key",
    "StateDirectoryMode=0700", "UMask=0077", "LimitCORE=0", "NoNewPrivileges=yes", "CapabilityBoundingSet=",
    "AmbientCapabilities=", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes",
    "MemoryDenyWriteExecute=yes", "SystemCallFilter=@system-service", "SystemCallFilter=~@privileged",
)  # fmt: skip


@pytest.mark.parametrize("line", PROTECTIONS)
def test_unit_has_the_lines_that_protect(line: str) -> None:
    """Each of them matters, whatever the sum of all is."""
    assert line in UNIT.read_text().splitlines()


@needs_systemd
def test_systemd_accepts_every_line(unit: Path) -> None:
    """The one line that a version before 253 does not know is the type of the service."""
    result = analyze("--man=no", "verify", str(unit))
    version = int(analyze("--version").stdout.split()[1])
    complaints = [line for line in result.stderr.splitlines() if unit.name in line]
    expected = [f"{unit}:{line_of('Type=notify-reload')}: {OLD}"] if version < 253 else []
    assert complaints == expected


@needs_systemd
def test_agent_may_do_little(unit: Path) -> None:
    """systemd counts what a service could do to the system."""
    result = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(unit))
    assert result.returncode == 0, result.stdout


def line_of(text: str) -> int:
    """The number of a line of the unit."""
    return UNIT.read_text().splitlines().index(text) + 1
