"""`chatgpt-agent price surcharge`: fees of tools and factors of hosts, dated as prices are."""

import json
from typing import Any

import pytest

from tests.support.commands import Cli


def surcharges(cli: Cli, *options: str) -> list[Any]:
    """`price surcharge list --json`."""
    rows: list[Any] = json.loads(cli.ok("price", "surcharge", "list", *options, "--json"))
    return rows


def set_(cli: Cli, *args: str) -> str:
    """`price surcharge set`, which succeeds."""
    return cli.ok("price", "surcharge", "set", *args)


def test_fee_is_for_every_model(cli: Cli) -> None:
    """Without --model it is for all that have no fee of their own."""
    assert set_(cli, "web_search", "0.01").startswith("The surcharge web_search for every model is set from 2")
    [row] = surcharges(cli)
    assert (row["kind"], row["host"], row["model"], row["amount"]) == ("web_search", "", "", "0.01")


def test_fee_of_a_thousand_calls_is_divided(cli: Cli) -> None:
    """OpenAI lists searches in files by the thousand."""
    set_(cli, "file_search", "2.50", "--per-1000")
    assert surcharges(cli)[0]["amount"] == "0.0025"


def test_fee_of_a_model_is_beside_that_of_all(cli: Cli) -> None:
    """Both are in force."""
    cli.ok("price", "set", "gpt-6-sol", "--input", "2", "--output", "10")
    set_(cli, "web_search", "0.01")
    set_(cli, "web_search", "0.025", "--model", "gpt-6-sol")
    assert [(row["model"], row["amount"]) for row in surcharges(cli)] == [("", "0.01"), ("gpt-6-sol", "0.025")]


def test_factor_is_for_the_configured_host(cli: Cli) -> None:
    """--host names another one."""
    cli.settings["OPENAI_URL"] = "https://eu.api.openai.com/v1/chat/completions"
    set_(cli, "multiplier", "1.1")
    set_(cli, "multiplier", "1.2", "--host", "us.api.openai.com")
    assert [(row["host"], row["amount"]) for row in surcharges(cli)] == [
        ("eu.api.openai.com", "1.1"),
        ("us.api.openai.com", "1.2"),
    ]


def test_surcharge_can_end(cli: Cli) -> None:
    """The history has both, the list neither."""
    set_(cli, "web_search", "0.01")
    assert "The surcharge web_search for every model ends from " in set_(cli, "web_search", "none")
    assert surcharges(cli) == []
    assert [row["amount"] for row in surcharges(cli, "--history")] == ["0.01", None]


def test_surcharge_of_a_later_date_can_be_cancelled(cli: Cli) -> None:
    """The list shows it with its ID until then, and a price set before it says what takes its place."""
    set_(cli, "web_search", "0.02", "--from", "2999-01-01")
    assert set_(cli, "web_search", "0.01").splitlines()[-1] == "From 2999-01-01 00:00:00 UTC on, it is 0.02 (id 1)."
    to_come = cli.ok("price", "surcharge", "list").partition("\n\n")[2].splitlines()
    assert to_come[0] == "To come; `price surcharge cancel ID` cancels one:"
    assert to_come[-1].split()[:2] == ["1", "web_search"]
    assert cli.ok("price", "surcharge", "cancel", "1") == (
        "The surcharge web_search for every model (id 1) from 2999-01-01 00:00:00 UTC on is cancelled.\n"
    )
    assert surcharges(cli, "--upcoming") == []
    assert cli.refused("price", "surcharge", "cancel", "1") == ["Error: surcharge 1 is cancelled already"]


def test_surcharge_in_force_cannot_be_cancelled(cli: Cli) -> None:
    """Requests were charged it."""
    set_(cli, "web_search", "0.01")
    [line] = cli.refused("price", "surcharge", "cancel", "1")
    assert line.startswith("Error: surcharge 1 took effect at ")
    assert cli.refused("price", "surcharge", "cancel", "2") == ["Error: there is no surcharge 2"]


def test_surcharge_on_a_model_without_a_price_is_a_warning(cli: Cli) -> None:
    """Requests for it are refused anyway."""
    result = cli.run("price", "surcharge", "set", "web_search", "0.01", "--model", "gpt-6-soll")
    assert (result.exit_code, result.stderr) == (0, "Warning: the model 'gpt-6-soll' has no price\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["web_search", "cheap"], "Error: AMOUNT: 'cheap' is not an amount, such as 0.01; `none` ends a surcharge"),
        (["web_search", "nan"], "Error: AMOUNT: 'nan' is not an amount"),
        (["web_search", "1e400", "--per-1000"], "Error: AMOUNT: '1e400' is not an amount"),
        (["web_search", "0.00000000001"], "Error: amount: 1E-11 is not between 0 and 1000"),
        (["web_search", "1001"], "Error: amount: 1001 is not between 0 and 1000"),
        (["multiplier", "0.5"], "Error: amount: 0.5 is not between 1 and 1000"),
        (["web_search", "1", "--model", "gpt-6*"], "Error: --model: 'gpt-6*' is a pattern"),
        (["web_search", "1", "--host", "h"], "Error: --host is for a multiplier"),
        (["multiplier", "1.1", "--per-1000"], "Error: --per-1000 is not for a multiplier"),
    ],
)
def test_invalid_surcharge_is_refused(shared_cli: Cli, args: list[str], message: str) -> None:
    """The exit code is 2, and nothing is set."""
    assert shared_cli.refused("price", "surcharge", "set", *args, code=2)[-1].startswith(message)
    assert surcharges(shared_cli, "--history") == []
