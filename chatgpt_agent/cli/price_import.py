"""`chatgpt-agent price import`: a list of prices, what it would change, and the change."""

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from chatgpt_agent.admin import price_import
from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.cli.common import echo_json, usd, warn, with_administration
from chatgpt_agent.cli.effects import reads_with
from chatgpt_agent.cli.formats import table_option
from chatgpt_agent.cli.price_options import from_option, price_headers, rate_columns, second
from chatgpt_agent.cli.tables import echo_table
from chatgpt_agent.core.money.litellm import Skipped
from chatgpt_agent.core.money.price_csv import Change, Difference
from chatgpt_agent.core.money.price_files import MAX_FILE, PriceFile
from chatgpt_agent.core.money.tier_syntax import show_tier

KINDS = ("new", "changed", "removed")
MAX_CHANGES = 40  # in a table, unless --show chooses them
MAX_NAMED = 3  # models in a line


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@from_option
@click.option(
    "--only", multiple=True, metavar="PATTERN", help="Only models with names like 'gpt-4o*'. May be repeated."
)
@click.option(
    "--show", type=click.Choice(KINDS), multiple=True, help="Show only these changes, however many. May be repeated."
)
@click.option("--yes", is_flag=True, help="Set the prices; without it, they are only shown.")
@table_option
@with_administration
@reads_with(yes=False)
async def import_(
    administration: Administration,
    *,
    file: Path,
    since: datetime | None,
    only: tuple[str, ...],
    show: tuple[str, ...],
    yes: bool,
    json: bool,
) -> None:
    """Import LiteLLM's price list, or the CSV of `price export`.

    LiteLLM's list is the file model_prices_and_context_window.json of its repository.

    Shows how the list differs from the prices in force, and sets them with --yes: all of them, or none. A model of the
    list that has no price yet can be used from then on. FILE - is standard input.

    Example: chatgpt-agent price import model_prices_and_context_window.json --only 'gpt-4o*'
    """
    listed = _read(file, only)
    difference = await administration.price_import.compare(listed.prices, since=since)
    if yes:
        await administration.price_import.apply(difference)
    if json:
        echo_json(price_import.result(difference, listed, applied=yes))
        return
    _echo_changes(difference.changes, show)
    for rate, models in listed.ignored_rates.items():
        more = f" and {len(models) - MAX_NAMED} more" if len(models) > MAX_NAMED else ""
        warn(f"{rate} of {', '.join(models[:MAX_NAMED])}{more} is not taken: no such rate is charged here")
    for line in _summary(difference, listed.skipped, applied=yes):
        click.echo(line)


def _summary(difference: Difference, skipped: Sequence[Skipped], *, applied: bool) -> list[str]:
    kinds = Counter(change.kind for change in difference.changes)
    counts = ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS)
    lines = [f"{counts}, {difference.unchanged} unchanged."]
    if skipped:
        reasons = sorted(Counter(entry.reason for entry in skipped).items(), key=lambda item: (-item[1], item[0]))
        lines.append(f"Skipped: {', '.join(f'{count} ({reason})' for reason, count in reasons)}.")
    if not difference.changes:
        return [*lines, "There is nothing to set."]
    return [*lines, "The prices are set." if applied else "Nothing is set yet: give --yes to set the prices."]


def _read(file: Path, only: Sequence[str]) -> PriceFile:
    if str(file) != "-":
        return price_import.read_file(file, only)
    return price_import.read_data(sys.stdin.buffer.read(MAX_FILE + 1), only)


def _echo_changes(changes: Sequence[Change], show: Sequence[str]) -> None:
    """Prints changes of the kinds of `show`, or of all kinds, removals first, as many as one reads."""
    chosen = [change for change in changes if not show or change.kind in show]
    if not show and len(chosen) > MAX_CHANGES:
        chosen = sorted(chosen, key=lambda change: KINDS[::-1].index(change.kind))[:MAX_CHANGES]
    if chosen:
        _echo_table(chosen)
        click.echo()
    if not show and len(changes) > len(chosen):
        click.echo(f"And {len(changes) - len(chosen)} more: --show new, --only PATTERN or --json shows them.\n")


def _echo_table(changes: Sequence[Change]) -> None:
    """A line for each model; a rate that changes is shown as `old -> new`."""
    prices = [price for change in changes for price in (change.new, change.before) if price is not None]
    kinds = rate_columns(price.rates for price in prices)
    with_tiers = any(price.tiers for price in prices)
    lines = [
        [
            change.kind,
            change.new.model,
            *(_rate_cell(change, kind) for kind in kinds),
            *([_tiers_cell(change)] if with_tiers else []),
            second(change.new.effective_at) if change.new.effective_at else "",
        ]
        for change in changes
    ]
    headers = ["", "model", *price_headers(kinds, tiers=with_tiers), "from (UTC)"]
    echo_table(headers, lines, keep=("", "model", "input", "output"))


def _rate_cell(change: Change, kind: str) -> str:
    new = change.new.rates.get(kind)
    old = change.before.rates.get(kind) if change.before else None
    if change.before is None or old == new:
        return usd(new)
    return f"{usd(old) or 'none'} -> {usd(new) or 'none'}"


def _tiers_cell(change: Change) -> str:
    """A line for each tier; in a change, `-` is before the tiers that go and `+` before those that come."""
    new = list(map(show_tier, change.new.tiers))
    if change.before is None or frozenset(change.before.tiers) == frozenset(change.new.tiers):
        return "\n".join(new)
    old = list(map(show_tier, change.before.tiers))
    removed, added = [f"- {tier}" for tier in old if tier not in new], [f"+ {tier}" for tier in new if tier not in old]
    return "\n".join([*removed, *added])
