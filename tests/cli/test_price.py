"""`chatgpt-agent price`: exact decimals, superseded and never changed."""

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Cli


def set_price(cli: Cli, model: str = "gpt-6-luna", input_: str = "0.15", output: str = "0.60", *more: str) -> None:
    """`price set`, which succeeds."""
    cli.ok("price", "set", model, "--input", input_, "--output", output, *more)


def prices(cli: Cli, *options: str) -> list[Any]:
    """`price list --json`."""
    rows: list[Any] = json.loads(cli.ok("price", "list", *options, "--json"))
    return rows


def table(cli: Cli, *options: str) -> list[list[str]]:
    """The cells of `price list` without the date."""
    in_force = cli.ok("price", "list", *options).partition("\n\n")[0]
    return [line.split()[:-2] for line in in_force.splitlines()[2:]]


def test_set_puts_a_price_in_force(cli: Cli) -> None:
    """Without a date, a price is in force from now on."""
    set_price(cli)
    assert table(cli) == [["gpt-6-luna", "0.15", "0.6"]]


def test_set_keeps_every_digit(cli: Cli) -> None:
    """Ten decimal places and seven digits before them are stored exactly."""
    set_price(cli, "m", "999999.0123456789", "0.0000000001")
    assert table(cli) == [["m", "999999.0123456789", "0.0000000001"]]


def test_set_takes_a_rate_for_cached_input(cli: Cli) -> None:
    """Without this rate, cached tokens cost the rate of the input."""
    set_price(cli, "a", "0.15", "0.60", "--cached-input", "0.075")
    set_price(cli, "b")
    assert [price["cached_input"] for price in prices(cli)] == ["0.075", None]


def test_zero_is_a_price(cli: Cli) -> None:
    """A model with rates of zero is in the list."""
    set_price(cli, "local", "0", "0")
    assert table(cli) == [["local", "0", "0"]]


@pytest.mark.parametrize("model", ["gpt-6-luna-2026-09-15", "meta/llama-3:8b", "ft:gpt-6-sol:org::id", "模型"])
def test_set_takes_the_name_of_any_model(cli: Cli, model: str) -> None:
    """Names are stored as they are given."""
    set_price(cli, model)
    assert [price["model"] for price in prices(cli)] == [model]


@pytest.mark.parametrize("model", ["", " m", "m ", "a\nb", "x" * 129])
def test_set_refuses_an_invalid_name_of_a_model(shared_cli: Cli, model: str) -> None:
    """The error is one line about the model."""
    [line] = shared_cli.refused("price", "set", model, "--input", "1", "--output", "1")
    assert line.startswith("Error: model: ")


@pytest.mark.parametrize(
    "model", ["gpt-6*", '"gpt-6-sol"', "MODEL=gpt-6-sol", "model=gpt-6-sol", "sk-made-up-0123456789abc"]
)
def test_set_refuses_a_model_that_is_probably_a_mistake(shared_cli: Cli, model: str) -> None:
    """A pattern, quotation marks, an assignment and a key are not the name of a model."""
    [line] = shared_cli.refused("price", "set", model, "--input", "1", "--output", "1")
    assert line.startswith("Error: model: ")


def test_model_that_looks_like_another_one_is_a_warning(cli: Cli) -> None:
    """Names of models are case-sensitive, so that `GPT-6-sol` would be another model."""
    set_price(cli, "gpt-6-sol")
    result = cli.run("price", "set", "GPT-6-sol", "--input", "1", "--output", "1")
    assert "the name 'GPT-6-sol' looks like that of another model, 'gpt-6-sol'" in result.stderr


RATES = [
    "--input", "--output", "--cached-input", "--cache-write", "--audio-input", "--audio-output", "--image-input",
    "--image-output",
]  # fmt: skip


def test_set_takes_a_rate_for_every_kind(cli: Cli) -> None:
    """Each option sets its own rate, and the table has a column for each."""
    arguments = [word for number, option in enumerate(RATES, 1) for word in (option, str(number))]
    cli.ok("price", "set", "m", *arguments)
    assert [prices(cli)[0][option[2:].replace("-", "_")] for option in RATES] == list("12345678")
    assert table(cli) == [["m", "1", "3", "2", "4", "5", "6", "7", "8"]]


def test_set_takes_tiers(cli: Cli) -> None:
    """The table lists tiers as they are typed, and JSON has all their fields."""
    tiers = ["flex:x0.5", "priority,above=272000:input=4.25,output=17"]
    set_price(cli, "m", "1", "2", *(part for tier in tiers for part in ("--tier", tier)))
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
def test_set_refuses_an_invalid_tier(shared_cli: Cli, tiers: list[str], message: str) -> None:
    """The error is one line with the tier, and nothing is set."""
    arguments = [part for tier in tiers for part in ("--tier", tier)]
    [line] = shared_cli.refused("price", "set", "m", "--input", "1", "--output", "1", *arguments, code=2)
    assert line.startswith(f"Error: {message}")
    assert prices(shared_cli, "--history") == []


BAD_NUMBERS = [
    "-1", "-0.0000000001", "nan", "snan", "inf", "-inf", "1e400", "1e-400", "1e-1000030", "1000000.0000000001",
    "0.12345678901", "cheap", "", " ", "1,5", "$1", "0x10", "1/2", "1\n2", "2e9\n",
    "1.00000000000000000000000000000000001",
]  # fmt: skip


@pytest.mark.parametrize("number", BAD_NUMBERS)
def test_set_refuses_an_invalid_rate(shared_cli: Cli, number: str) -> None:
    """The error is one line with the option, and nothing is set."""
    [line] = shared_cli.refused("price", "set", "m", "--output", "1", "--input", number, code=2)
    assert line.startswith("Error: --input: ")
    assert prices(shared_cli, "--history") == []


@pytest.mark.parametrize("option", RATES)
def test_set_names_the_invalid_option(shared_cli: Cli, option: str) -> None:
    """The error begins with the option of the invalid rate."""
    options = {"--input": "1", "--output": "1", option: "-1"}
    [line] = shared_cli.refused("price", "set", "m", *(part for pair in options.items() for part in pair), code=2)
    assert line.startswith(f"Error: {option}: ")


@pytest.mark.parametrize("missing", ["--input", "--output"])
def test_set_needs_both_rates(shared_cli: Cli, missing: str) -> None:
    """Without --input or --output, the exit code is 2 and the error names the missing option."""
    present = ({"--input", "--output"} - {missing}).pop()
    assert f"'{missing}'" in shared_cli.refused("price", "set", "m", present, "1", code=2)[-1]


@pytest.mark.parametrize(
    "date", ["tomorrow", "2026-02-30", "01.02.2026", "2026-01-01T25:00:00", "", "99999-01-01", "0001-01-01"]
)
def test_set_refuses_an_invalid_date(shared_cli: Cli, date: str) -> None:
    """The exit code is 2, and the error names the option."""
    lines = shared_cli.refused("price", "set", "m", "--input", "1", "--output", "1", "--from", date, code=2)
    assert "--from" in lines[-1]


def test_price_of_a_later_date_is_not_in_force(cli: Cli) -> None:
    """Until that date, the price before it stays in force."""
    set_price(cli, "m", "1", "1")
    set_price(cli, "m", "2", "2", "--from", "2999-01-01")
    assert table(cli) == [["m", "1", "1"]]


def test_list_shows_prices_to_come(cli: Cli) -> None:
    """A second table has their ids and dates, also the end of a price."""
    set_price(cli, "m", "1", "1")
    set_price(cli, "m", "2", "2", "--from", "2999-01-01")
    to_come = cli.ok("price", "list").partition("\n\n")[2].splitlines()
    assert to_come[0] == "To come; `price cancel ID` cancels one:"
    assert to_come[-1].split() == ["2", "m", "2", "2", "2999-01-01", "00:00:00"]
    assert [price["id"] for price in prices(cli, "--upcoming")] == [2]
    assert cli.ok("price", "list", "--upcoming").splitlines() == to_come[2:]


def test_cancelled_price_does_not_come(cli: Cli) -> None:
    """The list no longer has it, the history in JSON says when it was cancelled, and it cannot be cancelled again."""
    set_price(cli, "m", "2", "2", "--from", "2999-01-01")
    assert cli.ok("price", "cancel", "1") == "The price (id 1) of m from 2999-01-01 00:00:00 UTC on is cancelled.\n"
    assert "To come" not in cli.ok("price", "list")
    assert prices(cli, "--history")[0]["cancelled_at"] is not None
    assert cli.refused("price", "cancel", "1") == ["Error: price 1 of 'm' is cancelled already"]


def test_remove_says_which_prices_no_longer_come(cli: Cli) -> None:
    """A price of a later date would bring the model back."""
    set_price(cli, "m", "1", "1")
    set_price(cli, "m", "2", "2", "--from", "2999-01-01")
    assert cli.ok("price", "remove", "m").splitlines() == [
        "The price of m is removed.",
        "The price (id 2) from 2999-01-01 00:00:00 UTC on is cancelled.",
    ]


def test_remove_ends_what_lies_in_the_future_only(cli: Cli) -> None:
    """The output says that no price was in force."""
    set_price(cli, "m", "2", "2", "--from", "2999-01-01")
    removed = json.loads(cli.ok("price", "remove", "m", "--json"))
    assert [price["id"] for price in removed["cancelled"]] == [1]
    assert cli.refused("price", "remove", "m") == ["Error: the model 'm' has no price"]


def test_set_names_the_price_that_takes_its_place(cli: Cli) -> None:
    """A price of a later date, set before, is not forgotten."""
    set_price(cli, "m", "2", "2", "--from", "2999-01-01")
    out = cli.ok("price", "set", "m", "--input", "1", "--output", "2")
    assert out.splitlines()[-1] == "From 2999-01-01 00:00:00 UTC on, the price (id 1) takes its place."


def test_price_of_an_earlier_date_does_not_supersede_a_later_one(cli: Cli) -> None:
    """The date from which a price is in force counts, not the time at which it was set."""
    set_price(cli, "m", "1", "1")
    set_price(cli, "m", "2", "2", "--from", "2001-01-01")
    assert table(cli) == [["m", "1", "1"]]


def test_date_is_utc(cli: Cli) -> None:
    """The time zone of the machine does not matter."""
    set_price(cli, "m", "1", "1", "--from", "2026-01-02T03:04:05")
    assert prices(cli)[0]["effective_at"] == "2026-01-02T03:04:05Z"


def test_set_takes_the_first_and_the_last_date(cli: Cli) -> None:
    """The first and the last allowed time are stored and read back."""
    set_price(cli, "m", "1", "1", "--from", "2000-01-01")
    set_price(cli, "m", "2", "2", "--from", "9998-12-31T23:59:59")
    assert [price["input"] for price in prices(cli, "--history")] == ["1", "2"]


def test_new_price_supersedes_the_one_before(cli: Cli) -> None:
    """The list shows the price in force only."""
    set_price(cli, "m", "1", "1")
    set_price(cli, "m", "2", "2")
    assert table(cli) == [["m", "2", "2"]]


def test_history_shows_superseded_and_removed_prices(cli: Cli) -> None:
    """Prices are listed in the order in which they were in force."""
    set_price(cli, "m", "1", "1")
    set_price(cli, "m", "2", "2")
    cli.ok("price", "remove", "m")
    assert table(cli, "--history") == [["m", "1", "1"], ["m", "2", "2"], ["m", "removed"]]


def test_remove_ends_the_price_of_one_model(cli: Cli) -> None:
    """The prices of other models stay."""
    set_price(cli, "a")
    set_price(cli, "b")
    cli.ok("price", "remove", "a")
    assert [price["model"] for price in prices(cli)] == ["b"]


def test_removed_price_can_be_set_again(cli: Cli) -> None:
    """The new price is in force from then on."""
    set_price(cli, "m", "1", "1")
    cli.ok("price", "remove", "m")
    set_price(cli, "m", "3", "3")
    assert table(cli) == [["m", "3", "3"]]


def test_remove_of_a_model_without_a_price_is_refused(cli: Cli) -> None:
    """A price cannot be removed twice."""
    set_price(cli, "m")
    cli.ok("price", "remove", "m")
    assert cli.refused("price", "remove", "m") == ["Error: the model 'm' has no price"]


def test_list_without_prices_has_headings(shared_cli: Cli) -> None:
    """An empty table still has its headings."""
    assert shared_cli.ok("price", "list").splitlines()[0].split()[0] == "model"


def test_set_for_later_says_what_is_in_force_until_then(cli: Cli) -> None:
    """The output says that a price of a later date changes nothing now."""
    out = cli.ok("price", "set", "m", "--input", "1", "--output", "2", "--from", "2999-01-01")
    assert out.splitlines() == [
        "The price of m is set from 2999-01-01 00:00:00 UTC on.",
        "Until then, no price is in force.",
    ]


def test_set_for_the_past_says_what_is_in_force_now(cli: Cli) -> None:
    """The output says that a newer price stays in force."""
    set_price(cli, "m", "1", "2", "--from", "2020-06-01")
    out = cli.ok("price", "set", "m", "--input", "9", "--output", "9", "--from", "2020-01-01")
    assert out.splitlines()[-1] == "Now, the price of 2020-06-01 00:00:00 is in force."


def test_json_has_plain_numbers(cli: Cli) -> None:
    """Small rates have no exponent."""
    set_price(cli, "m", "0.0000000001", "2.50")
    assert [(price["input"], price["output"]) for price in prices(cli)] == [("0.0000000001", "2.5")]


# The documentation.


def test_documented_price_with_tiers_is_valid(cli: Cli) -> None:
    """The command in docs/prices.md works, and the list shows each of its tiers."""
    text = (Path(__file__).parents[2] / "docs/prices.md").read_text("utf-8")
    command = text.partition("```sh\nchatgpt-agent ")[2].partition("```")[0]
    arguments = shlex.split(command.replace("\\\n", " "))
    cli.ok(*arguments)
    tiers = [value for option, value in pairwise(arguments) if option == "--tier"]
    assert [len(tiers), *(cli.ok("price", "list").count(tier) for tier in tiers)] == [4, 1, 1, 1, 1]


# Files.


def test_export_can_be_imported(cli: Cli, empty_cli: Cli, tmp_path: Path) -> None:
    """An import changes nothing here, and makes the same prices and history in an empty database."""
    set_price(cli, "=m", "1", "2", "--tier", "flex:x0.5", "--from", "2020-01-01")
    set_price(cli, "=m", "3", "4", "--audio-input", "5")
    set_price(cli, "n")
    cli.ok("price", "remove", "n")
    file = tmp_path / "prices.csv"
    file.write_text(cli.ok("price", "export", "--history"))
    assert "\n'=m,2020-01-01T00:00:00Z,1,2," in file.read_text()
    assert cli.ok("price", "import", str(file)).splitlines()[0] == "0 new, 0 changed, 0 removed, 4 unchanged."
    empty_cli.ok("price", "import", str(file), "--yes")
    for options in (["--format", "csv"], ["--format", "json"]):
        again = empty_cli.ok("price", "export", "--history", *options)
        assert again == cli.ok("price", "export", "--history", *options)


def test_export_without_prices_is_valid(shared_cli: Cli) -> None:
    """CSV has its headings, and JSON is an empty list."""
    assert shared_cli.ok("price", "export").startswith("model,effective_at,input,output,cached_input,")
    assert shared_cli.ok("price", "export", "--format", "json") == "[]\n"
