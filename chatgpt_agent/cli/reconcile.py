"""`chatgpt-agent ledger reconcile` and `ledger correct`: the ledger compared with OpenAI's figures, and corrections."""

import sys
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from uuid import UUID

import click
import msgspec

from chatgpt_agent.admin import reconcile as reconcile_use_case
from chatgpt_agent.admin.administration import LedgerAdministration
from chatgpt_agent.admin.reports import with_former_names
from chatgpt_agent.cli.common import EXCEL, FORMATS, echo_csv, echo_json, usd, with_ledger
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import format_option, json_option
from chatgpt_agent.cli.tables import echo_table
from chatgpt_agent.cli.types import MONTH
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.openai_usage import Counts
from chatgpt_agent.core.reconcile import ComparedLine, Reconciliation
from chatgpt_agent.core.usage import MAX_COUNT, Usage

_FILE = click.Path(path_type=Path)
_TOKENS = click.IntRange(0, MAX_COUNT)
_NAMES = Counts.__struct_fields__


def _keys(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    try:
        return reconcile_use_case.parse_keys(value)
    except InvalidValue as error:
        raise click.BadParameter(error.message) from None


@click.command()
@click.argument("files", nargs=-1, type=_FILE, metavar="FILE...")
@click.option("--month", type=MONTH, metavar="YYYY-MM", help="Compare this month, in UTC.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    callback=_keys,
    metavar="KEYID=USER",
    help="The user of an OpenAI key. May be repeated.",
)
@click.option("--fetch", is_flag=True, help="Fetch the month's figures from OpenAI.")
@click.option("--admin-key-file", type=_FILE, metavar="FILE", help="A file with the OpenAI admin key for --fetch.")
@format_option(*FORMATS)
@with_ledger
@reads
async def reconcile(
    administration: LedgerAdministration,
    *,
    files: tuple[Path, ...],
    month: date | None,
    keys: dict[str, str],
    fetch: bool,
    admin_key_file: Path | None,
    form: str,
) -> None:
    """Compare the ledger with OpenAI's own figures.

    Shows what differs, and the rows that may explain it. OpenAI's usage is that of completions, so requests for
    embeddings, images and transcriptions are left out of it.

    A FILE is JSON of OpenAI's organization API (usage of completions, costs) or a CSV export of its usage dashboard.
    Exit code 0 if all is equal, 1 if something differs.

    Example: chatgpt-agent ledger reconcile usage.json costs.json --month 2026-10 --key key_abc=alice
    """
    first = month
    if fetch:
        if files:
            raise click.UsageError("give --fetch or FILE, not both")
        if first is None or admin_key_file is None:
            raise click.UsageError("--fetch needs --month and --admin-key-file")
        figures = await reconcile_use_case.fetch_month(administration.config, admin_key_file, first)
    else:
        if not files or admin_key_file is not None:
            raise click.UsageError("--admin-key-file is for --fetch" if files else "give a FILE, or --fetch")
        figures = reconcile_use_case.read_files(files)
    result = await administration.reconciler.reconcile(figures, month=first, keys=keys)
    _ECHO[form](result)
    if not result.equal:
        sys.exit(1)


@click.command()
@click.argument("request_id", type=click.UUID)
@click.option("--input", "input_", type=_TOKENS, required=True, metavar="N", help="Input tokens, including cached.")
@click.option("--output", type=_TOKENS, required=True, metavar="N", help="Output tokens.")
@click.option("--cached", type=_TOKENS, default=0, show_default=True, metavar="N", help="Cached input tokens.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is recorded with the correction.")
@json_option
@with_ledger
async def correct(
    administration: LedgerAdministration,
    *,
    request_id: UUID,
    input_: int,
    output: int,
    cached: int,
    reason: str,
    json: bool,
) -> None:
    """Correct a row's token counts, and with them its cost. Adds a row with the reason. Once for each row.

    Example: chatgpt-agent ledger correct 01930000-0000-7000-8000-000000000001 --input 120 --output 30 --reason "OpenAI"
    """
    usage = Usage(input=input_, output=output, cached=cached)
    correction = await administration.corrections.correct(request_id, usage, reason)
    if json:
        echo_json(correction)
        return
    before = correction.before
    click.echo(f"{correction.corrects} is corrected by {correction.request_id}:")
    for name in ("input", "cached", "output"):
        old = "unknown" if before is None else getattr(before, name)
        click.echo(f"  {name} tokens: {old} → {getattr(correction.after, name)}")
    click.echo(f"  cost: {usd(correction.cost_before)} → {usd(correction.cost_after)} USD")


def _echo_reconciliation_table(result: Reconciliation) -> None:
    for name, days in (("Usage", result.usage_days), ("Costs", result.cost_days)):
        if days:
            click.echo(f"{name} compared from {days[0]} to {days[1]} (UTC).")
    for note in _notes(result):
        click.echo(note)
    if result.equal:
        click.echo(f"No differences: {_sum_of(result.total)}.")
        return
    click.echo("Differences: OpenAI counts more (+) or less (-) than the ledger.\n")
    headers = ["day", "model", "user", "requests", "input", "cached", "output", "cost usd", "candidate rows"]
    total = ["total", "", "", *_differences(result.total), ""]
    lines: list[list[object]] = [[*_place(line), *_differences(line), _candidates(line)] for line in result.lines]
    echo_table(headers, [*lines, total], keep=("day", "model", "requests", "cost usd"))


def _echo_reconciliation_csv(result: Reconciliation, form: str = "csv") -> None:
    sides = [f"{side}_{name}" for name in (*_NAMES, "cost") for side in ("ledger", "openai")]
    headers = ["day", "model", "user", *sides, "candidate_count", "candidate_rows"]
    echo_csv(
        headers,
        [
            [*_place(line), *_both(line).values(), line.candidate_count, " ".join(line.candidate_rows)]
            for line in result.lines
        ],
        form,
    )
    for note in _notes(result):
        click.echo(note, err=True)


def _echo_reconciliation_json(result: Reconciliation) -> None:
    lines = [
        {
            "day": line.day,
            "model": line.model,
            "user": line.user,
            **with_former_names(_both(line)),
            "candidate_rows": line.candidate_rows,
            "candidate_count": line.candidate_count,
        }
        for line in result.lines
    ]
    days = {"usage_days": result.usage_days, "cost_days": result.cost_days}
    notes = {"left_out": result.left_out, "unused_keys": result.unused_keys}
    echo_json({"equal": result.equal, **days, "lines": lines, "total": with_former_names(_both(result.total)), **notes})


def _notes(result: Reconciliation) -> Iterator[str]:
    """Yields what is not compared."""
    if result.left_out:
        counts = ", ".join(f"{count} of {endpoint}" for endpoint, count in sorted(result.left_out.items()))
        yield f"Left out of the usage, because OpenAI counts it apart from completions: {counts} (requests)."
    if result.unused_keys:
        yield f"OpenAI has no figures of {', '.join(result.unused_keys)}: check the ids given with --key."


_ECHO: dict[str, Callable[[Reconciliation], None]] = {
    "table": _echo_reconciliation_table,
    "csv": _echo_reconciliation_csv,
    EXCEL: partial(_echo_reconciliation_csv, form=EXCEL),
    "json": _echo_reconciliation_json,
}


def _place(line: ComparedLine) -> list[object]:
    return [str(line.day), "(all)" if line.model is None else line.model, "(all)" if line.user is None else line.user]


def _both(line: ComparedLine) -> dict[str, object]:
    """Each figure on both sides; None where it is not compared here."""
    figures: dict[str, object] = {}
    for name in _NAMES:
        for side, counts in (("ledger", line.ledger), ("openai", line.openai)):
            figures[f"{side}_{name}"] = None if counts is None else getattr(counts, name)
    for side, cost in (("ledger", line.ledger_cost), ("openai", line.openai_cost)):
        figures[f"{side}_cost"] = None if cost is None else usd(cost)
    return figures


def _differences(line: ComparedLine) -> list[str]:
    counts = line.missing
    cells = [_signed(None if counts is None else getattr(counts, name)) for name in _NAMES]
    return [*cells, _signed(line.missing_cost)]


def _signed(value: Decimal | int | None) -> str:
    if value is None:
        return ""
    text = usd(Decimal(value))
    return f"+{text}" if value > 0 else text


def _candidates(line: ComparedLine) -> str:
    more = line.candidate_count - len(line.candidate_rows)
    return ", ".join(line.candidate_rows) + (f" and {more} more" if more else "")


def _sum_of(total: ComparedLine) -> str:
    parts = []
    if total.ledger is not None:
        counts = msgspec.structs.asdict(total.ledger)
        parts += [f"{counts['requests']} requests", *(f"{counts[name]} {name} tokens" for name in _NAMES[1:])]
    if total.ledger_cost is not None:
        parts.append(f"{usd(total.ledger_cost)} USD")
    return ", ".join(parts) or "no usage"
