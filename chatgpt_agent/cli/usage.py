"""`chatgpt-agent usage …`: sums for people and single rows for accountants."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any, TypeVar

import click
import msgspec

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.postgres.connection import SqlRow, Store
from chatgpt_agent.adapters.postgres.export import EXPORT_COLUMNS
from chatgpt_agent.adapters.postgres.reports import COUNTS, GROUPS, Sums, UsageFilter
from chatgpt_agent.admin import reports
from chatgpt_agent.cli.common import echo_csv, echo_json, echo_table, on_books, on_store, usd
from chatgpt_agent.core.csv_writer import csv_line
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.kinds import TOKEN_KINDS

F = TypeVar("F", bound=Callable[..., Any])

_DAY = click.DateTime(["%Y-%m-%d"])
_MONEY = {"cost_usd": "cost", "uncertain_cost_usd": "uncertain_cost"}
# Columns that a table leaves out where they would hold nothing but zeros.
_RARE = (*(kind.column for kind in TOKEN_KINDS if kind.is_rare), "uncertain_cost_usd")


def _groups(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    try:
        return reports.parse_groups(value)
    except InvalidValue as error:
        raise click.BadParameter(error.message) from None


def _choosing(command: F) -> F:
    """The options that say which part of the books is asked for."""
    for option in reversed(
        [
            click.option("--since", type=_DAY, help="First day, in the books' time zone."),
            click.option("--until", type=_DAY, help="Last day, in the books' time zone."),
            click.option("--user", metavar="NAME", help="Of this user alone."),
            click.option("--token", "token_id", type=click.IntRange(0, 2**63 - 1), metavar="ID", help="Of this token."),
            click.option("--model", metavar="NAME", help="Of this model, as it was asked for."),
        ]
    ):
        command = option(command)
    return command


@click.group()
def usage() -> None:
    """What was used, and what it cost."""


@usage.command()
@click.option("--by", callback=_groups, default="user,model", show_default=True, help=f"Of {', '.join(GROUPS)}.")
@_choosing
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@on_store
async def report(
    store: Store,
    by: list[str],
    since: datetime | None,
    until: datetime | None,
    user: str | None,
    token_id: int | None,
    model: str | None,
    form: str,
) -> None:
    """Sum up requests, tokens and cost in USD, to the last digit.

    Example: chatgpt-agent usage report --by day,user --since 2026-11-01 --format csv
    """
    first, last = _days(since, until)
    found = await reports.report(store, by, since=first, until=last, user=user, token_id=token_id, model=model)
    records = [reports.line_record(by, line) for line in found.lines]
    if form == "json":
        echo_json({"rows": records, "total": reports.sums_record(found.total)})
        return
    if form == "csv":
        headers = [*by, *(["token_id"] if "token" in by else []), *reports.RECORDED]
        amounts = [{name: usd(getattr(line, field)) for name, field in _MONEY.items()} for line in found.lines]
        merged = [record | money for record, money in zip(records, amounts, strict=True)]
        echo_csv(headers, ([record[name] for name in headers] for record in merged))
        return
    shown = [name for name in reports.RECORDED if name not in _RARE or any(_value(line, name) for line in found.lines)]
    lines = [[*line.group, *(_cell(line, name) for name in shown)] for line in found.lines]
    total = ["total", *[""] * (len(by) - 1), *(_cell(found.total, name) for name in shown)]
    echo_table([name.replace("_", " ") for name in [*by, *shown]], [*lines, total])


@usage.command()
@_choosing
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@on_books
async def export(
    store: Store,
    config: Config,
    since: datetime | None,
    until: datetime | None,
    user: str | None,
    token_id: int | None,
    model: str | None,
    form: str,
) -> None:
    """Print every single row, for whoever keeps the accounts: one line a request or correction.

    Example: chatgpt-agent usage export --since 2026-11-01 --until 2026-11-30 > november.csv
    """
    first, last = _days(since, until)
    choice = await reports.chosen(store, UsageFilter(first, last, user, token_id, model))
    begin, between, end = ("[\n", ",\n", "\n]\n") if form == "json" else (csv_line(EXPORT_COLUMNS), "", "")
    write = _as_json if form == "json" else _as_csv
    lead = begin
    with _progress(await reports.count_rows(store, choice)) as advance:
        async for page in reports.export(store, choice):
            click.echo(lead + between.join(map(write, page)), nl=False)
            lead = between
            advance(len(page))
    click.echo(begin + end if lead is begin else end, nl=False)


def _days(since: datetime | None, until: datetime | None) -> tuple[date | None, date | None]:
    if since and until and until < since:
        raise click.UsageError("--until is before --since")
    return since.date() if since else None, until.date() if until else None


def _value(line: Sums, name: str) -> Any:
    return getattr(line, _MONEY.get(name, name))


def _cell(line: Sums, name: str) -> object:
    return _value(line, name) if name in COUNTS else usd(_value(line, name))


def _as_csv(line: SqlRow) -> str:
    return csv_line([usd(cell) if name in _MONEY else cell for name, cell in zip(EXPORT_COLUMNS, line, strict=True)])


def _as_json(line: SqlRow) -> str:
    return msgspec.json.encode(reports.export_record(line)).decode()


@contextlib.contextmanager
def _progress(rows: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where somebody looks at it and the rows go somewhere else."""
    if sys.stdout.isatty() or not sys.stderr.isatty():
        yield lambda count: None
        return
    with click.progressbar(length=rows, label="rows", file=sys.stderr) as bar:
        yield bar.update
