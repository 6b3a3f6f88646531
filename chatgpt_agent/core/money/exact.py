"""Exact amounts: computed without rounding, and written to their last digit."""

from collections.abc import Iterable
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Annotated

from msgspec import Meta

# An amount in JSON: text in plain decimal notation.
Usd = Annotated[Decimal, Meta(description="USD, exactly.", extra_json_schema={"pattern": r"^-?[0-9]+(\.[0-9]+)?$"})]

# Of all computations with amounts. 200 digits hold the longest product (12 digits of tokens, 17 of a rate, 10 of a
# multiplier) and every sum of PostgreSQL; a result that would have to be rounded raises instead.
EXACT = Context(prec=200, traps=[Inexact, InvalidOperation])

ZERO = Decimal(0)


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """Returns the exact sum."""
    total = ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def format_usd(amount: Decimal) -> str:
    """Returns an amount to its last digit, without an exponent and without trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_short(amount: Decimal) -> str:
    """Returns USD rounded for reading: to the cent, or to the first two digits of less than a dollar."""
    if amount == 0 or amount >= 1:
        return f"{amount:.2f}"
    return f"{amount:.{max(2, 1 - amount.adjusted())}f}"
