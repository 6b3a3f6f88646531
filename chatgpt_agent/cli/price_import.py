"""`chatgpt-agent price import`: a list of prices, what it would change, and the change."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from chatgpt_agent.admin import price_import
from chatgpt_agent.admin.administration import Administration
from chatgpt_agent.cli.common import echo_json, echo_table, json_option, usd, with_administration
from chatgpt_agent.cli.effects import reads_with
from chatgpt_agent.cli.price_options import from_option, price_headers, rate_columns, second
from chatgpt_agent.core.money.litellm import Skipped
from chatgpt_agent.core.money.price_csv import Change, Difference
from chatgpt_agent.core.money.tier_syntax import show_tier


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@from_option
@click.option(
    "--only", multiple=True, metavar="PATTERN", help="Only models with names like 'gpt-4o*'. May be repeated."
)
@click.option("--yes", is_flag=True, help="Set the prices; without it, they are only shown.")
@json_option
@with_administration
@reads_with(yes=False)
async def import_(
    administration: Administration,
    *,
    file: Path,
    since: datetime | None,
    only: tuple[str, ...],
    yes: bool,
    json: bool,
) -> None:
    """Import LiteLLM's price list, or the CSV of `price export`.

    LiteLLM's list is the file model_prices_and_context_window.json of its repository.

    Shows how the list differs from the prices in force, and sets them with --yes: all of them, or none. A model of the
    list that has no price yet can be used from then on.

    Example: chatgpt-agent price import model_prices_and_context_window.json --only 'gpt-4o*'
    """
    listed = price_import.read_file(file, only)
    difference = await administration.price_import.compare(listed.prices, since=since)
    if yes:
        await administration.price_import.apply(difference)
    if json:
        echo_json(price_import.result(difference, listed.skipped, applied=yes))
        return
    if difference.changes:
        _echo_changes(difference.changes)
        click.echo()
    for line in _summary(difference, listed.skipped, applied=yes):
        click.echo(line)


def _summary(difference: Difference, skipped: Sequence[Skipped], *, applied: bool) -> list[str]:
    kinds = Counter(change.kind for change in difference.changes)
    counts = ", ".join(f"{kinds[kind]} {kind}" for kind in ("new", "changed", "removed"))
    lines = [f"{counts}, {difference.unchanged} unchanged."]
    if skipped:
        reasons = sorted(Counter(entry.reason for entry in skipped).items(), key=lambda item: (-item[1], item[0]))
        lines.append(f"Skipped: {', '.join(f'{count} ({reason})' for reason, count in reasons)}.")
    if not difference.changes:
        return [*lines, "There is nothing to set."]
    return [*lines, "The prices are set." if applied else "Nothing is set yet: give --yes to set the prices."]


def _echo_changes(changes: Sequence[Change]) -> None:
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
    echo_table(["", "model", *price_headers(kinds, tiers=with_tiers), "from (UTC)"], lines)


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
