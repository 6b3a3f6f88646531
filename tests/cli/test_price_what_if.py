"""`chatgpt-agent price what-if`: history at other prices."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.adapters.postgres.prices import list_prices
from chatgpt_agent.adapters.postgres.usage import ensure_partition, ship
from chatgpt_agent.core.ledger import Row, State
from chatgpt_agent.core.usage import Usage
from tests.support.commands import Cli
from tests.support.database import query
from tests.support.factories import NOON, make_intent

DAY = f"{NOON:%Y-%m-%d}"


@pytest.fixture
def cli(cli: Cli) -> Cli:
    """With two models, of which the dear one had a million tokens, and another model's one million."""
    cli.ok("price", "set", "dear", "--input", "4", "--output", "8", "--tier", "flex:x0.5", "--from", "2020-01-01")
    cli.ok("price", "set", "cheap", "--input", "1", "--output", "1", "--from", "2020-01-01")
    asyncio.run(fill(cli.settings["DATABASE_URL"]))
    return cli


async def fill(dsn: str) -> None:
    """Rows: 4, 2 and 1 USD."""
    async with Store(dsn) as store:
        await ensure_partition(store, NOON)
        prices = {price.model: price for price in await list_prices(store)}
        rows = []
        for number, (model, service_tier) in enumerate([("dear", None), ("dear", "flex"), ("cheap", None)], 1):
            price, usage = prices[model], Usage(input=1_000_000, output=0)
            intent = make_intent(number, model=model, price_id=price.id, user_id=1)
            cost = price.cost(usage, service_tier)
            rows.append(
                Row(
                    intent=intent,
                    state=State.DONE,
                    price_id=price.id,
                    cost=cost,
                    usage=usage,
                    service_tier=service_tier,
                )
            )
        await ship(store, rows)


def what_if(cli: Cli, *options: str) -> Any:
    """`price what-if --format json`."""
    return json.loads(cli.ok("price", "what-if", "--since", DAY, "--format", "json", *options))


def total(cli: Cli, *options: str) -> tuple[str, str, str]:
    """Its last line: cost, cost at the other price, difference."""
    sums = what_if(cli, *options)["total"]
    return sums["cost"], sums["what_if"], sums["difference"]


def test_same_price_has_the_same_cost(cli: Cli) -> None:
    """It may be given as rates, taken from the model, or be the default."""
    for options in (
        ["--input", "4", "--output", "8", "--tier", "flex:x0.5"],
        ["--as-model", "dear"],
        [],
    ):
        assert total(cli, "--model", "dear", *options) == ("6", "6", "0")


def test_other_price_has_another_cost(cli: Cli) -> None:
    """Savings are negative."""
    assert total(cli, "--model", "dear", "--as-model", "cheap") == ("6", "2", "-4")
    assert total(cli, "--all", "--input", "0.5", "--output", "0") == ("7", "1.5", "-5.5")
    assert total(cli, "--model", "dear", "--input", "4", "--output", "8") == ("6", "8", "2")


def test_default_is_the_current_price_of_each_model(cli: Cli) -> None:
    """Requests of a model without a current price keep their cost, and a line on standard error says so."""
    cli.ok("price", "set", "dear", "--input", "40", "--output", "8")
    cli.ok("price", "remove", "cheap")
    result = cli.run("price", "what-if", "--all", "--since", DAY)
    assert result.stdout.splitlines()[-1].split() == ["total", "3", "7", "81", "74"]
    assert result.stderr == "1 of these requests are for models without a price: their cost is unchanged.\n"
    assert what_if(cli, "--all")["unpriced_requests"] == 1


def test_table_has_groups_and_a_total(cli: Cli) -> None:
    """The columns of the groups are in the order of --by."""
    lines = cli.ok("price", "what-if", "--all", "--since", DAY, "--by", "day,user,model", "--as-model", "cheap")
    assert [line.split() for line in lines.splitlines()][2:] == [
        [DAY, "user", "1", "cheap", "1", "1", "1", "0"],
        [DAY, "user", "1", "dear", "2", "6", "2", "-4"],
        ["total", "3", "7", "3", "-4"],
    ]


def test_csv_has_plain_amounts(cli: Cli) -> None:
    """A negative amount is not guarded as a formula."""
    out = cli.ok("price", "what-if", "--all", "--since", DAY, "--as-model", "cheap", "--format", "csv")
    assert out.splitlines() == [
        "model,requests,cost,what_if,difference",
        "cheap,1,1,1,0",
        "dear,2,6,2,-4",
    ]


def test_what_if_changes_nothing(cli: Cli) -> None:
    """Rows, sums and prices stay as they are."""
    dsn = cli.settings["DATABASE_URL"]
    before = [query(dsn, f"SELECT * FROM {table} ORDER BY 1") for table in ("usage", "usage_daily", "prices")]
    cli.ok("price", "what-if", "--all", "--since", DAY, "--input", "1", "--output", "1")
    assert before == [query(dsn, f"SELECT * FROM {table} ORDER BY 1") for table in ("usage", "usage_daily", "prices")]


def test_days_without_rows_cost_nothing(cli: Cli) -> None:
    """The table still has its total."""
    tomorrow = f"{datetime.now(UTC):%Y-%m-%d}"
    out = cli.ok("price", "what-if", "--all", "--since", tomorrow)
    assert out.splitlines()[-1].split() == ["total", "0", "0", "0", "0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --model or --all"),
        (["--all", "--model", "m"], "give either --model or --all"),
        (["--all", "--until", "2020-01-01"], "--until is before --since"),
        (["--all", "--input", "1", "--as-model", "m"], "give --as-model or a price, not both"),
        (["--all", "--by", "shoe"], "'shoe' is not one of user, model, day, month"),
        (["--all", "--by", "day,day"], "the group 'day' is named twice"),
    ],
)
def test_invalid_arguments_are_refused(shared_cli: Cli, arguments: list[str], message: str) -> None:
    """The exit code is 2."""
    assert message in shared_cli.refused("price", "what-if", "--since", DAY, *arguments, code=2)[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--input", "1"], 2, "the price: both input and output must have a rate"),
        (["--tier", "flex:x1"], 2, "the price: both input and output must have a rate"),
        (["--input", "1", "--output", "NaN"], 2, "--output: NaN is not between 0 and 1000000"),
        (["--as-model", "none"], 1, "the model 'none' has no price"),
    ],
)
def test_invalid_price_is_refused(shared_cli: Cli, arguments: list[str], code: int, message: str) -> None:
    """The error is one line; the exit code is 2 if the options are wrong."""
    command = ["price", "what-if", "--all", "--since", DAY]
    assert shared_cli.refused(*command, *arguments, code=code) == [f"Error: {message}"]


def test_amounts_are_exact(cli: Cli) -> None:
    """Costs are computed to the sixteenth decimal place."""
    assert total(cli, "--model", "dear", "--input", "0.0000000001", "--output", "0")[1] == "0.0000000002"
    assert Decimal(total(cli, "--all", "--input", "999999.9999999999", "--output", "0")[2]) == Decimal(
        "2999992.9999999997"
    )


def test_fine_tuned_model_has_the_price_of_its_base(cli: Cli) -> None:
    """A fine-tuned model without a price of its own is priced as its base; the command and the list say so."""
    cli.ok("price", "set", "ft:cheap", "--input", "3", "--output", "3")
    result = cli.run("price", "what-if", "--since", DAY, "--model", "cheap", "--as-model", "ft:cheap:acme::x")
    assert result.exit_code == 0
    assert "ft:cheap:acme::x has no price of its own: this is the price of ft:cheap." in result.stderr
    assert "The price of ft:cheap applies to each ft:cheap:… without a price of its own." in cli.ok("price", "list")
