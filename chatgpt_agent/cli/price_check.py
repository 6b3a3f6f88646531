"""`chatgpt-agent price check`: whether the prices in force are those of a list. Nothing is changed."""

import sys
from pathlib import Path

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.price_import_result import check_result
from chatgpt_agent.cli.common import WrongOptions, echo_json, warn, with_administration
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import json_option
from chatgpt_agent.cli.price_changes import change_line, surcharge_line
from chatgpt_agent.cli.price_import import read_list
from chatgpt_agent.cli.price_options import only_option, region_option
from chatgpt_agent.core.errors import InvalidValue


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@only_option
@region_option
@click.option("--new", is_flag=True, help="A model of the list without a price here is a difference, too.")
@json_option
@with_administration
@reads
async def check(
    administration: Administration,
    *,
    file: Path,
    only: tuple[str, ...],
    region: str | None,
    new: bool,
    json: bool,
) -> None:
    """Check whether the prices in force are those of a list.

    The list is one that `price import` reads. Prints a line for each price and each surcharge that differs, with the
    amounts here and in the list, and nothing if all are equal. Models that have a price here only are not compared.

    Exit code 0 if all is equal, 1 if something differs, 2 if the list cannot be read.

    Example: chatgpt-agent price check model_prices_and_context_window.json --only 'gpt-6*'
    """
    try:
        listed = read_list(file, only)
        changes = await administration.price_import.check(listed, region=region, new=new)
    except InvalidValue as error:
        raise WrongOptions(error.message) from None
    prices = changes.prices
    if not prices.changes and not prices.unchanged:
        warn("no model of the list has a price here, so nothing was compared")
    if json:
        echo_json(check_result(changes))
    else:
        dated = {price.model for price in listed.prices if price.effective_at}
        for change in prices.changes:
            click.echo(change_line(change, dated=change.new.model in dated))
        for surcharge in changes.surcharges.changes:
            click.echo(surcharge_line(surcharge))
    if not changes.is_empty:
        sys.exit(1)
