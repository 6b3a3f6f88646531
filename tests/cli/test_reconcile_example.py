"""The example of docs/reconcile.md: the command prints what the page shows, and JSON has the same sentences."""

import json
import re
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from chatgpt_agent.core.ledger import Row, State
from chatgpt_agent.core.usage import Usage
from tests.support.commands import Cli
from tests.support.ledger_rows import november_row, ship_rows

ROOT = Path(__file__).parent.parent.parent
FILES = ROOT / "tests/golden/reconcile"
CONSOLE = re.compile(r"^```console\n\$ chatgpt-agent (ledger [^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANN, BOB = 1, 2
SOL, LUNA = "gpt-6-sol", "gpt-6-luna"


def row(number: int, day: int, model: str, cost: str) -> Row:
    """Returns a request of ann that used 10,000 input tokens, 1,500 of them cached, and 700 output tokens."""
    template = november_row(number, ANN, day)
    intent = msgspec.structs.replace(template.intent, model=model)
    usage = Usage(input=10_000, cached=1_500, output=700)
    return msgspec.structs.replace(template, intent=intent, usage=usage, served_model=model, cost=Decimal(cost))


@pytest.fixture
def populated(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The program with the ledger of the example, in the folder of its files."""
    monkeypatch.chdir(FILES)
    for name in ("ann", "bob"):
        cli.add_user(name)
    cli.ok("price", "set", SOL, "--input", "2", "--cached-input", "0.2", "--output", "16", "--from", "2026-01-01")
    cli.ok("price", "set", LUNA, "--input", "0.2", "--output", "1.2", "--from", "2026-01-01")
    unknown = november_row(3, BOB, 3, State.UNKNOWN)
    intent = msgspec.structs.replace(unknown.intent, model=LUNA, price_id=2)
    rows = [
        row(1, 2, SOL, "0.0285"),
        row(2, 3, SOL, "0.0285"),
        msgspec.structs.replace(unknown, intent=intent, price_id=2),
    ]
    ship_rows(cli.settings["DATABASE_URL"], rows)
    return cli


def test_example_is_what_the_command_prints(populated: Cli) -> None:
    """The page shows the whole output, before and after a correction."""
    page = (ROOT / "docs/reconcile.md").read_text("utf-8")
    (reconcile, differences), (correct, correction), *rest = CONSOLE.findall(page)
    assert populated.run(*reconcile.split()).stdout == differences
    [*options, reason] = correct.split(" --reason ")
    lines = populated.ok(*" ".join(options).split(), "--reason", reason.strip('"')).splitlines()
    assert lines[1:] == correction.splitlines()[1:]
    assert rest == []


def test_json_has_the_sentences_of_the_example(populated: Cli) -> None:
    """The order is the same, too."""
    (reconcile, differences), *_ = CONSOLE.findall((ROOT / "docs/reconcile.md").read_text("utf-8"))
    result = json.loads(populated.run(*reconcile.split(), "--json").stdout)
    sentences = [line for line in differences.split("first:\n\n")[1].splitlines() if line and line[0] != " "]
    assert [line["text"] for line in result["lines"]] == sentences[:-1]
