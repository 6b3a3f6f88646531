"""The dashboard and the alert rules of docs/operations, and the metrics that they use."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parent.parent.parent / "docs/operations"
DASHBOARD = FOLDER / "grafana-dashboard.json"
RULES = FOLDER / "alert-rules.yml"
RULE_TESTS = FOLDER / "alert-rules.test.yml"
_NAME = re.compile(r"\b(?:chatgpt_agent|process)_\w+\b")


needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool: Debian's package is prometheus"
)


def promtool(*arguments: str | Path, stdin: str = "") -> str:
    """Runs promtool, which must find no fault. Returns what it printed."""
    command = ["promtool", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    [group] = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    alerts: list[dict[str, Any]] = group["rules"]
    return alerts


def panels() -> Iterator[dict[str, Any]]:
    """The panels of the dashboard that show something."""
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    yield from (panel for panel in dashboard["panels"] if panel["type"] != "row")


def dashboard_queries() -> list[str]:
    """The queries of the dashboard's panels, with values for Grafana's variables."""
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [re.sub(r"\$(job|instance)\b", ".*", query.replace("$__rate_interval", "5m")) for query in queries]


def queries() -> list[str]:
    """All of them."""
    return [*dashboard_queries(), *(rule["expr"] for rule in rules())]


def used_series() -> set[str]:
    """The names of series that dashboard and rules use; histograms with `_bucket`."""
    return {name for query in queries() for name in _NAME.findall(query)}
