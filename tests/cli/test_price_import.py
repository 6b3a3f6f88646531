"""`chatgpt-agent price import`: shown first, set with --yes, all of it or nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Cli
from tests.support.litellm import LIST


@pytest.fixture
def litellm(tmp_path: Path) -> str:
    """The path of a list in LiteLLM's form."""
    (tmp_path / "list.json").write_text(json.dumps(LIST))
    return str(tmp_path / "list.json")


def prices(cli: Cli) -> dict[str, Any]:
    """The prices in force, by model."""
    return {price["model"]: price for price in json.loads(cli.ok("price", "list", "--json"))}


def test_import_without_yes_only_shows_the_changes(cli: Cli, litellm: str) -> None:
    """The last line says how to set the prices."""
    out = cli.ok("price", "import", litellm).splitlines()
    assert out[-4:] == [
        "8 new, 0 changed, 0 removed, 0 unchanged.",
        "Surcharges: 1 new, 0 changed, 0 unchanged.",
        "Skipped: 2 (another provider), 1 (duplicate of gpt-one), 1 (mode realtime), 1 (no price per token), "
        "1 (priced per image), 1 (priced per pixel), 1 (separate price for reasoning tokens).",
        "Nothing is set yet: give --yes to set the prices.",
    ]
    assert prices(cli) == {}


def test_import_with_yes_sets_the_prices(cli: Cli, litellm: str) -> None:
    """A second import of the same list has nothing to set."""
    assert cli.ok("price", "import", litellm, "--yes").splitlines()[-1] == "The prices are set."
    assert prices(cli)["gpt-sound"]["audio_output"] == "80"
    again = cli.ok("price", "import", litellm, "--yes").splitlines()
    assert (again[0], again[-1]) == ("0 new, 0 changed, 0 removed, 8 unchanged.", "There is nothing to set.")


def test_change_is_shown_as_old_and_new(cli: Cli, litellm: str) -> None:
    """Rates and tiers are compared one by one."""
    cli.ok(
        "price", "set", "gpt-two", "--input", "2.5", "--output", "2", "--cached-input", "1",
        "--tier", "priority:x2", "--from", "2020-01-01",
    )  # fmt: skip
    out = cli.ok("price", "import", litellm, "--only", "gpt-two", "--from", "2030-01-01")
    cells = out.splitlines()[2].split("  ")
    assert [cell.strip() for cell in cells if cell] == [
        "changed", "gpt-two", "2.5 -> 1", "1 -> none", "2", "- priority:x2", "2030-01-01 00:00:00",
    ]  # fmt: skip
    assert out.splitlines()[3].strip() == "+ priority:input=3,output=2"


def test_only_chooses_models(cli: Cli, litellm: str) -> None:
    """Repeated, --only chooses the models that match any of the patterns."""
    cli.ok("price", "import", litellm, "--only", "vectors-*", "--only", "gpt-on?", "--yes")
    assert sorted(prices(cli)) == ["gpt-one", "vectors-bare", "vectors-small"]


def test_pattern_that_matches_no_model_is_refused(cli: Cli, litellm: str) -> None:
    """Nothing is set, also not the models of other patterns."""
    [line] = cli.refused("price", "import", litellm, "--only", "gpt-one", "--only", "gpt-9*", "--yes")
    assert line.endswith("no model of the list matches 'gpt-9*'")
    assert prices(cli) == {}


def test_new_model_that_is_probably_a_mistake_is_a_warning(cli: Cli, tmp_path: Path) -> None:
    """The price can be set nevertheless."""
    file = tmp_path / "prices.csv"
    file.write_text("model,input,output\ngpt-6*,1,1\n")
    assert "'gpt-6*' is a pattern" in cli.run("price", "import", str(file)).stderr


def test_from_sets_the_date(cli: Cli, litellm: str) -> None:
    """All prices of the list take effect on that date."""
    cli.ok("price", "import", litellm, "--from", "2020-01-02", "--yes")
    assert {price["effective_at"] for price in prices(cli).values()} == {"2020-01-02T00:00:00Z"}


def test_json_has_every_change(cli: Cli, litellm: str, tmp_path: Path) -> None:
    """JSON has the new, changed, removed, unchanged and skipped prices, and whether they were set."""
    cli.ok("price", "import", litellm, "--yes")
    file = tmp_path / "prices.csv"
    file.write_text("model,input,output\ngpt-one,9,9\ngpt-two,,\nvectors-bare,0.02,0\nx,1,1\n")
    result = json.loads(cli.ok("price", "import", str(file), "--json"))
    assert [price["model"] for kind in ("new", "changed", "removed") for price in result[kind]] == [
        "x",
        "gpt-one",
        "gpt-two",
    ]
    [changed] = result["changed"]
    assert (changed["input"], changed["before"]["input"], result["new"][0]["before"]) == ("9", "2.5", None)
    assert (result["unchanged"], result["skipped"], result["applied"]) == (1, [], False)


def test_row_without_rates_removes_a_price(cli: Cli, tmp_path: Path) -> None:
    """The removal is shown before it is applied."""
    cli.ok("price", "set", "m", "--input", "1", "--output", "2")
    file = tmp_path / "prices.csv"
    file.write_text("model,input,output\nm,,\n")
    out = cli.ok("price", "import", str(file), "--yes").splitlines()
    assert out[2].split("  ")[0] == "removed"
    assert "1 -> none" in out[2]
    assert prices(cli) == {}


def test_invalid_row_sets_nothing(shared_cli: Cli, tmp_path: Path) -> None:
    """The error is one line with the row, and the exit code is 1."""
    file = tmp_path / "prices.csv"
    file.write_text("model,input,output\na,1,1\nb,-1,1\n")
    [line] = shared_cli.refused("price", "import", str(file), "--yes")
    assert line == f"Error: {file}: row 3: input: -1 is not between 0 and 1000000"
    assert prices(shared_cli) == {}


def test_missing_file_is_refused(shared_cli: Cli) -> None:
    """The error is one line with the name of the file."""
    assert shared_cli.refused("price", "import", "/nowhere") == [
        "Error: /nowhere: cannot be read: No such file or directory"
    ]


def test_list_is_read_from_standard_input(cli: Cli) -> None:
    """The name - stands for it, as for `user import`."""
    cli.ok("price", "import", "-", "--yes", stdin="model,input,output\nm,1,2\n")
    assert prices(cli)["m"]["output"] == "2"


def test_rates_that_are_not_taken_are_named(cli: Cli) -> None:
    """What this program does not know is a warning, and in JSON, with its models."""
    price = {"input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06, "output_cost_per_song": 1}
    entries = {"gpt-one": {**price, "litellm_provider": "openai", "mode": "chat"}}
    result = cli.run("price", "import", "-", stdin=json.dumps(entries))
    assert "Warning: output_cost_per_song of gpt-one is not taken" in result.stderr
    ignored = json.loads(cli.ok("price", "import", "-", "--json", stdin=json.dumps(entries)))["ignored_rates"]
    assert ignored == {"output_cost_per_song": ["gpt-one"]}


def test_verbose_lists_every_skipped_entry(cli: Cli, litellm: str) -> None:
    """Each entry of OpenAI has a line with its reason; those of other providers are only counted."""
    out = cli.ok("price", "import", litellm, "--verbose")
    rows = [line.split("  ") for line in out.partition("skipped ")[2].partition("\n\n")[0].splitlines()[2:]]
    skipped = json.loads(cli.ok("price", "import", litellm, "--json"))["skipped"]
    expected = [(each["model"], each["reason"]) for each in skipped if each["reason"] != "another provider"]
    assert [(row[0], row[-1].strip()) for row in rows] == sorted(expected)


def test_long_difference_is_summarized(cli: Cli) -> None:
    """The first 40 changes are shown, removals and changes before new prices; --show shows all of a kind."""
    cli.ok("price", "set", "z", "--input", "1", "--output", "1")
    text = "model,input,output\n" + "".join(f"m{number},1,1\n" for number in range(60)) + "z,2,2\n"
    lines = cli.ok("price", "import", "-", stdin=text).splitlines()
    assert lines[2].startswith("changed")
    assert "And 21 more: --show new, --only PATTERN or --json shows them." in lines
    assert cli.ok("price", "import", "-", "--show", "new", stdin=text).count("\nnew ") == 60
    assert "\nnew " not in cli.ok("price", "import", "-", "--show", "changed", stdin=text)
