"""The commands `chatgpt-agent price …`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.prices import listed_price, price_record
from chatgpt_agent.cli.common import FORMATS, echo_csv, echo_json, warn, with_administration
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import format_option, json_option, table_option
from chatgpt_agent.cli.price_changes import named
from chatgpt_agent.cli.price_check import check
from chatgpt_agent.cli.price_import import import_
from chatgpt_agent.cli.price_options import (
    from_option,
    price_cells,
    price_headers,
    rate_columns,
    rate_options,
    read_price,
    second,
)
from chatgpt_agent.cli.price_surcharge import surcharge
from chatgpt_agent.cli.price_what_if import what_if
from chatgpt_agent.cli.tables import echo_table
from chatgpt_agent.cli.types import ID
from chatgpt_agent.core.money.price_csv import COLUMNS, csv_cells
from chatgpt_agent.core.money.pricing import Price, is_fine_tuned_base
from chatgpt_agent.core.money.shutdowns import is_soon


@click.group()
def price() -> None:
    """Prices per 1,000,000 tokens. Requests for a model without a price are refused."""


price.add_command(import_)
price.add_command(check)
price.add_command(surcharge)
price.add_command(what_if)


@price.command(name="set")
@click.argument("model")
@rate_options(required=True)
@from_option
@json_option
@with_administration
async def set_(
    administration: Administration,
    *,
    model: str,
    tiers: tuple[str, ...],
    since: datetime | None,
    json: bool,
    **rate_texts: str | None,
) -> None:
    """Set a model's price, which supersedes the one before. Recorded requests keep the cost they were charged.

    Example: chatgpt-agent price set gpt-6-luna --input 0.10 --cached-input 0.01 --output 0.50
    """
    rates, read_tiers = read_price(rate_texts, tiers)
    added = await administration.prices.set(model, rates, read_tiers, since=since)
    if json:
        echo_json(price_record(added))
        return
    click.echo(f"The price of {model} is set from {second(added.effective_at)} UTC on.")
    current = await administration.prices.current(model)
    if current is None or current.id != added.id:
        other = f"the price of {second(current.effective_at)}" if current else "no price"
        later = added.effective_at > datetime.now(UTC)
        click.echo(f"Until then, {other} is in force." if later else f"Now, {other} is in force.")
    for price in await administration.prices.upcoming(model):
        if price.id != added.id:
            click.echo(f"From {second(price.effective_at)} UTC on, {_price(price)} takes its place.")


@price.command(name="list")
@click.option("--history", is_flag=True, help="Also prices that are superseded, removed or of a later date.")
@click.option("--upcoming", is_flag=True, help="Only prices of a later date.")
@table_option
@with_administration
@reads
async def list_(administration: Administration, history: bool, upcoming: bool, json: bool) -> None:
    """List the prices in force, and below them those to come.

    Tokens without a rate of their own cost the rate of `input` or `output`. JSON has the prices in force, those to come
    with --upcoming, or all with --history. Warns of models that OpenAI shuts down within 60 days.

    Example: chatgpt-agent price list --history
    """
    if history and upcoming:
        raise click.UsageError("give --history or --upcoming, not both")
    to_come = await administration.prices.upcoming()
    prices = await (administration.prices.history() if history else administration.prices.in_force())
    dates = await administration.prices.shutdown_dates()
    if not upcoming:
        _warn_of_shutdowns({price.model for price in prices}, dates)
    if json and (history or upcoming):
        echo_json([price_record(price) for price in (to_come if upcoming else prices)])
        return
    if json:
        echo_json([listed_price(price, dates) for price in prices])
        return
    if upcoming:
        _echo_prices(to_come, ids=True)
        return
    ids = {price.id for price in to_come}
    _echo_prices([price for price in prices if price.cancelled_at is None and price.id not in ids])
    for base in sorted({price.model for price in prices if is_fine_tuned_base(price.model)}):
        click.echo(f"The price of {base} applies to each {base}:… without a price of its own.")
    if to_come:
        click.echo("\nTo come; `price cancel ID` cancels one:\n")
        _echo_prices(to_come, ids=True)


def _warn_of_shutdowns(models: Collection[str], dates: Mapping[str, date]) -> None:
    """Prints a warning for each of the next days on which models are shut down, and one for those that have been."""
    today = datetime.now(UTC).date()
    days = {model: day for model, day in sorted(dates.items()) if model in models and is_soon(day, today)}
    ended = [model for model, day in days.items() if day < today]
    if ended:
        warn(f"OpenAI has shut down {named(ended)}: the prices are no longer needed")
    for day in sorted({day for day in days.values() if day >= today}):
        warn(f"OpenAI shuts down {named([model for model in days if days[model] == day])} on {day}")


def _echo_prices(prices: Sequence[Price], *, ids: bool = False) -> None:
    kinds = rate_columns(price.rates for price in prices)
    with_tiers = any(price.tiers for price in prices)
    lines = [
        (
            *([price.id] if ids else []),
            price.model,
            *(["removed"] if price.is_removed else []),
            *price_cells(price.rates, price.tiers if with_tiers else None, kinds)[price.is_removed :],
            second(price.effective_at),
        )
        for price in prices
    ]
    headers = [*(["id"] if ids else []), "model", *price_headers(kinds, tiers=with_tiers), "from (UTC)"]
    echo_table(headers, lines, keep=("id", "model", "input", "output", "from (UTC)"))


@price.command()
@click.argument("model")
@json_option
@with_administration
async def remove(administration: Administration, model: str, json: bool) -> None:
    """Remove a model's price: requests for it are refused from now on. Recorded requests keep their cost.

    Prices of later dates are cancelled.

    Example: chatgpt-agent price remove gpt-6-luna
    """
    removal = await administration.prices.remove(model)
    if json:
        cancelled = [price_record(price) for price in removal.cancelled]
        echo_json({"model": model, "removed": True, "cancelled": cancelled})
        return
    click.echo(f"The price of {model} is removed." if removal.ended else f"{model} had no price in force.")
    for price in removal.cancelled:
        click.echo(f"{_price(price).capitalize()} from {second(price.effective_at)} UTC on is cancelled.")


@price.command()
@click.argument("id", type=ID)
@json_option
@with_administration
async def cancel(administration: Administration, id: int, json: bool) -> None:
    """Cancel a price of a later date. `price list` shows the ID.

    Example: chatgpt-agent price cancel 12
    """
    cancelled = await administration.prices.cancel(id)
    if json:
        echo_json(price_record(cancelled))
        return
    text = f"{_price(cancelled).capitalize()} of {cancelled.model} from {second(cancelled.effective_at)} UTC on"
    click.echo(f"{text} is cancelled.")


def _price(price: Price) -> str:
    return f"the {'end of the price' if price.is_removed else 'price'} (id {price.id})"


@price.command()
@click.option("--history", is_flag=True, help="Also prices that are superseded, removed or of a later date.")
@format_option(*FORMATS[1:])
@with_administration
@reads
async def export(administration: Administration, history: bool, form: str) -> None:
    """Print the prices in force as a file that `price import` reads.

    Example: chatgpt-agent price export --history > prices.csv
    """
    prices = await administration.prices.export(history=history)
    if form == "json":
        echo_json([price_record(price) for price in prices])
    else:
        echo_csv(COLUMNS, map(csv_cells, prices), form)
