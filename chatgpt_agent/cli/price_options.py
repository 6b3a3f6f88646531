"""What the commands on prices share: options for every rate, dates, and how a price is shown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from chatgpt_agent.cli.common import usd
from chatgpt_agent.core.csv_writer import Amount
from chatgpt_agent.core.money.kinds import RATE_NAMES, TOKEN_KINDS, Rates
from chatgpt_agent.core.money.pricing import Tier, parse_usd
from chatgpt_agent.core.money.tier_syntax import kind_name, parse_tier, show_tier

F = TypeVar("F", bound=Callable[..., Any])

_HELP = {
    kind.rate: f"{kind.label}; else as --{kind.side}." if kind.is_part else f"{kind.label}."
    for kind in TOKEN_KINDS
    if kind.rate
}
_SHOWN = ("input", "cached_input", "output")  # the kinds that tables always show, in their order

_since = click.option(
    "--from",
    "since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    callback=lambda _context, _parameter, value: value.replace(tzinfo=UTC) if value else None,
    help="When it takes effect, in UTC; else now.",
)


def from_option(command: F) -> F:
    """`--from DATE`: the command gets `since`, in UTC."""
    return _since(command)


def rate_options(*, required: bool) -> Callable[[F], F]:
    """An option for every rate, and `--tier`; the command gets them by the names of `RATE_NAMES`, and as `tiers`."""

    def decorated(command: F) -> F:
        command = click.option(
            "--tier",
            "tiers",
            multiple=True,
            metavar="WHEN:WHAT",
            help="Other rates for a service tier, or above a number of input tokens: flex:x0.5, "
            "priority:input=4.25,output=17 or above=272000:input=5,output=22.5. More than once: each.",
        )(command)
        for kind in reversed(RATE_NAMES):
            needed = required and kind in ("input", "output")
            command = click.option(f"--{kind_name(kind)}", kind, required=needed, metavar="USD", help=_HELP[kind])(
                command
            )
        return command

    return decorated


def read_price(typed: Mapping[str, str | None], tiers: Iterable[str]) -> tuple[Rates, tuple[Tier, ...]]:
    """The rates and tiers of `rate_options`. Raises InvalidValue with the option's name."""
    rates = {kind: parse_usd(text, f"--{kind_name(kind)}") for kind in RATE_NAMES if (text := typed[kind]) is not None}
    return Rates(**rates), tuple(parse_tier(tier, "--tier") for tier in tiers)


def moment(when: datetime) -> str:
    """A date as tables show it, in UTC."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def shown_kinds(prices: Iterable[Rates]) -> list[str]:
    """The kinds of tokens that a table of these prices has a column for."""
    found = list(prices)
    more = [kind for kind in RATE_NAMES if kind not in _SHOWN and any(each.get(kind) is not None for each in found)]
    return [*_SHOWN, *more]


def price_headers(kinds: Sequence[str], *, tiers: bool) -> list[str]:
    """The headings of rates, and of tiers where there are any."""
    return [*(kind.replace("_", " ") for kind in kinds), *(["tiers"] if tiers else [])]


def price_cells(rates: Rates, tiers: Sequence[Tier] | None, kinds: Sequence[str]) -> list[str]:
    """The cells below `price_headers`; tiers None: without them."""
    cells: list[str] = [usd(rates.get(kind)) for kind in kinds]
    return cells if tiers is None else [*cells, "\n".join(map(show_tier, tiers))]


def price_json(model: str, when: datetime | None, rates: Rates, tiers: Iterable[Tier]) -> dict[str, object]:
    """A price as JSON shows it; amounts are texts."""
    listed = [
        {"service_tier": tier.service_tier, "above": tier.above, "multiplier": _amount(tier.multiplier), **_rates(tier)}
        for tier in tiers
    ]
    return {"model": model, "effective_at": when, **_rates(rates), "tiers": listed}


def _rates(rates: Rates) -> dict[str, Amount | None]:
    return {name: _amount(rate) for name, rate in rates.all_rates().items()}


def _amount(amount: Any) -> Amount | None:
    return None if amount is None else usd(amount)
