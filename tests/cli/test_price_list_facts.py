"""What LiteLLM's list says beside prices: fees of tools, factors of regions, and days of shutdown."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Cli
from tests.support.litellm_shapes import SHAPES

EU = "eu.api.openai.com"
SEARCH = {f"search_context_size_{size}": 0.01 for size in ("low", "medium", "high")}


def entry(**keys: Any) -> dict[str, Any]:
    """A priced model."""
    price = {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06}
    return {**price, "litellm_provider": "openai", "mode": "chat", **keys}


def import_(cli: Cli, entries: dict[str, Any], *options: str) -> str:
    """`price import` of a list from standard input."""
    return cli.ok("price", "import", "-", *options, stdin=json.dumps(entries))


def amounts(cli: Cli) -> dict[tuple[str, str, str], str]:
    """The surcharges in force, by kind, host and model."""
    rows = json.loads(cli.ok("price", "surcharge", "list", "--json"))
    return {(row["kind"], row["host"], row["model"]): row["amount"] for row in rows}


@pytest.fixture
def eu(cli: Cli) -> Cli:
    """The program with an upstream in the EU."""
    cli.settings["OPENAI_URL"] = f"https://{EU}/v1/chat/completions"
    return cli


def test_whole_list_is_imported_once(cli: Cli) -> None:
    """One entry of each shape; afterwards nothing differs."""
    cli.ok("price", "import", str(SHAPES), "--yes")
    assert cli.ok("price", "import", str(SHAPES)).splitlines()[-1] == "There is nothing to set."
    assert cli.ok("price", "check", str(SHAPES)) == ""
    prices = {price["model"]: price for price in json.loads(cli.ok("price", "list", "--json"))}
    assert (prices["gpt-transcribe"]["minute"], prices["whisper-1"]["minute"]) == ("0.0045", "0.006")
    assert (prices["gpt-6-sol"]["cache_write"], prices["gpt-6-sol"]["cache_write_12h"]) == ("2.5", "5")
    assert (prices["gpt-image-2"]["cached_input"], prices["gpt-image-2"]["cached_image"]) == ("1.25", "2")


def test_fees_are_shown_and_then_set(cli: Cli) -> None:
    """Models with the same fee have one line."""
    entries = {name: entry(search_context_cost_per_query=SEARCH) for name in ("a", "b", "c", "d")}
    out = import_(cli, entries)
    assert "web_search" in out
    assert "a, b, c and 1 more" in out
    assert amounts(cli) == {}
    import_(cli, entries, "--yes")
    assert amounts(cli) == {("web_search", "", name): "0.01" for name in entries}


def test_changed_fee_is_shown_as_old_and_new(cli: Cli) -> None:
    """A fee for every model counts as that of each."""
    cli.ok("price", "surcharge", "set", "web_search", "0.01")
    assert "Surcharges: 0 new, 0 changed, 1 unchanged." in import_(
        cli, {"m": entry(search_context_cost_per_query=SEARCH)}
    )
    dearer = {"m": entry(search_context_cost_per_query={**SEARCH, "search_context_size_high": 0.025})}
    result = cli.run("price", "import", "-", "--yes", stdin=json.dumps(dearer))
    assert "0.01 -> 0.025" in result.stdout
    assert "a web search of m costs 0.01 to 0.025 USD by the size of its context: 0.025 is taken" in result.stderr
    assert amounts(cli) == {("web_search", "", ""): "0.01", ("web_search", "", "m"): "0.025"}


def test_region_sets_factors_of_the_host(eu: Cli) -> None:
    """Without --region a warning says that they are missing."""
    entries = {"m": entry(regional_processing_uplift_multiplier_eu=1.1, regional_processing_uplift_multiplier_us=1.2)}
    result = eu.run("price", "import", "-", stdin=json.dumps(entries))
    assert result.stderr == f"Warning: requests to {EU} cost more than these prices: give the region eu\n"
    import_(eu, entries, "--region", "eu", "--yes")
    assert amounts(eu) == {("multiplier", EU, "m"): "1.1"}
    assert eu.run("price", "import", "-", stdin=json.dumps(entries)).stderr == ""


def test_region_without_factors_is_a_warning(cli: Cli) -> None:
    """CSV has none, and neither may LiteLLM's list."""
    for text in ("model,input,output\nm,1,2\n", json.dumps({"m": entry()})):
        result = cli.run("price", "import", "-", "--region", "us", stdin=text)
        assert result.stderr == "Warning: the list has no factors of the region us\n"


def test_check_compares_fees_and_factors(eu: Cli) -> None:
    """Each that differs is one line."""
    entries = {"m": entry(regional_processing_uplift_multiplier_eu=1.1, search_context_cost_per_query=SEARCH)}
    entries["new"] = entry(search_context_cost_per_query=SEARCH)
    eu.ok("price", "set", "m", "--input", "1", "--output", "2")
    result = eu.run("price", "check", "-", "--region", "eu", stdin=json.dumps(entries))
    assert (result.exit_code, result.stdout.splitlines()) == (
        1,
        ["m: web_search none -> 0.01", f"m: multiplier on {EU} none -> 1.1"],
    )


def test_json_has_fees_and_days(cli: Cli) -> None:
    """Each with what is in force here."""
    entries = {"m": entry(search_context_cost_per_query=SEARCH, deprecation_date="2027-02-26")}
    result = json.loads(import_(cli, entries, "--json"))
    [fee] = result["surcharges"]
    assert (fee["kind"], fee["model"], fee["amount"], fee["before"]) == ("web_search", "m", "0.01", None)
    assert result["shutdown_dates"] == [{"model": "m", "shutdown_date": "2027-02-26", "before": None}]


def test_days_of_shutdown_follow_the_list(cli: Cli) -> None:
    """A later list may move a day or remove it; models that it does not name keep theirs."""
    entries = {name: entry(deprecation_date="2027-02-26") for name in ("a", "b", "c")}
    assert "Shutdown dates: 3 new, 0 changed, 0 removed." in import_(cli, entries, "--yes")
    later = {"a": entry(deprecation_date="2027-03-01"), "b": entry()}
    assert "Shutdown dates: 0 new, 1 changed, 1 removed." in import_(cli, later, "--yes")
    days = {price["model"]: price["shutdown_date"] for price in json.loads(cli.ok("price", "list", "--json"))}
    assert days == {"a": "2027-03-01", "b": None, "c": "2027-02-26"}


def test_list_warns_of_models_that_end(cli: Cli) -> None:
    """Those of the next 60 days by day, and those that have ended."""
    today = datetime.now(UTC).date()
    days = {name: today + timedelta(days=number) for name, number in (("gone", -9), ("soon", 9), ("later", 90))}
    entries = {name: entry(deprecation_date=str(day)) for name, day in days.items()}
    import_(cli, {**entries, "too": entries["soon"], "open": entry()}, "--yes")
    for options in ([], ["--json"]):
        assert cli.run("price", "list", *options).stderr.splitlines() == [
            "Warning: OpenAI has shut down gone: the prices are no longer needed",
            f"Warning: OpenAI shuts down soon, too on {days['soon']}",
        ]
    soon = {price["model"]: price["shutdown_soon"] for price in json.loads(cli.ok("price", "list", "--json"))}
    assert soon == {"gone": True, "soon": True, "too": True, "later": False, "open": False}


def test_invalid_fee_sets_nothing(cli: Cli) -> None:
    """The list is refused as a whole."""
    entries = {"m": entry(), "n": entry(code_interpreter_cost_per_session="0.03")}
    [line] = cli.refused("price", "import", "-", "--yes", stdin=json.dumps(entries))
    assert line == "Error: standard input: n, code_interpreter_cost_per_session: '0.03' is not a number"
    assert json.loads(cli.ok("price", "list", "--json")) == []


def test_csv_leaves_days_and_fees_alone(cli: Cli, tmp_path: Path) -> None:
    """CSV has prices only."""
    import_(cli, {"m": entry(search_context_cost_per_query=SEARCH, deprecation_date="2027-02-26")}, "--yes")
    (tmp_path / "prices.csv").write_text(cli.ok("price", "export"))
    out = cli.ok("price", "import", str(tmp_path / "prices.csv"), "--yes")
    assert out.splitlines() == ["0 new, 0 changed, 0 removed, 1 unchanged.", "There is nothing to set."]
    assert amounts(cli) == {("web_search", "", "m"): "0.01"}
