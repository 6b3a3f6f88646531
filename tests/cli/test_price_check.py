"""`chatgpt-agent price check`: for cron, silent and 0 if the prices in force are those of a list."""

import json
from pathlib import Path

import pytest

from tests.support.commands import Cli
from tests.support.litellm import LIST


@pytest.fixture
def litellm(tmp_path: Path) -> str:
    """The path of a list in LiteLLM's form."""
    (tmp_path / "list.json").write_text(json.dumps(LIST))
    return str(tmp_path / "list.json")


def differences(cli: Cli, *args: str, stdin: str = "") -> list[str]:
    """The lines of a check that finds differences."""
    result = cli.run("price", "check", *args, stdin=stdin)
    assert (result.exit_code, result.stderr) == (1, "")
    return result.stdout.splitlines()


def test_equal_prices_print_nothing(cli: Cli, litellm: str) -> None:
    """The exit code is 0 after an import of the same list."""
    cli.ok("price", "import", litellm, "--yes")
    assert cli.ok("price", "check", litellm) == ""


def test_difference_is_one_line(cli: Cli, litellm: str) -> None:
    """The amounts here are on the left, those of the list on the right; the exit code is 1."""
    cli.ok("price", "import", litellm, "--yes")
    cli.ok("price", "set", "gpt-two", "--input", "2.5", "--output", "2", "--cached-input", "1", "--tier", "priority:x2")
    assert differences(cli, litellm) == [
        "gpt-two: input 2.5 -> 1; cached input 1 -> none; - priority:x2; + priority:input=3,output=2"
    ]


def test_model_without_a_price_is_no_difference(cli: Cli, litellm: str) -> None:
    """With --new it is one."""
    cli.ok("price", "import", litellm, "--only", "gpt-one", "--yes")
    assert cli.ok("price", "check", litellm) == ""
    lines = differences(cli, litellm, "--new")
    assert len(lines) == 7
    assert "gpt-two: no price here; input 1; output 2; priority:input=3,output=2" in lines


def test_model_that_the_list_lacks_is_no_difference(cli: Cli, litellm: str) -> None:
    """A local model is in no list."""
    cli.ok("price", "import", litellm, "--yes")
    cli.ok("price", "set", "local", "--input", "0", "--output", "0")
    assert cli.ok("price", "check", litellm) == ""


def test_only_chooses_what_is_compared(cli: Cli, litellm: str) -> None:
    """Other models may differ."""
    cli.ok("price", "import", litellm, "--yes")
    cli.ok("price", "set", "gpt-two", "--input", "9", "--output", "9")
    assert cli.ok("price", "check", litellm, "--only", "gpt-one") == ""


def test_csv_is_compared_on_its_dates(cli: Cli) -> None:
    """Each price is compared with the one in force on its date; standard input is -."""
    cli.ok("price", "set", "m", "--input", "1", "--output", "2")
    rows = "model,effective_at,input,output\nm,,1,2\nm,2999-01-01,3,2\n"
    assert differences(cli, "-", stdin=rows) == ["m from 2999-01-01 00:00:00 UTC on: input 1 -> 3"]
    removal = "model,input,output\nm,,\n"
    assert differences(cli, "-", stdin=removal) == ["m: the list removes the price"]


def test_json_has_both_prices(cli: Cli, litellm: str) -> None:
    """JSON says whether all is equal, and how much was compared."""
    cli.ok("price", "import", litellm, "--only", "gpt-*", "--yes")
    cli.ok("price", "set", "gpt-two", "--input", "9", "--output", "2")
    result = cli.run("price", "check", litellm, "--json")
    answer = json.loads(result.stdout)
    [changed] = answer["changed"]
    assert (result.exit_code, answer["equal"], changed["input"], changed["before"]["input"]) == (1, False, "1", "9")
    assert (answer["unchanged"], answer["unpriced"], answer["new"], answer["removed"]) == (3, 4, [], [])


def test_nothing_to_compare_is_a_warning(cli: Cli, litellm: str) -> None:
    """Silence would look like equal prices."""
    result = cli.run("price", "check", litellm)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "Warning: no model of the list has a price here, so nothing was compared\n"


@pytest.mark.parametrize("content", ["", "{", "<html>", "model,input,output\nm,-1,1\n"])
def test_unreadable_list_is_no_difference(shared_cli: Cli, content: str) -> None:
    """The exit code is 2, so that a failed download is not taken for new prices."""
    [line] = shared_cli.refused("price", "check", "-", code=2, stdin=content)
    assert line.startswith("Error: standard input: ")


def test_missing_list_and_pattern_without_a_model_are_no_difference(shared_cli: Cli, litellm: str) -> None:
    """The exit code is 2."""
    assert shared_cli.refused("price", "check", "/nowhere", code=2)[0].startswith("Error: /nowhere: cannot be read")
    [line] = shared_cli.refused("price", "check", litellm, "--only", "gpt-9*", code=2)
    assert line.endswith("no model of the list matches 'gpt-9*'")
