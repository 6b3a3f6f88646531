"""`chatgpt-agent price …`"""

from datetime import UTC, datetime

import click

from chatgpt_agent.admin.prices import Prices
from chatgpt_agent.cli.common import echo_csv, echo_json, echo_table, json_option, on_prices
from chatgpt_agent.cli.price_import import import_
from chatgpt_agent.cli.price_options import (
    from_option,
    moment,
    price_cells,
    price_headers,
    price_json,
    rate_options,
    read_price,
    shown_kinds,
)
from chatgpt_agent.cli.price_what_if import what_if
from chatgpt_agent.core.money.price_csv import COLUMNS, csv_cells
from chatgpt_agent.core.money.pricing import Price, PriceBook


@click.group()
def price() -> None:
    """Prices per 1,000,000 tokens. A model without a price is refused."""


price.add_command(import_)
price.add_command(what_if)


@price.command(name="set")
@click.argument("model")
@rate_options(required=True)
@from_option
@json_option
@on_prices
async def set_(
    prices: Prices, model: str, tiers: tuple[str, ...], since: datetime | None, json: bool, **typed: str | None
) -> None:
    """Set a model's price, which supersedes the one before. Rows that are written keep theirs.

    Example: chatgpt-agent price set gpt-4o-mini --input 0.15 --cached-input 0.075 --output 0.60
    """
    rates, read_tiers = read_price(typed, tiers)
    await prices.set_price(model, rates, read_tiers, since=since)
    now = datetime.now(UTC)
    found = [price for price in await prices.prices() if price.model == model]
    added, current = max(found, key=lambda price: price.id), PriceBook(found).at(model, now)
    if json:
        echo_json({"id": added.id, **_as_json(added)})
        return
    click.echo(f"The price of {model} is set from {moment(added.effective_at)} UTC on.")
    if current is None or current.id != added.id:
        other = f"the price of {moment(current.effective_at)}" if current else "no price"
        click.echo(f"Until then, there is {other}." if added.effective_at > now else f"Now in force is {other}.")


@price.command(name="list")
@click.option("--history", is_flag=True, help="Also those that are superseded, removed or still to come.")
@json_option
@on_prices
async def list_(prices: Prices, history: bool, json: bool) -> None:
    """List the prices in force. What has no rate of its own costs what `input` or `output` does.

    Example: chatgpt-agent price list --history
    """
    found = await prices.prices() if history else await prices.in_force()
    if json:
        echo_json([{"id": price.id, **_as_json(price)} for price in found])
        return
    kinds = shown_kinds(price.rates for price in found)
    with_tiers = any(price.tiers for price in found)
    lines = [
        (
            price.model,
            *(["removed"] if price.is_removed else []),
            *price_cells(price.rates, price.tiers if with_tiers else None, kinds)[price.is_removed :],
            moment(price.effective_at),
        )
        for price in found
    ]
    echo_table(["model", *price_headers(kinds, tiers=with_tiers), "from (UTC)"], lines)


@price.command()
@click.argument("model")
@json_option
@on_prices
async def remove(prices: Prices, model: str, json: bool) -> None:
    """Take a model's price away, so that it is refused from now on. Rows that are written keep theirs.

    Example: chatgpt-agent price remove gpt-4o-mini
    """
    await prices.remove_price(model)
    if json:
        echo_json({"model": model, "removed": True})
        return
    click.echo(f"The price of {model} is removed.")


@price.command()
@click.option("--history", is_flag=True, help="Also those that are superseded, removed or still to come.")
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@on_prices
async def export(prices: Prices, history: bool, form: str) -> None:
    """Print the prices in force as a file that `price import` reads.

    Example: chatgpt-agent price export --history > prices.csv
    """
    found = await prices.export(history=history)
    if form == "json":
        echo_json([_as_json(price) for price in found])
    else:
        echo_csv(COLUMNS, map(csv_cells, found))


def _as_json(price: Price) -> dict[str, object]:
    return price_json(price.model, price.effective_at, price.rates, price.tiers)
