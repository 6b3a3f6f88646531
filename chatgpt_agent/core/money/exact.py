"""Amounts in USD: exact, added up without rounding, written to their last digit."""

from collections.abc import Iterable
from decimal import Context, Decimal, Inexact

_EXACT = Context(prec=200, traps=[Inexact])  # more digits than PostgreSQL's sums have; if not, it raises


def add_up(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum."""
    total = Decimal(0)
    for amount in amounts:
        total = _EXACT.add(total, amount)
    return total


def plain(amount: Decimal) -> str:
    """An amount to its last digit, without an exponent and without trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
