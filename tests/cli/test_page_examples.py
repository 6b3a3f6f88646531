"""Examples of pages: each command of a console block works, in the order of the page, and prints what is there.

Numbers, dates, tokens and the widths of columns differ; of a table, the header and the number of its rows count.
"""

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.commands import KEY, Cli
from tests.support.snippets import our_commands, snippets

COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n?)*)", re.MULTILINE)
VARYING = re.compile(r"cg[am]_\S+|\d[\d:.,-]*\d|\d")
RULE = re.compile(r"-[- ]+-$")


def shape(text: str) -> list[str]:
    """Returns the lines of an output without what differs from run to run."""
    lines: list[str] = []
    in_table = False
    for line in text.splitlines():
        in_table = RULE.match(line) is not None or (in_table and "  " in line)
        plain = re.sub(r"\s+", " ", VARYING.sub("N", line)).strip()
        lines.append("row" if in_table else plain)
    return [line for line in lines if line and line != "OpenAI key:"]


def matches(expected: list[str], actual: list[str]) -> bool:
    """Whether an output is what a page has; `…` in it stands for any text, and a line of it for any lines."""
    pattern = "\n".join(re.escape(line).replace("…", "(?:.|\n)*") for line in expected)
    return re.fullmatch(pattern, "\n".join(actual)) is not None


def block(page: str, start: str) -> list[tuple[str, str]]:
    """Returns the commands and outputs of the block of a page that begins with a command."""
    [text] = [each.text for each in snippets("console") if each.page == page and each.text.startswith(f"$ {start}")]
    return COMMAND.findall(text)


def run_block(cli: Cli, folder: Path, page: str, start: str, *, count: int | None = None) -> None:
    """Runs the first `count` commands of ours in a block, by default all, and compares what they print."""
    for line, output in block(page, start)[:count]:
        for args in our_commands(line):
            args = [str(folder / arg) if re.fullmatch(r"[\w.]+\.(csv|json)", arg) else arg for arg in args]
            secret = KEY if args[:2] == ["user", "add"] else ""
            result = cli.run(*args, *(["--openai-key-stdin"] if secret else []), stdin=secret)
            assert result.exit_code == 0, (line, result.stderr)
            printed = result.stderr if " > " in line else result.output
            assert not output or matches(shape(output), shape(printed)), (line, shape(output), shape(printed))


def test_users_and_tokens(cli: Cli, tmp_path: Path) -> None:
    """The examples of docs/users.md."""
    for model in ("gpt-6-luna", "gpt-5.5"):
        cli.ok("price", "set", model, "--input", "1", "--output", "1")
    run_block(cli, tmp_path, "docs/users.md", "chatgpt-agent user add")
    run_block(cli, tmp_path, "docs/users.md", "chatgpt-agent token issue")


def test_user_import(cli: Cli, tmp_path: Path) -> None:
    """The file and the commands of docs/users.md."""
    [file] = [each.text for each in snippets("text") if each.text.startswith("name;openai_key")]
    (tmp_path / "team.csv").write_text(file.replace("sk-…", KEY))
    run_block(cli, tmp_path, "docs/users.md", "chatgpt-agent user import")
    assert len((tmp_path / "tokens.csv").read_text().splitlines()) == 4


def test_budgets(cli: Cli, tmp_path: Path) -> None:
    """The examples of docs/budgets.md."""
    cli.add_user("alice")
    run_block(cli, tmp_path, "docs/budgets.md", "chatgpt-agent budget set")
    [(line, output), (end, ended)] = block("docs/budgets.md", "chatgpt-agent budget raise")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
    raised = cli.run(*shlex.split(line)[1:-1], str(tomorrow))
    assert matches(shape(output), shape(raised.output)), raised.output
    assert matches(shape(ended), shape(cli.run(*shlex.split(end)[1:]).output))


def test_admins(cli: Cli, tmp_path: Path) -> None:
    """The examples of docs/admin-api.md."""
    run_block(cli, tmp_path, "docs/admin-api.md", "chatgpt-agent admin token", count=3)
    run_block(cli, tmp_path, "docs/admin-api.md", "chatgpt-agent audit list")
    [(line, _)] = block("docs/admin-api.md", "chatgpt-agent admin token")[3:]
    assert "revoked" in cli.run(*shlex.split(line)[1:]).output


def test_prices(cli: Cli, tmp_path: Path) -> None:
    """The examples of docs/prices.md without a list of prices."""
    run_block(cli, tmp_path, "docs/prices.md", "chatgpt-agent price set")
    run_block(cli, tmp_path, "docs/prices.md", "chatgpt-agent price surcharge")


def test_price_list(cli: Cli, tmp_path: Path) -> None:
    """The import of docs/prices.md, with a list of these models."""
    cli.ok("price", "set", "gpt-6-sol", "--input", "2.5", "--cached-input", "0.2", "--output", "10")
    common = {"litellm_provider": "openai", "mode": "chat"}
    search = {"search_context_cost_per_query": {"search_context_size_medium": 0.01}}
    luna = {"input_cost_per_token": 1e-7, "output_cost_per_token": 5e-7, "cache_read_input_token_cost": 1e-8}
    flex = {"input_cost_per_token_flex": 5e-8, "output_cost_per_token_flex": 2.5e-7}
    sol = {"input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5, "cache_read_input_token_cost": 2e-7}
    models = {
        "gpt-6-luna": common | luna | flex | search | {"cache_read_input_token_cost_flex": 5e-9},
        "gpt-6-sol": common | sol | search,
        "gpt-6-realtime": common | sol | {"mode": "realtime"},
    }
    (tmp_path / "model_prices_and_context_window.json").write_text(json.dumps(models))
    run_block(cli, tmp_path, "docs/prices.md", "curl -LO")


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("User alice has been added.", "User alice was added."),
        ("id    owner\n----  -----\n1     alice\n", "id    user\n----  -----\n1     alice\n"),
        ("id    owner\n----  -----\n1     alice\n", "id    owner\n----  -----\n1     alice\n2     bob\n"),
    ],
)
def test_other_output_is_noticed(expected: str, actual: str) -> None:
    """Another sentence, column or row makes an example wrong; another number does not."""
    assert not matches(shape(expected), shape(actual))
    assert matches(shape(expected), shape(expected.replace("1", "17")))
