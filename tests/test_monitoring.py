"""The dashboard and the alert rules of docs/operations are right. That each metric of theirs is exposed is a test of
tests/web/test_metrics.py."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatgpt_agent.core.metrics import METRICS
from tests.support.monitoring import (
    DASHBOARD,
    FOLDER,
    RULE_TESTS,
    RULES,
    dashboard_queries,
    needs_promtool,
    panels,
    promtool,
    queries,
    rules,
    used_series,
)
from tests.test_docs import anchors

TARGET_LABELS = {"job", "instance", "le"}


@needs_promtool
def test_rules_are_valid() -> None:
    """Prometheus can load them."""
    assert "SUCCESS: 8 rules found" in promtool("check", "rules", RULES)


@needs_promtool
def test_rules_fire_when_they_should() -> None:
    """The tests beside the rules have an agent for which an alert comes, and one for which it does not."""
    promtool("test", "rules", RULE_TESTS)


@needs_promtool
def test_queries_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    """Each is a query that Prometheus can parse."""
    records = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(dashboard_queries())]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": records}]}))
    promtool("check", "rules", tmp_path / "rules.yml")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_alert_says_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    """Summary, description, severity, and a section of the runbook with its name."""
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert (page, anchor) == ("docs/operations/alerts.md", str(rule["alert"]).lower())
    assert anchor in anchors(FOLDER / "alerts.md")


def test_every_alert_has_a_test() -> None:
    """Each alert comes in one of the tests beside the rules."""
    text = RULE_TESTS.read_text("utf-8")
    assert [rule["alert"] for rule in rules() if f"alertname: {rule['alert']}\n" not in text] == []


def test_queries_use_labels_that_exist() -> None:
    """A misspelled label would match nothing, without an error."""
    allowed = TARGET_LABELS | {label for metric in METRICS for label in metric.labels}
    used: set[str] = set()
    for query in queries():
        used.update(name for part in re.findall(r"\{(.*?)\}", query) for name in re.findall(r"(\w+)\s*=", part))
        used.update(name.strip() for part in re.findall(r"\bby \((.*?)\)", query) for name in part.split(","))
    assert used <= allowed


def test_dashboard_shows_every_metric() -> None:
    """What is measured is on it, except the versions, which it counts."""
    drawn = {re.sub("_bucket$", "", name) for name in used_series()}
    assert {metric.full_name for metric in METRICS} <= drawn


def test_panels_are_apart_and_named() -> None:
    """No two panels have a place in common, or the same title or id."""
    places = Counter(place for panel in panels() for place in _places(panel["gridPos"]))
    assert max(places.values()) == 1
    titles = Counter(panel["title"] for panel in panels())
    assert max(titles.values()) == 1
    ids = Counter(panel["id"] for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"])
    assert max(ids.values()) == 1


def _places(position: dict[str, int]) -> Iterator[tuple[int, int]]:
    x, y, w, h = (position[key] for key in "xywh")
    assert x + w <= 24
    return itertools.product(range(x, x + w), range(y, y + h))
