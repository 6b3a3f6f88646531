"""What the commands on prices share: options for every rate, dates, and the cells of tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from chatgpt_agent.cli.common import WrongOptions, usd
from chatgpt_agent.cli.types import DATE
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.moments import show_second
from chatgpt_agent.core.money.kinds import RATE_NAMES, TIME_RATE, TOKEN_KINDS, Rates, TokenKind
from chatgpt_agent.core.money.litellm_surcharges import REGIONS
from chatgpt_agent.core.money.pricing import Tier, check_rates, parse_usd
from chatgpt_agent.core.money.tier_syntax import kind_name, parse_tier, show_tier

F = TypeVar("F", bound=Callable[..., Any])


def _help(kind: TokenKind) -> str:
    other = (kind.fallback or kind.side).replace("_", "-")
    return f"{kind.label}; else as --{other}." if kind.is_part else f"{kind.label}."


_HELP = {kind.rate: _help(kind) for kind in TOKEN_KINDS if kind.rate}
_HELP |= {TIME_RATE: "USD per minute of audio that OpenAI charges by time; else it has no price."}
_ALWAYS = ("input", "cached_input", "output")  # the rates that every table shows, in this order

_since = click.option(
    "--from",
    "since",
    type=DATE,
    metavar="DATE",
    help="When it takes effect, in UTC; else now.",
)


only_option = click.option(
    "--only", multiple=True, metavar="PATTERN", help="Only models with names like 'gpt-6*'. May be repeated."
)

region_option = click.option(
    "--region",
    type=click.Choice(REGIONS),
    help="The region of the upstream, whose factors of LiteLLM's list its host then has.",
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
            "priority:input=4.25,output=17 or above=272000:input=5,output=22.5. May be repeated.",
        )(command)
        for kind in reversed(RATE_NAMES):
            needed = required and kind in ("input", "output")
            command = click.option(f"--{kind_name(kind)}", kind, required=needed, metavar="USD", help=_HELP[kind])(
                command
            )
        return command

    return decorated


def read_price(rate_texts: Mapping[str, str | None], tiers: Iterable[str]) -> tuple[Rates, tuple[Tier, ...]]:
    """The rates and tiers of `rate_options`. Raises InvalidValue with the option's name, or WrongOptions."""
    amounts = {
        kind: parse_usd(text, f"--{kind_name(kind)}") for kind in RATE_NAMES if (text := rate_texts[kind]) is not None
    }
    rates, read_tiers = Rates(**amounts), tuple(parse_tier(tier, "--tier") for tier in tiers)
    try:
        check_rates(rates, read_tiers)
    except InvalidValue as error:
        raise WrongOptions(error.message) from None
    return rates, read_tiers


def second(moment: datetime) -> str:
    """A moment in tables, in UTC."""
    return show_second(moment)


def rate_columns(rates: Iterable[Rates]) -> list[str]:
    """The kinds of rates that a table has a column for."""
    listed = list(rates)
    more = [kind for kind in RATE_NAMES if kind not in _ALWAYS and any(each.get(kind) is not None for each in listed)]
    return [*_ALWAYS, *more]


def price_headers(kinds: Sequence[str], *, tiers: bool) -> list[str]:
    """The headings of rates, and of tiers if there are any."""
    return [*(kind.replace("_", " ") for kind in kinds), *(["tiers"] if tiers else [])]


def price_cells(rates: Rates, tiers: Sequence[Tier] | None, kinds: Sequence[str]) -> list[str]:
    """The cells below `price_headers`; tiers None: without them."""
    cells: list[str] = [usd(rates.get(kind)) for kind in kinds]
    return cells if tiers is None else [*cells, "\n".join(map(show_tier, tiers))]
