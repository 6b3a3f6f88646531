"""`chatgpt-agent ledger reconcile` and `ledger correct`: the ledger compared with OpenAI's figures, and corrections."""

import sys
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import click
import msgspec

from chatgpt_agent.admin import reconcile as reconcile_use_case
from chatgpt_agent.admin.administration import LedgerAdministration
from chatgpt_agent.admin.reconciled import ReconciledLine, notes, reconciled_line, reconciled_total
from chatgpt_agent.admin.reports import with_former_names
from chatgpt_agent.cli.common import EXCEL, FORMATS, echo_csv, echo_json, usd, with_ledger
from chatgpt_agent.cli.effects import reads
from chatgpt_agent.cli.formats import format_option, json_option
from chatgpt_agent.cli.types import MONTH
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.core.money.kinds import (
    CALL_COLUMNS,
    IMAGE_TOOL_KINDS,
    SIDES,
    TIME_COLUMN,
    TOKEN_KINDS,
    RightCounts,
    TokenKind,
)
from chatgpt_agent.core.reconcile.lines import ComparedLine, Reconciliation
from chatgpt_agent.core.reconcile.sentences import item_text, kinds_text, sentence, sums_text, total_text
from chatgpt_agent.core.right_counts import IMAGE_TOOL
from chatgpt_agent.core.usage import MAX_COUNT, Usage

_FILE = click.Path(path_type=Path)
_TOKENS = click.IntRange(0, MAX_COUNT)
F = TypeVar("F", bound=Callable[..., Any])


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
    help="The user of an OpenAI key or project. May be repeated.",
)
@click.option(
    "--keys", "keys_file", type=_FILE, metavar="FILE", help="CSV with the columns user and api_key_id or project_id."
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
    keys_file: Path | None,
    fetch: bool,
    admin_key_file: Path | None,
    form: str,
) -> None:
    """Compare the ledger with OpenAI's own figures.

    Names each difference, the largest amount first, and the rows that may explain it.

    A FILE is JSON of OpenAI's organization API (usage of any endpoint, costs) or a CSV export of its usage dashboard.
    Exit code 0 if all is equal, 1 if something differs.

    Example: chatgpt-agent ledger reconcile usage.json costs.json --month 2026-10 --key key_abc=alice
    """
    first = month
    if keys_file is not None:
        keys = reconcile_use_case.merged_keys(reconcile_use_case.read_keys(keys_file), keys)
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


def _drawn_help(kind: TokenKind) -> str:
    return f"Of the model that draws for image_generation: {_words(kind.name)} tokens."


def _words(name: str) -> str:
    return name.replace("_", " ")


_HELP = {
    "input": "Input tokens, with all their parts.",
    "output": "Output tokens, with all their parts.",
    "reasoning": "Output tokens of reasoning.",
    **{kind.name: f"{kind.label}, in tokens." for kind in TOKEN_KINDS if kind.is_part and kind.label},
    **{IMAGE_TOOL + kind.name: _drawn_help(kind) for kind in IMAGE_TOOL_KINDS},
    **{name: f"{name.replace('_', ' ').capitalize()} of OpenAI's tools." for name in CALL_COLUMNS.values()},
    TIME_COLUMN: "Seconds of audio that is charged by time.",
}


def _decimal(_: click.Context, __: click.Parameter, text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        raise click.BadParameter(f"{text[:40]!r} is not a number") from None


def _count_options(command: F) -> F:
    """An option for every count of a row; the command gets them by the names of `RightCounts`."""
    for name in reversed(RightCounts.__struct_fields__):
        option = f"--{name.replace('_', '-')}"
        settings: dict[str, Any] = {"type": _TOKENS, "required": name in SIDES}
        if name == "cached":
            settings = {"type": _TOKENS, "default": 0, "show_default": True}
        elif name == TIME_COLUMN:
            settings = {"callback": _decimal}
        command = click.option(option, name, metavar="N", help=_HELP[name], **settings)(command)
    return command


@click.command()
@click.argument("request_id", type=click.UUID)
@_count_options
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is recorded with the correction.")
@json_option
@with_ledger
async def correct(
    administration: LedgerAdministration,
    *,
    request_id: UUID,
    reason: str,
    json: bool,
    **counts: Any,
) -> None:
    """Correct a row's counts, and with them its cost. Adds a row with the reason. Once for each row.

    A count without its option stays as it was, as far as --input, --output and --cached leave room for it.

    Example: chatgpt-agent ledger correct 01930000-0000-7000-8000-000000000001 --input 120 --output 30 --reason "OpenAI"
    """
    correction = await administration.corrections.correct(request_id, RightCounts(**counts), reason)
    if json:
        echo_json(correction)
        return
    click.echo(f"{correction.corrects} is corrected by {correction.request_id}:")
    before = None if correction.before is None else _counts(correction.before)
    for name, count in _counts(correction.after).items():
        old = "unknown" if before is None else before[name]
        if name in ("input tokens", "cached tokens", "output tokens") or count != "0" or old not in ("0", "unknown"):
            click.echo(f"  {name}: {old} → {count}")
    click.echo(f"  cost: {usd(correction.cost_before)} → {usd(correction.cost_after)} USD")


def _counts(usage: Usage) -> dict[str, str]:
    """The counts of a usage, by their names in words."""
    drawn = usage.image_tool or Usage(input=0, output=0)
    return {
        **{f"{_words(kind.name)} tokens": str(getattr(usage, kind.name)) for kind in TOKEN_KINDS},
        **{f"{_words(IMAGE_TOOL + kind.name)} tokens": str(getattr(drawn, kind.name)) for kind in IMAGE_TOOL_KINDS},
        **{_words(name): str(getattr(usage, name)) for name in CALL_COLUMNS.values()},
        TIME_COLUMN: format_usd(usage.seconds),
    }


def _echo_reconciliation_table(result: Reconciliation) -> None:
    if result.usage_days:
        first, last = result.usage_days
        click.echo(f"Usage compared from {first} to {last} (UTC): {kinds_text(result.kinds)}.")
    if result.cost_days:
        click.echo(f"Costs compared from {result.cost_days[0]} to {result.cost_days[1]} (UTC).")
    for note in notes(result):
        click.echo(note)
    if result.equal:
        click.echo(f"No differences: {sums_text(result.total)}.")
        return
    click.echo("Differences, the largest amount first:\n")
    for line in result.lines:
        click.echo(sentence(line))
        for detail in _details(line):
            click.echo(f"    {detail}")
    click.echo(f"\nIn all: {total_text(result.total)}.")


def _details(line: ComparedLine) -> Iterator[str]:
    """Yields what OpenAI charged for, and where to look."""
    if line.items and line.name is None:
        yield f"OpenAI's bill: {'; '.join(map(item_text, line.items))}"
    if line.keys:
        yield f"keys without a user: {', '.join(line.keys)}"
    if line.candidate_rows:
        more = line.candidate_count - len(line.candidate_rows)
        yield f"candidate rows: {', '.join(line.candidate_rows)}" + (f" and {more} more" if more else "")


def _echo_reconciliation_csv(result: Reconciliation, form: str = "csv") -> None:
    records = [[*_csv_record(line).values()] for line in result.lines]
    echo_csv(ReconciledLine.__struct_fields__, records, form)
    for note in notes(result):
        click.echo(note, err=True)


def _csv_record(line: ComparedLine) -> dict[str, object]:
    record = msgspec.structs.asdict(reconciled_line(line))
    texts = {
        "model": "(all)" if line.model is None else line.model,
        "user": "(all)" if line.user is None else line.user,
        "models": "; ".join(f"{model}: {calls}" for model, calls in record["models"].items()),
        "line_items": "; ".join(map(item_text, line.items)),
        "keys": " ".join(line.keys),
        "candidate_rows": " ".join(line.candidate_rows),
    }
    return {name: usd(value) if isinstance(value, Decimal) else value for name, value in (record | texts).items()}


def _echo_reconciliation_json(result: Reconciliation) -> None:
    days = {"usage_days": result.usage_days, "cost_days": result.cost_days, "kinds": result.kinds}
    lines = [with_former_names(msgspec.structs.asdict(reconciled_line(line))) for line in result.lines]
    total = with_former_names(msgspec.structs.asdict(reconciled_total(result.total)))
    unused = {"unavailable": result.unavailable, "unused_keys": result.unused_keys}
    others = {"notes": list(notes(result)), "left_out": result.left_out, **unused}
    echo_json({"equal": result.equal, **days, "lines": lines, "total": total, **others})


_ECHO: dict[str, Callable[[Reconciliation], None]] = {
    "table": _echo_reconciliation_table,
    "csv": _echo_reconciliation_csv,
    EXCEL: partial(_echo_reconciliation_csv, form=EXCEL),
    "json": _echo_reconciliation_json,
}
