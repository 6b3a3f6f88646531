"""`chatgpt-agent price import`: a list of prices, what it would change, and the change."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click
import msgspec

from chatgpt_agent.admin.prices import Prices, read_price_file
from chatgpt_agent.cli.common import echo_json, echo_table, json_option, on_prices, usd
from chatgpt_agent.cli.price_options import from_option, moment, price_headers, price_json, shown_kinds
from chatgpt_agent.core.money.litellm import Skipped
from chatgpt_agent.core.money.price_csv import Change, Difference
from chatgpt_agent.core.money.price_files import select_models
from chatgpt_agent.core.money.tier_syntax import show_tier


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@from_option
@click.option(
    "--only", multiple=True, metavar="PATTERN", help="Only models of this name, such as 'gpt-4o*'; more than once: any."
)
@click.option("--yes", is_flag=True, help="Set the prices; without it, they are only shown.")
@json_option
@on_prices
async def import_(
    prices: Prices, file: Path, since: datetime | None, only: tuple[str, ...], yes: bool, json: bool
) -> None:
    """Read LiteLLM's model_prices_and_context_window.json, or the CSV of `price export`.

    Shows how it differs from the prices in force, and sets them with --yes: all of them, or none. A model of the file
    that has no price yet can be used from then on.

    Example: chatgpt-agent price import model_prices_and_context_window.json --only 'gpt-4o*'
    """
    read = read_price_file(file, select_models(only))
    found = await prices.compare(read.prices, since=since)
    if yes:
        await prices.apply(found)
    if json:
        listed: dict[str, list[object]] = {"new": [], "changed": [], "removed": []}
        for change in found.changes:
            listed[change.kind].append(_as_json(change))
        skipped = [msgspec.structs.asdict(entry) for entry in read.skipped]
        echo_json({**listed, "unchanged": found.unchanged, "skipped": skipped, "applied": yes})
        return
    if found.changes:
        _echo_changes(found.changes)
        click.echo()
    for line in _summary(found, read.skipped, applied=yes):
        click.echo(line)


def _summary(found: Difference, skipped: Sequence[Skipped], *, applied: bool) -> list[str]:
    kinds = Counter(change.kind for change in found.changes)
    lines = [
        f"{kinds['new']} new, {kinds['changed']} changed, {kinds['removed']} removed, {found.unchanged} unchanged."
    ]
    if skipped:
        reasons = sorted(Counter(entry.reason for entry in skipped).items(), key=lambda item: (-item[1], item[0]))
        lines.append(f"Left out: {', '.join(f'{count} ({reason})' for reason, count in reasons)}.")
    if not found.changes:
        return [*lines, "There is nothing to set."]
    return [*lines, "The prices are set." if applied else "Nothing is set yet: give --yes to set the prices."]


def _echo_changes(changes: Sequence[Change]) -> None:
    """A line for each model; a rate that changes is shown as `old -> new`."""
    before = [change.before.rates for change in changes if change.before]
    kinds = shown_kinds([*(change.new.rates for change in changes), *before])
    with_tiers = any(change.new.tiers or (change.before and change.before.tiers) for change in changes)
    lines = [
        [
            change.kind,
            change.new.model,
            *(_rate_cell(change, kind) for kind in kinds),
            *([_tiers_cell(change)] if with_tiers else []),
            moment(change.new.effective_at) if change.new.effective_at else "",
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
    """A tier a line; where they change, `-` stands before those that go and `+` before those that come."""
    new = list(map(show_tier, change.new.tiers))
    if change.before is None or frozenset(change.before.tiers) == frozenset(change.new.tiers):
        return "\n".join(new)
    old = list(map(show_tier, change.before.tiers))
    gone, come = [f"- {tier}" for tier in old if tier not in new], [f"+ {tier}" for tier in new if tier not in old]
    return "\n".join([*gone, *come])


def _as_json(change: Change) -> dict[str, object]:
    new, before = change.new, change.before
    return {
        **price_json(new.model, new.effective_at, new.rates, new.tiers),
        "before": price_json(before.model, before.effective_at, before.rates, before.tiers) if before else None,
    }
