"""`chatgpt-agent usage …`: sums, and single rows for accounting."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, TypeVar

import click
import msgspec

from chatgpt_agent.admin import reports
from chatgpt_agent.admin.administration import LedgerAdministration
from chatgpt_agent.admin.reports import (
    AMOUNTS,
    EXACT_NUMBERS,
    EXPORT_COLUMNS,
    GROUPS,
    SUMMED,
    Report,
    Sums,
    UsageFilter,
    surcharges_text,
)
from chatgpt_agent.cli.common import EXCEL, FORMATS, echo_csv, echo_json, usd, with_ledger
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import format_option
from chatgpt_agent.cli.tables import echo_table
from chatgpt_agent.cli.types import FIRST_DAY, ID, LAST_DAY
from chatgpt_agent.core.csv_writer import csv_line, csv_text
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.kinds import COUNT_COLUMNS, TOKEN_KINDS

F = TypeVar("F", bound=Callable[..., Any])

# Columns that a table leaves out if they hold only zeros.
_HEADINGS = {name: f"{name.replace('_', ' ')} usd" for name in AMOUNTS}  # a table says what is in USD
_COMMON = {kind.column for kind in TOKEN_KINDS if not kind.is_rare}
_RARE = (*(name for name in COUNT_COLUMNS if name not in _COMMON), "uncertain_cost")


def _groups(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    try:
        return reports.parse_groups(value)
    except InvalidValue as error:
        raise click.BadParameter(error.message) from None


def _filter_options(command: F) -> F:
    """The options that choose a part of the usage; the command gets a `UsageFilter`."""

    @click.option("--since", type=FIRST_DAY, metavar="DAY", help="First day, in the configured time zone.")
    @click.option(
        "--until", type=LAST_DAY, metavar="DAY", help="Last day, also of the zone; with --since by default today."
    )
    @click.option("--user", metavar="NAME", help="Only usage of this user.")
    @click.option("--token", "token_id", type=ID, metavar="ID", help="Only usage of this token.")
    @click.option("--model", metavar="NAME", help="Only requests for this model.")
    @functools.wraps(command)
    def wrapped(since: date | None, until: date | None, **options: Any) -> Any:
        if since and until and until < since:
            raise click.UsageError("--until is before --since")
        usage_filter = UsageFilter(
            since=since,
            until=until,
            user=options.pop("user"),
            token_id=options.pop("token_id"),
            model=options.pop("model"),
        )
        return command(usage_filter=usage_filter, **options)

    return wrapped  # type: ignore[return-value]


@click.group()
def usage() -> None:
    """Usage and what it cost."""


@usage.command()
@click.option(
    "--by", callback=_groups, default="user,model", show_default=True, help=f"What to group by: {', '.join(GROUPS)}."
)
@_filter_options
@format_option(*FORMATS)
@with_ledger
@reads
async def report(administration: LedgerAdministration, by: list[str], usage_filter: UsageFilter, form: str) -> None:
    """Sum up requests, tokens and cost in USD, to the last digit.

    Example: chatgpt-agent usage report --by day,user --since 2026-11-01 --format csv
    """
    usage_filter = await administration.reports.until_today(usage_filter)
    _ECHO[form](await administration.reports.report(by, usage_filter))


def _echo_report_json(report: Report) -> None:
    rows = [reports.row_record(report.by, row) for row in report.rows]
    echo_json({"rows": rows, "total": reports.sums_record(report.total)})


def _echo_report_csv(report: Report, form: str = "csv") -> None:
    headers = [*report.by, *(["token_id"] if "token" in report.by else []), *reports.RECORDED]
    records = [
        reports.row_record(report.by, row) | {name: usd(getattr(row, name)) for name in EXACT_NUMBERS}
        for row in report.rows
    ]
    echo_csv(headers, ([record[name] for name in headers] for record in records), form)


def _echo_report_table(report: Report) -> None:
    columns = [name for name in SUMMED if name not in _RARE or any(getattr(row, name) for row in report.rows)]
    lines = [[*row.group, *(_cell(row, name) for name in columns)] for row in report.rows]
    total = ["total", *[""] * (len(report.by) - 1), *(_cell(report.total, name) for name in columns)]
    headers = [*report.by, *(_HEADINGS.get(name, name.replace("_", " ")) for name in columns)]
    echo_table(headers, [*lines, total], keep=(*report.by, "requests", *_HEADINGS.values()))


_ECHO: dict[str, Callable[[Report], None]] = {
    "table": _echo_report_table,
    "csv": _echo_report_csv,
    EXCEL: functools.partial(_echo_report_csv, form=EXCEL),
    "json": _echo_report_json,
}


def _cell(sums: Sums, name: str) -> object:
    value: Any = getattr(sums, name)
    return usd(value) if name in EXACT_NUMBERS else value


@usage.command()
@_filter_options
@format_option(*FORMATS[1:])
@with_ledger
@reads
async def export(administration: LedgerAdministration, usage_filter: UsageFilter, form: str) -> None:
    """Print the row of each request or correction, for accounting.

    Example: chatgpt-agent usage export --since 2026-11-01 --until 2026-11-30 > november.csv
    """
    usage_filter = await administration.reports.until_today(usage_filter)
    await administration.reports.check_export(usage_filter)
    excel = form == EXCEL
    heading = csv_text(EXPORT_COLUMNS, [], excel=excel)
    begin, between, end = ("[\n", ",\n", "\n]\n") if form == "json" else (heading, "", "")
    write = _as_json if form == "json" else functools.partial(_as_csv, excel=excel)
    lead = begin
    with _progress(await administration.reports.count_rows(usage_filter)) as advance:
        async for page in administration.reports.export(usage_filter):
            _echo(lead + between.join(map(write, page)), excel=excel)
            lead = between
            advance(len(page))
    _echo(begin + end if lead is begin else end, excel=excel)


def _echo(text: str, *, excel: bool) -> None:
    click.echo(text.encode() if excel else text, nl=False)


def _as_csv(row: tuple[Any, ...], *, excel: bool) -> str:
    record: dict[str, Any] = dict(zip(EXPORT_COLUMNS, row, strict=True))
    record |= {name: usd(record[name]) for name in EXACT_NUMBERS}
    return csv_line([*(record | {"surcharges": surcharges_text(record["surcharges"] or {})}).values()], excel=excel)


def _as_json(row: tuple[Any, ...]) -> str:
    return msgspec.json.encode(reports.export_record(row)).decode()


@contextlib.contextmanager
def _progress(rows: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, if that is a terminal and the rows go elsewhere."""
    if sys.stdout.isatty() or not sys.stderr.isatty():
        yield lambda count: None
        return
    with click.progressbar(length=rows, label="rows", file=sys.stderr) as bar:
        yield bar.update
