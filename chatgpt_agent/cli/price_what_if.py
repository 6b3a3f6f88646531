"""`chatgpt-agent price what-if`: history at other prices, which changes nothing."""

from datetime import datetime

import click

from chatgpt_agent.adapters.postgres.repricing import GROUPS, RepricedGroup
from chatgpt_agent.admin.groups import parse_groups
from chatgpt_agent.admin.prices import Prices, total
from chatgpt_agent.cli.common import echo_csv, echo_json, echo_table, on_prices, usd
from chatgpt_agent.cli.price_options import rate_options, read_price
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import exact_sum
from chatgpt_agent.core.money.pricing import NewPrice

_DAY = click.DateTime(["%Y-%m-%d"])
_SUMS = ("requests", "cost_usd", "what_if_usd", "difference_usd")


def _groups(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    try:
        return parse_groups(value, GROUPS)
    except InvalidValue as error:
        raise click.BadParameter(error.message) from None


@click.command(name="what-if")
@click.option("--model", metavar="MODEL", help="Requests that asked for this model.")
@click.option("--all", "everything", is_flag=True, help="Requests for any model.")
@click.option("--since", type=_DAY, required=True, help="First day, in the time zone of the books.")
@click.option("--until", type=_DAY, help="Last day; else until now.")
@click.option("--as-model", metavar="MODEL", help="At the price that this model has now.")
@rate_options(required=False)
@click.option("--by", callback=_groups, default="model", show_default=True, help=f"Of {', '.join(GROUPS)}.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@on_prices
async def what_if(
    prices: Prices,
    model: str | None,
    everything: bool,
    since: datetime,
    until: datetime | None,
    as_model: str | None,
    by: list[str],
    form: str,
    tiers: tuple[str, ...],
    **typed: str | None,
) -> None:
    """Show what past requests cost, and what they would have cost: at a price that you give, at another model's, or,
    without either, at the prices of now. Nothing is changed.

    Example: chatgpt-agent price what-if --model gpt-4o --since 2026-11-01 --as-model gpt-4o-mini
    """
    if everything == (model is not None):
        raise click.UsageError("give either --model or --all")
    if until and until < since:
        raise click.UsageError("--until is before --since")
    given = bool(tiers) or any(text is not None for text in typed.values())
    if given and as_model is not None:
        raise click.UsageError("give --as-model or a price, not both")
    at = NewPrice(model or "", *read_price(typed, tiers)) if given else None
    lines = await prices.reprice(
        by, since=since.date(), until=until.date() if until else None, model=model, at=at, as_model=as_model
    )
    headers = [*by, *_SUMS]
    together = total(lines)
    if form == "json":
        rows = [dict(zip(headers, _cells(line), strict=True)) for line in lines]
        echo_json(
            {
                "rows": rows,
                "total": dict(zip(_SUMS, _cells(together), strict=True)),
                "unpriced_requests": together.unpriced_requests,
            }
        )
    elif form == "csv":
        echo_csv(headers, map(_cells, lines))
    else:
        blank = [""] * (len(by) - 1)
        echo_table(
            [name.replace("_", " ") for name in headers], [*map(_cells, lines), ["total", *blank, *_cells(together)]]
        )
    if together.unpriced_requests:
        click.echo(
            f"{together.unpriced_requests} of these requests are for models without a price: their cost is unchanged.",
            err=True,
        )


def _cells(line: RepricedGroup) -> list[object]:
    more = exact_sum([line.other_cost, line.cost.copy_negate()])
    return [*line.group, line.requests, usd(line.cost), usd(line.other_cost), usd(more)]
