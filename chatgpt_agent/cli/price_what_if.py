"""`chatgpt-agent price what-if`: past requests at other prices. Nothing is changed."""

from datetime import date

import click

from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.groups import parse_groups
from chatgpt_agent.admin.price_what_if import GROUPS, WhatIfQuery, WhatIfReport, WhatIfRow
from chatgpt_agent.admin.reports import with_former_names
from chatgpt_agent.cli.common import CSV_FORMS, FORMATS, echo_csv, echo_json, usd, with_administration
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import format_option
from chatgpt_agent.cli.price_options import rate_options, read_price
from chatgpt_agent.cli.tables import echo_table
from chatgpt_agent.cli.types import FIRST_DAY, LAST_DAY
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.pricing import NewPrice

_SUMS = ("requests", "cost", "what_if", "difference")


def _groups(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    try:
        return parse_groups(value, GROUPS)
    except InvalidValue as error:
        raise click.BadParameter(error.message) from None


@click.command(name="what-if")
@click.option("--model", metavar="MODEL", help="Requests that asked for this model.")
@click.option("--all", "everything", is_flag=True, help="Requests for any model.")
@click.option("--since", type=FIRST_DAY, metavar="DAY", required=True, help="First day, in the configured time zone.")
@click.option("--until", type=LAST_DAY, metavar="DAY", help="Last day; else until now.")
@click.option("--as-model", metavar="MODEL", help="At the current price of this model.")
@rate_options(required=False)
@click.option(
    "--by", callback=_groups, default="model", show_default=True, help=f"What to group by: {', '.join(GROUPS)}."
)
@format_option(*FORMATS)
@with_administration
@reads
async def what_if(
    administration: Administration,
    *,
    model: str | None,
    everything: bool,
    since: date,
    until: date | None,
    as_model: str | None,
    by: list[str],
    form: str,
    tiers: tuple[str, ...],
    **rate_texts: str | None,
) -> None:
    """Show what past requests would have cost at other prices.

    The prices are one that you give, or another model's, or, without either, the current ones. Nothing is changed.

    Example: chatgpt-agent price what-if --model gpt-6-sol --since 2026-11-01 --as-model gpt-6-luna
    """
    if everything == (model is not None):
        raise click.UsageError("give either --model or --all")
    if until and until < since:
        raise click.UsageError("--until is before --since")
    has_price = bool(tiers) or any(text is not None for text in rate_texts.values())
    if has_price and as_model is not None:
        raise click.UsageError("give --as-model or a price, not both")
    query = WhatIfQuery(
        by=by,
        since=since,
        until=until,
        model=model,
        price=NewPrice(model or "", *read_price(rate_texts, tiers)) if has_price else None,
        as_model=as_model,
    )
    report = await administration.what_if.report(query)
    _echo_report(report, form)
    if report.price_model != as_model:
        click.echo(f"{as_model} has no price of its own: this is the price of {report.price_model}.", err=True)


def _echo_report(report: WhatIfReport, form: str) -> None:
    headers = [*report.by, *_SUMS]
    unpriced = report.total.unpriced_requests
    if form == "json":
        rows = [with_former_names(dict(zip(headers, _cells(row), strict=True))) for row in report.rows]
        total = with_former_names(dict(zip(_SUMS, _cells(report.total), strict=True)))
        echo_json({"rows": rows, "total": total, "unpriced_requests": unpriced})
    elif form in CSV_FORMS:
        echo_csv(headers, map(_cells, report.rows), form)
    else:
        blank = [""] * (len(report.by) - 1)
        lines = [*map(_cells, report.rows), ["total", *blank, *_cells(report.total)]]
        names = [*report.by, "requests", "cost usd", "what if usd", "difference usd"]
        echo_table(names, lines, keep=names)
    if unpriced:
        click.echo(f"{unpriced} of these requests are for models without a price: their cost is unchanged.", err=True)


def _cells(row: WhatIfRow) -> list[object]:
    return [*row.group.values(), row.requests, usd(row.cost), usd(row.what_if), usd(row.difference)]
