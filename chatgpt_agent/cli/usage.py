"""`chatgpt-agent usage …`"""

from datetime import datetime
from decimal import Context, Decimal
from functools import reduce

import click

from chatgpt_agent.cli.common import echo_csv, echo_json, echo_table, on_store, usd
from chatgpt_agent.edges.store.connection import Store
from chatgpt_agent.edges.store.reports import GROUPS, UsageLine, usage_report

_DAY = click.DateTime(["%Y-%m-%d"])
_COUNTS = ("requests", "not_done", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
_WIDE = Context(prec=100)


def _groups(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    names = value.split(",")
    for name in names:
        if name not in GROUPS:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(GROUPS)}")
    if len(set(names)) < len(names):
        raise click.BadParameter("a group is named twice")
    return names


@click.group()
def usage() -> None:
    """What was used, and what it cost."""


@usage.command()
@click.option("--by", callback=_groups, default="user,model", show_default=True, help=f"Of {', '.join(GROUPS)}.")
@click.option("--since", type=_DAY, help="First day, in UTC.")
@click.option("--until", type=_DAY, help="Last day, in UTC.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@on_store
async def report(store: Store, by: list[str], since: datetime | None, until: datetime | None, form: str) -> None:
    """Sum up requests, tokens and cost in USD, to the last digit.

    Example: chatgpt-agent usage report --by day,user --since 2026-11-01 --format csv
    """
    if since and until and until < since:
        raise click.UsageError("--until is before --since")
    lines = await usage_report(store, by, since=since.date() if since else None, until=until.date() if until else None)
    headers = [*by, *_COUNTS, "cost_usd"]
    if form == "json":
        rows = [dict(zip(headers, _cells(line), strict=True)) for line in lines]
        echo_json({"rows": rows, "total": dict(zip(headers[len(by) :], _total(lines), strict=True))})
    elif form == "csv":
        echo_csv(headers, map(_cells, lines))
    else:
        blank = [""] * (len(by) - 1)
        echo_table(
            [name.replace("_", " ") for name in headers], [*map(_cells, lines), ["total", *blank, *_total(lines)]]
        )


def _cells(line: UsageLine) -> list[object]:
    return [*line.group, *(getattr(line, name) for name in _COUNTS), usd(line.cost)]


def _total(lines: list[UsageLine]) -> list[object]:
    cost = reduce(_WIDE.add, (line.cost for line in lines), Decimal(0))
    return [*(sum(getattr(line, name) for line in lines) for name in _COUNTS), usd(cost)]
