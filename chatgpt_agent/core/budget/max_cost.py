"""What a call can cost at most, told before it is made: what a budget sets aside for it.

A token is at least one byte of text, so the bytes of a body are no fewer than its tokens. What a body only points to
(an image, a file, an earlier answer) has tokens that nobody can count beforehand; a number of them is assumed.
"""

from collections.abc import Iterable
from decimal import Decimal
from operator import attrgetter

import msgspec

from chatgpt_agent.core.money.kinds import Rates, rates_of_side
from chatgpt_agent.core.money.pricing import Price

# The rates that tokens of each side may cost; cached tokens are never the dearest.
_input_rates = attrgetter(*(rate for rate in rates_of_side("input") if rate != "cached_input"))
_output_rates = attrgetter(*rates_of_side("output"))
BYTES_A_TOKEN = 4  # of English text, as OpenAI's own rate limits assume


class Size(msgspec.Struct, frozen=True):
    """What is known of a call before it is made. `input_bytes`: of text; `links`: things that the body only points to;
    `output_limit`: tokens, of each of its `choices`, None where the call has no limit of its own."""

    input_bytes: int
    links: int = 0
    output_limit: int | None = None
    choices: int = 1
    service_tier: str | None = None


class Assumptions(msgspec.Struct, frozen=True):
    """Tokens that are assumed where nobody can tell: of each link, and of an output without a limit."""

    link_tokens: int
    output_tokens: int

    def output(self, size: Size) -> int:
        """The most output tokens of a call."""
        limit = self.output_tokens if size.output_limit is None else size.output_limit
        return limit * size.choices


def most(price: Price, size: Size, assumed: Assumptions) -> Decimal:
    """USD that a call costs at most, as far as its size tells: each token at the dearest rate of its side, in the
    dearest of the tiers that its answer may be charged at."""
    given, made = size.input_bytes + size.links * assumed.link_tokens, assumed.output(size)
    found = _most(price.rates, given, made)
    for tier in price.tiers:
        if tier.service_tier in (None, size.service_tier) and (tier.above < given or tier.above == 0):
            other = _most(price.rates if tier.multiplier is not None else tier, given, made)
            found = max(found, other if tier.multiplier is None else other * tier.multiplier)
    return found.scaleb(-6)


def _most(rates: Rates, given: int, made: int) -> Decimal:
    return _dearest(_input_rates(rates)) * given + _dearest(_output_rates(rates)) * made


def _dearest(rates: Iterable[Decimal | None]) -> Decimal:
    return max(rate for rate in rates if rate is not None)


def estimate_tokens(size: Size) -> int:
    """Tokens that a call is taken for by limits of tokens a minute, until its answer tells."""
    return size.input_bytes // BYTES_A_TOKEN + (size.output_limit or 0) * size.choices
