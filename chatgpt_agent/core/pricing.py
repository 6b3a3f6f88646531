"""What tokens cost: exact decimals in USD, from the price that was in force.

Prices are per 1,000,000 tokens. A cost is the exact product: never a float, never rounded before it is shown.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Context, Decimal, Inexact, InvalidOperation

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.usage import Usage

MAX_PRICE = Decimal(1_000_000)  # USD per 1,000,000 tokens
MAX_PLACES = 10  # decimal places of a price

# 12 digits of tokens times 17 digits of a price, three times added: 60 digits never round, and if they did, it raises.
_EXACT = Context(prec=60, traps=[Inexact, InvalidOperation])


class Price(msgspec.Struct, frozen=True):
    """A model's price from a moment on. `cached_input` None: cached tokens cost what others do.
    `input` None: from then on the model has no price, so it is refused."""

    id: int
    model: str
    effective_at: datetime
    input: Decimal | None
    output: Decimal | None
    cached_input: Decimal | None = None

    def cost(self, usage: Usage) -> Decimal:
        """USD for these tokens, each charged once: cached ones are a part of the input."""
        assert self.input is not None, "a removed price prices nothing"
        assert self.output is not None
        cached = self.input if self.cached_input is None else self.cached_input
        total = _EXACT.multiply(self.input, Decimal(usage.input - usage.cached))
        total = _EXACT.add(total, _EXACT.multiply(cached, Decimal(usage.cached)))
        total = _EXACT.add(total, _EXACT.multiply(self.output, Decimal(usage.output)))
        return _EXACT.scaleb(total, -6)


class PriceBook:
    """All prices with their history; a frozen snapshot, so that a request keeps the one that it began with."""

    def __init__(self, prices: Iterable[Price] = ()) -> None:
        self._history: dict[str, list[Price]] = {}
        for price in sorted(prices, key=lambda price: (price.effective_at, price.id)):
            self._history.setdefault(price.model, []).append(price)

    def at(self, model: str, when: datetime) -> Price | None:
        """The price in force, or None: no price, not yet, or removed."""
        for price in reversed(self._history.get(model, ())):
            if price.effective_at <= when:
                return None if price.input is None else price
        return None

    def charged(self, asked: Price, served: str | None, when: datetime) -> Price:
        """The price that a row is charged: the served model's own if it has one, else the asked model's
        (decision 9)."""
        if served is None or served == asked.model:
            return asked
        return self.at(served, when) or asked

    def models(self, when: datetime) -> list[Price]:
        """The prices in force, by model name."""
        found = (self.at(model, when) for model in sorted(self._history))
        return [price for price in found if price is not None]


def parse_usd(text: str, name: str) -> Decimal:
    """A price in USD per 1,000,000 tokens out of what somebody typed. Raises InvalidValue."""
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        raise InvalidValue(f"{name}: {text!r} is not a number; give USD per 1,000,000 tokens, such as 2.50") from None
    if not value.is_finite() or not 0 <= value <= MAX_PRICE:
        raise InvalidValue(f"{name}: {text} is not between 0 and {MAX_PRICE} USD per 1,000,000 tokens")
    try:
        _EXACT.quantize(value, Decimal(1).scaleb(-MAX_PLACES))
    except Inexact:
        raise InvalidValue(f"{name}: {text} has more than {MAX_PLACES} decimal places") from None
    return value
