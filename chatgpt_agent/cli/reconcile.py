"""`chatgpt-agent ledger reconcile` and `ledger correct`: the ledger against OpenAI's figures, and what mends it."""

import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import click
import msgspec

from chatgpt_agent.adapters.config import Config
from chatgpt_agent.adapters.openai_organization_api import fetch_figures, read_admin_key
from chatgpt_agent.adapters.postgres.connection import Store
from chatgpt_agent.admin.reconcile import Reconciler, read_figure_file
from chatgpt_agent.cli.common import caller, echo_csv, echo_json, echo_table, json_option, on_books, usd
from chatgpt_agent.core.openai_usage import merge
from chatgpt_agent.core.reconcile import Line, Reconciliation, whole
from chatgpt_agent.core.usage import MAX_COUNT, Usage

_FILE = click.Path(path_type=Path)
_TOKENS = click.IntRange(0, MAX_COUNT)
_NAMES = ("requests", "input", "cached", "output")


def _keys(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in value:
        key, equals, user = text.partition("=")
        if not (key and equals and user):
            raise click.BadParameter(f"{text!r} is not KEYID=USER")
        if key in found:
            raise click.BadParameter(f"the key {key!r} is named twice")
        found[key] = user
    return found


@click.command()
@click.argument("files", nargs=-1, type=_FILE, metavar="FILE...")
@click.option("--month", type=click.DateTime(["%Y-%m"]), metavar="YYYY-MM", help="Compare this month, in UTC.")
@click.option("--key", "keys", multiple=True, callback=_keys, metavar="KEYID=USER", help="Whose OpenAI key it is.")
@click.option("--fetch", is_flag=True, help="Get the month's figures from OpenAI.")
@click.option("--admin-key-file", type=_FILE, metavar="FILE", help="OpenAI admin key to get them with.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@on_books
async def reconcile(
    store: Store,
    config: Config,
    files: tuple[Path, ...],
    month: datetime | None,
    keys: dict[str, str],
    fetch: bool,
    admin_key_file: Path | None,
    form: str,
) -> None:
    """Compare the ledger with OpenAI's own figures, and show what differs and in which rows it may lie.

    A FILE is JSON of OpenAI's organization API (usage of completions, costs) or a CSV export of its usage dashboard.
    Exit code 0 where all is equal, 1 where something differs.

    Example: chatgpt-agent ledger reconcile usage.json costs.json --month 2026-10 --key key_abc=alice
    """
    first = month.date() if month else None
    if fetch:
        if files:
            raise click.UsageError("give --fetch or FILE, not both")
        days = whole(first, (first, first)) if first else None
        if days is None or admin_key_file is None:
            raise click.UsageError("--fetch needs --month and --admin-key-file")
        pages = await fetch_figures(config, read_admin_key(admin_key_file), *days)
    else:
        if not files or admin_key_file is not None:
            raise click.UsageError("--admin-key-file is for --fetch" if files else "give a FILE, or --fetch")
        pages = [page for file in files for page in read_figure_file(file)]
    found = await Reconciler(store).reconcile(merge(pages), month=first, keys=keys)
    _SHOWN[form](found)
    if not found.equal:
        sys.exit(1)


@click.command()
@click.argument("request_id", type=click.UUID)
@click.option("--input", "input_", type=_TOKENS, required=True, metavar="N", help="Input tokens, with cached ones.")
@click.option("--output", type=_TOKENS, required=True, metavar="N", help="Output tokens.")
@click.option("--cached", type=_TOKENS, default=0, show_default=True, metavar="N", help="Of the input: cached.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept with the correction.")
@json_option
@on_books
async def correct(
    store: Store, config: Config, request_id: UUID, input_: int, output: int, cached: int, reason: str, json: bool
) -> None:
    """Correct a row's tokens, and with them its cost, by another row that has the reason. Once a row.

    Example: chatgpt-agent ledger correct 01930000-0000-7000-8000-000000000001 --input 120 --output 30 --reason "OpenAI"
    """
    done = await Reconciler(store, caller()).correct(
        request_id, Usage(input=input_, output=output, cached=cached), reason
    )
    if json:
        echo_json(done)
        return
    before = done.before
    click.echo(f"{done.corrects} is corrected by {done.request_id}:")
    for name in ("input", "cached", "output"):
        old = "unknown" if before is None else getattr(before, name)
        click.echo(f"  {name} tokens: {old} → {getattr(done.after, name)}")
    click.echo(f"  cost: {usd(done.cost_before)} → {usd(done.cost_after)} USD")


def _show_table(found: Reconciliation) -> None:
    for what, days in (("Usage", found.usage_days), ("Costs", found.cost_days)):
        if days:
            click.echo(f"{what} compared from {days[0]} to {days[1]} (UTC).")
    if found.equal:
        click.echo(f"No differences: {_sum_of(found.total)}.")
        return
    click.echo("Shown is what OpenAI has more (+) or less (-) than the ledger.\n")
    headers = ["day", "model", "user", "requests", "input", "cached", "output", "cost usd", "candidate rows"]
    blank = ["total", "", "", *_differences(found.total), ""]
    echo_table(headers, [*([*_place(line), *_differences(line), _candidates(line)] for line in found.lines), blank])


def _show_csv(found: Reconciliation) -> None:
    sides = [f"{side}_{name}" for name in (*_NAMES, "cost_usd") for side in ("ledger", "openai")]
    headers = ["day", "model", "user", *sides, "candidate_count", "candidate_rows"]
    echo_csv(
        headers,
        [
            [*_place(line), *_both(line).values(), line.candidate_count, " ".join(line.candidate_rows)]
            for line in found.lines
        ],
    )


def _show_json(found: Reconciliation) -> None:
    lines = [
        {
            "day": line.day,
            "model": line.model,
            "user": line.user,
            **_both(line),
            "candidate_rows": line.candidate_rows,
            "candidate_count": line.candidate_count,
        }
        for line in found.lines
    ]
    days = {"usage_days": found.usage_days, "cost_days": found.cost_days}
    echo_json({"equal": found.equal, **days, "lines": lines, "total": _both(found.total)})


_SHOWN = {"table": _show_table, "csv": _show_csv, "json": _show_json}


def _place(line: Line) -> list[object]:
    return [str(line.day), "(all)" if line.model is None else line.model, "(all)" if line.user is None else line.user]


def _both(line: Line) -> dict[str, object]:
    """Each figure on both sides; None where it is not compared here."""
    found: dict[str, object] = {}
    for name in _NAMES:
        for side, counts in (("ledger", line.ledger), ("openai", line.openai)):
            found[f"{side}_{name}"] = None if counts is None else getattr(counts, name)
    for side, cost in (("ledger", line.ledger_cost), ("openai", line.openai_cost)):
        found[f"{side}_cost_usd"] = None if cost is None else usd(cost)
    return found


def _differences(line: Line) -> list[str]:
    counts = line.missing
    shown = [_signed(None if counts is None else getattr(counts, name)) for name in _NAMES]
    return [*shown, _signed(line.missing_cost)]


def _signed(value: Decimal | int | None) -> str:
    if value is None:
        return ""
    text = usd(Decimal(value))
    return f"+{text}" if value > 0 else text


def _candidates(line: Line) -> str:
    more = line.candidate_count - len(line.candidate_rows)
    return ", ".join(line.candidate_rows) + (f" and {more} more" if more else "")


def _sum_of(total: Line) -> str:
    parts = []
    if total.ledger is not None:
        counts = msgspec.structs.asdict(total.ledger)
        parts += [f"{counts['requests']} requests", *(f"{counts[name]} {name} tokens" for name in _NAMES[1:])]
    if total.ledger_cost is not None:
        parts.append(f"{usd(total.ledger_cost)} USD")
    return ", ".join(parts) or "nothing was used"
