"""`chatgpt-agent price import`: a list of prices, what it would change, and the change."""

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from chatgpt_agent.admin import price_import
from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.admin.price_import import ListDifference
from chatgpt_agent.admin.price_import_result import import_result
from chatgpt_agent.cli.common import echo_json, warn, with_administration
from chatgpt_agent.cli.effects import reads_with
from chatgpt_agent.cli.formats import table_option
from chatgpt_agent.cli.price_changes import KINDS, echo_changes, echo_surcharges, named, shutdown_counts
from chatgpt_agent.cli.price_options import from_option, only_option, region_option
from chatgpt_agent.cli.tables import echo_table
from chatgpt_agent.core.money.litellm import OTHER_PROVIDER, Skipped
from chatgpt_agent.core.money.price_files import MAX_FILE, PriceFile


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@from_option
@only_option
@region_option
@click.option(
    "--show", type=click.Choice(KINDS), multiple=True, help="Show only these changes, however many. May be repeated."
)
@click.option("--verbose", is_flag=True, help="Also list every skipped entry of OpenAI with the reason.")
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
    region: str | None,
    show: tuple[str, ...],
    verbose: bool,
    yes: bool,
    json: bool,
) -> None:
    """Import LiteLLM's price list, or the CSV of `price export`.

    LiteLLM's list is the file model_prices_and_context_window.json of its repository.

    Shows how the list differs from the prices in force, and sets them with --yes: all of them, or none. A model of the
    list that has no price yet can be used from then on. LiteLLM's list also has fees of tools, which become surcharges,
    and days on which models are shut down. FILE - is standard input.

    Example: chatgpt-agent price import model_prices_and_context_window.json --only 'gpt-6*'
    """
    listed = read_list(file, only)
    changes = await administration.price_import.compare(listed, since=since, region=region)
    if yes:
        await administration.price_import.apply(changes)
    if json:
        echo_json(import_result(changes, listed, applied=yes))
        return
    echo_changes(changes.prices.changes, show)
    echo_surcharges(changes.surcharges.changes)
    for rate, models in listed.ignored_rates.items():
        warn(f"{rate} of {named(models)} is not taken: no such rate is charged here")
    if verbose:
        _echo_skipped(listed.skipped)
    for line in _summary(changes, listed.skipped, applied=yes):
        click.echo(line)


def _summary(changes: ListDifference, skipped: Sequence[Skipped], *, applied: bool) -> list[str]:
    kinds = Counter(change.kind for change in changes.prices.changes)
    lines = [f"{', '.join(f'{kinds[kind]} {kind}' for kind in KINDS)}, {changes.prices.unchanged} unchanged."]
    surcharges = Counter(change.kind for change in changes.surcharges.changes)
    if surcharges or changes.surcharges.unchanged:
        counts = f"{surcharges['new']} new, {surcharges['changed']} changed, {changes.surcharges.unchanged} unchanged"
        lines.append(f"Surcharges: {counts}.")
    if changes.shutdown_dates:
        lines.append(f"Shutdown dates: {shutdown_counts(changes.shutdown_dates)}.")
    if skipped:
        reasons = sorted(Counter(entry.reason for entry in skipped).items(), key=lambda item: (-item[1], item[0]))
        lines.append(f"Skipped: {', '.join(f'{count} ({reason})' for reason, count in reasons)}.")
    if changes.is_empty:
        return [*lines, "There is nothing to set."]
    return [*lines, "The prices are set." if applied else "Nothing is set yet: give --yes to set the prices."]


def _echo_skipped(skipped: Sequence[Skipped]) -> None:
    """Prints the entries of OpenAI; those of other providers are thousands."""
    lines = [(entry.model, entry.reason) for entry in skipped if entry.reason != OTHER_PROVIDER]
    if lines:
        echo_table(["skipped", "reason"], sorted(lines))
        click.echo()


def read_list(file: Path, only: Sequence[str]) -> PriceFile:
    """The prices in a file, or in standard input if it is `-`. Raises InvalidValue."""
    if str(file) != "-":
        return price_import.read_file(file, only)
    return price_import.read_data(sys.stdin.buffer.read(MAX_FILE + 1), only)
