"""`chatgpt-agent price`: exact decimals, superseded and never changed."""

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import Cli


def set_price(cli: Cli, model: str = "gpt-4o-mini", input_: str = "0.15", output: str = "0.60", *more: str) -> None:
    """`price set`, which succeeds."""
    cli.ok("price", "set", model, "--input", input_, "--output", output, *more)


def prices(cli: Cli, *words: str) -> list[Any]:
    """`price list --json`."""
    found: list[Any] = json.loads(cli.ok("price", "list", *words, "--json"))
    return found


def table(cli: Cli, *words: str) -> list[list[str]]:
    """The cells of `price list` without the date."""
    return [line.split()[:-2] for line in cli.ok("price", "list", *words).splitlines()[2:]]


def test_set_puts_a_price_in_force(cli: Cli) -> None:
    """From now on, where no date is given."""
    set_price(cli)
    assert table(cli) == [["gpt-4o-mini", "0.15", "0.6"]]


def test_set_keeps_every_digit(cli: Cli) -> None:
    """Ten decimal places and seven before them: no float is on the way."""
    set_price(cli, "m", "999999.0123456789", "0.0000000001")
    assert table(cli) == [["m", "999999.0123456789", "0.0000000001"]]


def test_set_takes_a_price_for_cached_input(cli: Cli) -> None:
    """Without one, cached tokens cost what others do."""
    set_price(cli, "a", "0.15", "0.60", "--cached-input", "0.075")
    set_price(cli, "b")
    assert [price["cached_input"] for price in prices(cli)] == ["0.075", None]


def test_a_free_model_is_no_model_without_a_price(cli: Cli) -> None:
    """Zero is a price."""
    set_price(cli, "local", "0", "0")
    assert table(cli) == [["local", "0", "0"]]


@pytest.mark.parametrize("model", ["gpt-4o-mini-2024-07-18", "meta/llama-3:8b", "ft:gpt-4o:org::id", "模型"])
def test_set_takes_any_models_name(cli: Cli, model: str) -> None:
    """Names are matched as they are."""
    set_price(cli, model)
    assert [price["model"] for price in prices(cli)] == [model]


@pytest.mark.parametrize("model", ["", " m", "m ", "a\nb", "x" * 129])
def test_set_refuses_what_no_request_can_name(shared_cli: Cli, model: str) -> None:
    """In one line."""
    [line] = shared_cli.refused("price", "set", model, "--input", "1", "--output", "1")
    assert line.startswith("Error: model: ")


RATES = [
    "--input", "--output", "--cached-input", "--cache-write", "--audio-input", "--audio-output", "--image-input",
    "--image-output",
]  # fmt: skip


def test_set_takes_a_rate_for_every_kind(cli: Cli) -> None:
    """Each ends where it belongs; the table has a column for those that are there."""
    words = [word for number, option in enumerate(RATES, 1) for word in (option, str(number))]
    cli.ok("price", "set", "m", *words)
    assert [prices(cli)[0][option[2:].replace("-", "_")] for option in RATES] == list("12345678")
    assert table(cli) == [["m", "1", "3", "2", "4", "5", "6", "7", "8"]]


def test_set_takes_tiers(cli: Cli) -> None:
    """They are listed as they are typed, a line each, and whole as JSON."""
    tiers = ["flex:x0.5", "priority,above=272000:input=4.25,output=17"]
    set_price(cli, "m", "1", "2", *(word for tier in tiers for word in ("--tier", tier)))
    assert [tier for tier in tiers if tier in cli.ok("price", "list")] == tiers
    [flex, priority] = prices(cli)[0]["tiers"]
    assert (flex["service_tier"], flex["above"], flex["multiplier"], flex["input"]) == ("flex", 0, "0.5", None)
    assert (priority["above"], priority["multiplier"], priority["output"]) == (272_000, None, "17")


@pytest.mark.parametrize(
    ("tiers", "message"),
    [
        (["flex=0.5"], "--tier 'flex=0.5': give WHEN:WHAT"),
        (["flex:input=1,output=x"], "--tier 'flex:input=1,output=x': output: 'x' is not a number"),
        (["flex:xNaN"], "--tier 'flex:xNaN': flex, multiplier: NaN is not between"),
        (["flex:x1", "flex:x2"], "duplicate tier"),
    ],
)
def test_set_refuses_a_tier_that_is_none(shared_cli: Cli, tiers: list[str], message: str) -> None:
    """In one line, and nothing is set."""
    words = [word for tier in tiers for word in ("--tier", tier)]
    [line] = shared_cli.refused("price", "set", "m", "--input", "1", "--output", "1", *words)
    assert line.startswith(f"Error: {message}")
    assert prices(shared_cli, "--history") == []


BAD_NUMBERS = [
    "-1", "-0.0000000001", "nan", "snan", "inf", "-inf", "1e400", "1e-400", "1e-1000030", "1000000.0000000001",
    "0.12345678901", "cheap", "", " ", "1,5", "$1", "0x10", "1/2", "1\n2", "2e9\n",
    "1.00000000000000000000000000000000001",
]  # fmt: skip


@pytest.mark.parametrize("number", BAD_NUMBERS)
def test_set_refuses_what_is_no_price(shared_cli: Cli, number: str) -> None:
    """One line that names the option, and nothing is set."""
    [line] = shared_cli.refused("price", "set", "m", "--output", "1", "--input", number)
    assert line.startswith("Error: --input: ")
    assert prices(shared_cli, "--history") == []


@pytest.mark.parametrize("option", RATES)
def test_set_names_the_option_that_is_wrong(shared_cli: Cli, option: str) -> None:
    """Of all."""
    words = {"--input": "1", "--output": "1", option: "-1"}
    [line] = shared_cli.refused("price", "set", "m", *(word for pair in words.items() for word in pair))
    assert line.startswith(f"Error: {option}: ")


@pytest.mark.parametrize("missing", ["--input", "--output"])
def test_set_needs_both_prices(shared_cli: Cli, missing: str) -> None:
    """Exit code 2, naming the one that is missing."""
    given = ({"--input", "--output"} - {missing}).pop()
    assert f"'{missing}'" in shared_cli.refused("price", "set", "m", given, "1", code=2)[-1]


@pytest.mark.parametrize("date", ["tomorrow", "2026-02-30", "01.02.2026", "2026-01-01T25:00:00", "", "99999-01-01"])
def test_set_takes_a_date(shared_cli: Cli, date: str) -> None:
    """Exit code 2 for what is none."""
    lines = shared_cli.refused("price", "set", "m", "--input", "1", "--output", "1", "--from", date, code=2)
    assert "--from" in lines[-1]


def test_a_price_from_a_later_day_is_not_in_force(cli: Cli) -> None:
    """The one before it is, until then."""
    set_price(cli, "m", "1", "1")
    set_price(cli, "m", "2", "2", "--from", "2999-01-01")
    assert table(cli) == [["m", "1", "1"]]


def test_a_price_from_an_earlier_day_does_not_supersede_a_later_one(cli: Cli) -> None:
    """What counts is the day from which it is in force, not the day on which it was typed."""
    set_price(cli, "m", "1", "1")
    set_price(cli, "m", "2", "2", "--from", "2001-01-01")
    assert table(cli) == [["m", "1", "1"]]


def test_a_date_is_utc(cli: Cli) -> None:
    """Whatever the machine's time zone is."""
    set_price(cli, "m", "1", "1", "--from", "2026-01-02T03:04:05")
    assert prices(cli)[0]["effective_at"] == "2026-01-02T03:04:05Z"


def test_the_first_and_the_last_day_can_be_given(cli: Cli) -> None:
    """A date at either end of the calendar is read back."""
    set_price(cli, "m", "1", "1", "--from", "0001-01-01")
    set_price(cli, "m", "2", "2", "--from", "9999-12-31T23:59:59")
    assert [price["input"] for price in prices(cli, "--history")] == ["1", "2"]


def test_a_new_price_supersedes_the_one_before(cli: Cli) -> None:
    """The list shows what is in force."""
    set_price(cli, "m", "1", "1")
    set_price(cli, "m", "2", "2")
    assert table(cli) == [["m", "2", "2"]]


def test_the_history_shows_superseded_and_removed_prices(cli: Cli) -> None:
    """In the order in which they were in force."""
    set_price(cli, "m", "1", "1")
    set_price(cli, "m", "2", "2")
    cli.ok("price", "remove", "m")
    assert table(cli, "--history") == [["m", "1", "1"], ["m", "2", "2"], ["m", "removed"]]


def test_remove_takes_a_price_away(cli: Cli) -> None:
    """Other models keep theirs."""
    set_price(cli, "a")
    set_price(cli, "b")
    cli.ok("price", "remove", "a")
    assert [price["model"] for price in prices(cli)] == ["b"]


def test_a_removed_price_can_be_set_again(cli: Cli) -> None:
    """From then on it is in force."""
    set_price(cli, "m", "1", "1")
    cli.ok("price", "remove", "m")
    set_price(cli, "m", "3", "3")
    assert table(cli) == [["m", "3", "3"]]


def test_remove_of_a_model_without_a_price_is_refused(cli: Cli) -> None:
    """Once it is removed there is nothing to remove: one line, exit code 1."""
    set_price(cli, "m")
    cli.ok("price", "remove", "m")
    assert cli.refused("price", "remove", "m") == ["Error: the model 'm' has no price"]


def test_list_of_nothing_is_an_empty_table(shared_cli: Cli) -> None:
    """The headings stand there all the same."""
    assert shared_cli.ok("price", "list").splitlines()[0].split()[0] == "model"


def test_set_for_later_says_what_is_in_force_until_then(cli: Cli) -> None:
    """A price of the future changes nothing today."""
    out = cli.ok("price", "set", "m", "--input", "1", "--output", "2", "--from", "2999-01-01")
    assert out.splitlines() == [
        "The price of m is set from 2999-01-01 00:00:00 UTC on.",
        "Until then, no price is in force.",
    ]


def test_set_for_the_past_says_that_a_newer_price_stays(cli: Cli) -> None:
    """Somebody who mends the past should know that today is not touched."""
    set_price(cli, "m", "1", "2", "--from", "2020-06-01")
    out = cli.ok("price", "set", "m", "--input", "9", "--output", "9", "--from", "2020-01-01")
    assert out.splitlines()[-1] == "Now, the price of 2020-06-01 00:00:00 is in force."


def test_json_has_plain_numbers(cli: Cli) -> None:
    """A small price is not written as 1E-10."""
    set_price(cli, "m", "0.0000000001", "2.50")
    assert [(price["input"], price["output"]) for price in prices(cli)] == [("0.0000000001", "2.5")]


# The documentation.


def test_the_documented_price_is_one(cli: Cli) -> None:
    """The command with tiers is taken as it stands there, and the list shows each of them."""
    text = (Path(__file__).parents[2] / "docs/prices.md").read_text("utf-8")
    command = text.partition("```sh\nchatgpt-agent ")[2].partition("```")[0]
    words = shlex.split(command.replace("\\\n", " "))
    cli.ok(*words)
    tiers = [word for option, word in pairwise(words) if option == "--tier"]
    assert [len(tiers), *(cli.ok("price", "list").count(tier) for tier in tiers)] == [4, 1, 1, 1, 1]


# Files.


def test_export_is_imported_again(cli: Cli, empty_cli: Cli, tmp_path: Path) -> None:
    """On another machine it makes the same prices, history and all; here it changes nothing."""
    set_price(cli, "=m", "1", "2", "--tier", "flex:x0.5", "--from", "2020-01-01")
    set_price(cli, "=m", "3", "4", "--audio-input", "5")
    set_price(cli, "n")
    cli.ok("price", "remove", "n")
    file = tmp_path / "prices.csv"
    file.write_text(cli.ok("price", "export", "--history"))
    assert "\n'=m,2020-01-01T00:00:00Z,1,2," in file.read_text()
    assert cli.ok("price", "import", str(file)).splitlines()[0] == "0 new, 0 changed, 0 removed, 4 unchanged."
    empty_cli.ok("price", "import", str(file), "--yes")
    for words in (["--format", "csv"], ["--format", "json"]):
        again = empty_cli.ok("price", "export", "--history", *words)
        assert again == cli.ok("price", "export", "--history", *words)


def test_export_of_nothing_has_headings(shared_cli: Cli) -> None:
    """Or is an empty list."""
    assert shared_cli.ok("price", "export").startswith("model,effective_at,input,output,cached_input,")
    assert shared_cli.ok("price", "export", "--format", "json") == "[]\n"
