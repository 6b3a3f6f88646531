"""Prices as cells of tables: rates in USD per 1,000,000 tokens to their last digit, and the rest in words."""

from collections.abc import Mapping
from datetime import UTC
from decimal import Decimal
from typing import Any

from chatgpt_agent.core.money.kinds import RATE_CHAINS, RATE_NAMES, Rates
from chatgpt_agent.core.money.pricing import NewPrice, Price, Tier
from chatgpt_agent.core.money.tier_syntax import show_tier, show_tiers
from chatgpt_agent.web.console.kind_names import rate_labels
from chatgpt_agent.web.console.parts import Brief, Column, Kind
from chatgpt_agent.web.console.routing import ConsoleRequest, page_url

MAIN = ("input", "cached_input", "output")  # the rates with a column of their own
UNIT = "USD / 1M"


def price_columns(request: ConsoleRequest) -> list[Column]:
    """Returns the columns for `price_cells`."""
    labels = rate_labels(request)
    return [
        *(Column(name, labels[name], Kind.EXACT_USD) for name in MAIN),
        Column("other_rates", request._("Other kinds")),
        Column("tiers", request._("Tiers")),
    ]


def price_cells(request: ConsoleRequest, price: Price | NewPrice) -> list[Any]:
    """Returns the rates and tiers of a price. Cached input without a rate is charged as input."""
    labels, rates = rate_labels(request), price.rates
    others = {name: rate for name, rate in rates.set_rates().items() if name not in MAIN}
    texts = [f"{labels[name]} {request.formats.exact_usd(rate)}" for name, rate in others.items()]
    return [*(rates.get(name) for name in MAIN), "; ".join(texts) or None, _tiers(request, price.tiers)]


def _tiers(request: ConsoleRequest, tiers: tuple[Tier, ...]) -> Brief | None:
    """The service tiers, and whether long requests have other rates; the rates themselves are a long text."""
    if not tiers:
        return None
    names = list(dict.fromkeys(tier.service_tier for tier in tiers if tier.service_tier))
    names += [request._("long requests")] if any(tier.above for tier in tiers) else []
    return Brief(", ".join(names), show_tiers(tiers))


def since_cell(request: ConsoleRequest, price: Price) -> Brief:
    """Returns the day from which a price is in force; the tooltip has the moment."""
    at = price.effective_at
    return Brief(request.formats.day(at.astimezone(request.formats.zone).date()), at.astimezone(UTC).isoformat())


def effective_rate(rates: Rates, name: str) -> tuple[Decimal | None, str]:
    """Returns what tokens of a kind cost, and the name of the rate that says so."""
    for each in RATE_CHAINS.get(name, (name,)):
        rate = rates.get(each)
        if rate is not None:
            return rate, each
    return None, name


def percent_change(before: Decimal | None, after: Decimal | None) -> float | None:
    """Returns by which part an amount grows; None: there is nothing to compare with."""
    if before is None or after is None or before == 0:
        return None
    return float((after - before) / before)


def changed_rates(request: ConsoleRequest, before: Price, after: NewPrice) -> list[tuple[str, Any, Any, float | None]]:
    """Returns what differs between two prices: name, before, after, and by which part a rate grows. A kind of tokens
    that has a rate in one of them is compared at what it costs in the other."""
    labels = rate_labels(request)
    changes: list[tuple[str, Any, Any, float | None]] = []
    for name in RATE_NAMES:
        if before.rates.get(name) == after.rates.get(name):
            continue
        old, new = effective_rate(before.rates, name)[0], effective_rate(after.rates, name)[0]
        changes.append((labels[name], old, new, percent_change(old, new)))
    return changes


def changed_tiers(before: tuple[Tier, ...], after: tuple[Tier, ...]) -> list[str]:
    """Returns the tiers that go, each after a `−`, and those that come, each after a `+`."""
    old, new = list(map(show_tier, before)), list(map(show_tier, after))
    return [*(f"− {tier}" for tier in old if tier not in new), *(f"+ {tier}" for tier in new if tier not in old)]


def price_url(model: str, *names: str) -> str:
    """Returns the address of a model, or of an action on its price."""
    return page_url("prices", model, *names)


def new_price_url(values: Mapping[str, str | None]) -> str:
    """Returns the address of the form for a price with these values in it."""
    return page_url("new-price", **{name: value or None for name, value in values.items()})
