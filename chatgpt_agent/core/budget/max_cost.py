"""The most that a request can cost, computed before it is sent: what a budget reserves for it.

A token is at least one byte of text, so a body has no more tokens than bytes. What a body only refers to (an image, a
file, an earlier answer) has tokens that cannot be counted beforehand; a number of them is assumed.
"""

from collections.abc import Iterable
from decimal import Decimal
from operator import attrgetter

import msgspec

from chatgpt_agent.core.money.exact import EXACT
from chatgpt_agent.core.money.kinds import Rates, rates_of_side
from chatgpt_agent.core.money.pricing import Price

BYTES_PER_TOKEN = 4  # of English text, as OpenAI's own rate limits assume

# The rates that a token of each side may cost.
_input_rates = attrgetter(*rates_of_side("input"))
_output_rates = attrgetter(*rates_of_side("output"))


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a request before it is sent. `input_bytes`: of text; `attachments`: what the body only refers
    to; `files`: the bytes of each file in the body, which may be text or pages; `output_limit`: tokens of each of its
    `choices`, None where the request sets no limit."""

    input_bytes: int
    attachments: int = 0
    files: tuple[int, ...] = ()
    output_limit: int | None = None
    choices: int = 1
    service_tier: str | None = None


class Assumptions(msgspec.Struct, frozen=True):
    """Token counts to assume where they are not known: of an attachment, and of an output without a limit."""

    attachment_tokens: int
    output_tokens: int

    def output(self, size: Size) -> int:
        """The most output tokens of a request."""
        limit = self.output_tokens if size.output_limit is None else size.output_limit
        return limit * size.choices

    def input_tokens(self, size: Size) -> int:
        """The most input tokens of a request, as far as its size shows."""
        files = sum(max(bytes_, self.attachment_tokens) for bytes_ in size.files)
        return size.input_bytes + size.attachments * self.attachment_tokens + files


def max_cost(price: Price, size: Size, assumptions: Assumptions) -> Decimal:
    """Returns the most that a request can cost in USD, as far as its size shows: each token at the dearest rate of its
    side, in the dearest of the tiers that may be charged."""
    inputs = assumptions.input_tokens(size)
    outputs = assumptions.output(size)
    highest = _cost_at_most(price.rates, inputs, outputs)
    for tier in price.tiers:
        if tier.service_tier in (None, size.service_tier) and (tier.above < inputs or tier.above == 0):
            if tier.multiplier is None:
                cost = _cost_at_most(tier, inputs, outputs)
            else:
                cost = EXACT.multiply(_cost_at_most(price.rates, inputs, outputs), tier.multiplier)
            highest = max(highest, cost)
    return EXACT.scaleb(highest, -6)


def _cost_at_most(rates: Rates, inputs: int, outputs: int) -> Decimal:
    cost = EXACT.multiply(_dearest(_input_rates(rates)), Decimal(inputs))
    return EXACT.add(cost, EXACT.multiply(_dearest(_output_rates(rates)), Decimal(outputs)))


def _dearest(rates: Iterable[Decimal | None]) -> Decimal:
    return max(filter(None, rates), default=Decimal(0))  # without a loop in Python: it runs for each request


def estimate_tokens(size: Size) -> int:
    """Returns the tokens that a rate limit counts for a request until its answer shows them."""
    return size.input_bytes // BYTES_PER_TOKEN + (size.output_limit or 0) * size.choices
