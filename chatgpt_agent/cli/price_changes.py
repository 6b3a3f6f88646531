"""What a list of prices would change, as tables and lines."""

from collections.abc import Sequence

import click

from chatgpt_agent.cli.common import usd
from chatgpt_agent.cli.price_options import price_headers, rate_columns, second
from chatgpt_agent.cli.tables import echo_table
from chatgpt_agent.core.money.kinds import RATE_NAMES
from chatgpt_agent.core.money.price_csv import Change
from chatgpt_agent.core.money.shutdowns import ShutdownChange
from chatgpt_agent.core.money.surcharge_lists import SurchargeChange
from chatgpt_agent.core.money.tier_syntax import show_tier

KINDS = ("new", "changed", "removed")
MAX_CHANGES = 40  # in a table, unless --show chooses them
MAX_NAMED = 3  # models in a line
ALL = "every model"


def echo_changes(changes: Sequence[Change], show: Sequence[str]) -> None:
    """Prints changes of the kinds of `show`, or of all kinds, removals first, as many as one reads."""
    chosen = [change for change in changes if not show or change.kind in show]
    if not show and len(chosen) > MAX_CHANGES:
        chosen = sorted(chosen, key=lambda change: KINDS[::-1].index(change.kind))[:MAX_CHANGES]
    if chosen:
        _echo_table(chosen)
        click.echo()
    if not show and len(changes) > len(chosen):
        click.echo(f"And {len(changes) - len(chosen)} more: --show new, --only PATTERN or --json shows them.\n")


def change_line(change: Change, *, dated: bool) -> str:
    """A change in one line, each rate as `here -> in the list`. `dated`: with the date from which it is in force."""
    new, before = change.new, change.before
    since = f" from {second(new.effective_at)} UTC on" if dated and new.effective_at else ""
    if new.removes:
        return f"{new.model}{since}: the list removes the price"
    names = [kind for kind in RATE_NAMES if before is None or new.rates.get(kind) != before.rates.get(kind)]
    rates = [f"{kind.replace('_', ' ')} {rate_cell(change, kind)}" for kind in names if rate_cell(change, kind)]
    tiers = tier_cells(change) if before is None or frozenset(before.tiers) != frozenset(new.tiers) else []
    return f"{new.model}{since}: {'no price here; ' if before is None else ''}{'; '.join([*rates, *tiers])}"


def rate_cell(change: Change, kind: str) -> str:
    """A rate; if it changes, as `old -> new`."""
    new = change.new.rates.get(kind)
    old = change.before.rates.get(kind) if change.before else None
    if change.before is None or old == new:
        return usd(new)
    return f"{usd(old) or 'none'} -> {usd(new) or 'none'}"


def tier_cells(change: Change) -> list[str]:
    """A text for each tier; in a change, `-` is before the tiers that go and `+` before those that come."""
    new = list(map(show_tier, change.new.tiers))
    if change.before is None or frozenset(change.before.tiers) == frozenset(change.new.tiers):
        return new
    old = list(map(show_tier, change.before.tiers))
    return [*(f"- {tier}" for tier in old if tier not in new), *(f"+ {tier}" for tier in new if tier not in old)]


def surcharge_line(change: SurchargeChange) -> str:
    """A change of a surcharge in one line, as `here -> in the list`."""
    new = change.new
    name = " on ".join(filter(None, [new.kind, new.host]))
    return f"{new.model or ALL}: {name} {usd(change.before) or 'none'} -> {usd(new.amount) or 'none'}"


def echo_surcharges(changes: Sequence[SurchargeChange]) -> None:
    """Prints a line for the same change of several models."""
    models: dict[tuple[str, ...], list[str]] = {}
    for change in changes:
        new = change.new
        amount = usd(new.amount) if change.before is None else f"{usd(change.before)} -> {usd(new.amount) or 'none'}"
        since = second(new.effective_at) if new.effective_at else ""
        models.setdefault((change.kind, new.kind, new.host, amount, since), []).append(new.model or ALL)
    if models:
        lines = [(*change[:-1], named(names), change[-1]) for change, names in models.items()]
        echo_table(["", "surcharge", "host", "usd or factor", "models", "from (UTC)"], lines, keep=("", "surcharge"))
        click.echo()


def shutdown_counts(changes: Sequence[ShutdownChange]) -> str:
    """How many days of models are new, changed or removed."""
    new = sum(change.before is None for change in changes)
    removed = sum(change.shutdown_date is None for change in changes)
    return f"{new} new, {len(changes) - new - removed} changed, {removed} removed"


def named(models: Sequence[str]) -> str:
    """A few models, and how many more."""
    more = f" and {len(models) - MAX_NAMED} more" if len(models) > MAX_NAMED else ""
    return f"{', '.join(models[:MAX_NAMED])}{more}"


def _echo_table(changes: Sequence[Change]) -> None:
    """A line for each model; a rate that changes is shown as `old -> new`."""
    prices = [price for change in changes for price in (change.new, change.before) if price is not None]
    kinds = rate_columns(price.rates for price in prices)
    with_tiers = any(price.tiers for price in prices)
    lines = [
        [
            change.kind,
            change.new.model,
            *(rate_cell(change, kind) for kind in kinds),
            *(["\n".join(tier_cells(change))] if with_tiers else []),
            second(change.new.effective_at) if change.new.effective_at else "",
        ]
        for change in changes
    ]
    headers = ["", "model", *price_headers(kinds, tiers=with_tiers), "from (UTC)"]
    echo_table(headers, lines, keep=("", "model", "input", "output"))
