"""The most that a request can cost, computed before it is sent: what a budget reserves for it.

A token is at least one byte of text, so a body has no more tokens than bytes. What a body only refers to (an image, a
file, an earlier answer) has tokens that cannot be counted beforehand; a number of them is assumed.
"""

from collections.abc import Iterable
from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec

from chatgpt_agent.core.money.exact import EXACT, ZERO
from chatgpt_agent.core.money.kinds import Rates, rates_of_side
from chatgpt_agent.core.money.pricing import DECISIONS_TIER, FAST, Price, time_cost
from chatgpt_agent.core.money.surcharges import NO_SURCHARGES, Surcharges

Bound = tuple[int, Decimal, Decimal]  # above how many input tokens, and the dearest rates of input and output
Memo = dict[tuple[int, object], Any]

BYTES_PER_TOKEN = 4  # of English text, as OpenAI's own rate limits assume
BYTES_PER_SECOND = 500  # of audio: 4 kbit/s, less than any codec for speech has in use

# The rates that a token of each side may cost.
_input_rates = attrgetter(*rates_of_side("input"))
_output_rates = attrgetter(*rates_of_side("output"))


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a request before it is sent. `input_bytes`: of text; `attachments`: what the body only refers
    to; `files`: the bytes of each file in the body, which may be text or pages; `output_limit`: tokens of each of its
    `choices`, None where the request sets no limit.

    `runs_tools`: OpenAI may call tools, after which the model reads its input again; `tools`: the kinds of surcharges
    on their calls; `calls_limit`: the most calls of all, None where the request sets no limit; `draws`: whether one of
    the tools is image_generation; `audio_bytes`: of recordings, which may be charged by time."""

    input_bytes: int
    attachments: int = 0
    files: tuple[int, ...] = ()
    output_limit: int | None = None
    choices: int = 1
    service_tier: str | None = None
    runs_tools: bool = False
    tools: frozenset[str] = frozenset()
    calls_limit: int | None = None
    draws: bool = False
    audio_bytes: int = 0


class Assumptions(msgspec.Struct, frozen=True, kw_only=True):
    """Counts to assume where they are not known: tokens of an attachment, tokens of an output without a limit, calls of
    tools without a limit."""

    attachment_tokens: int
    output_tokens: int
    tool_calls: int = 0

    def output(self, size: Size) -> int:
        """The most output tokens of a request."""
        limit = self.output_tokens if size.output_limit is None else size.output_limit
        return limit * size.choices

    def calls(self, size: Size) -> int:
        """The most calls of tools."""
        if not size.runs_tools:
            return 0
        return self.tool_calls if size.calls_limit is None else size.calls_limit

    def input_tokens(self, size: Size) -> int:
        """The most input tokens of a request, as far as its size shows. After each call of a tool the model reads its
        input again, with what the tool has found."""
        tokens = size.input_bytes + size.attachments * self.attachment_tokens
        tokens += sum(max(bytes_, self.attachment_tokens) for bytes_ in size.files)
        calls = self.calls(size)
        return tokens * (calls + 1) + calls * self.attachment_tokens if calls else tokens


def max_cost(
    price: Price,
    size: Size,
    assumptions: Assumptions,
    *,
    standard_tier_only: bool = False,
    surcharges: Surcharges = NO_SURCHARGES,
    image_price: Price | None = None,
    memo: Memo | None = None,
) -> Decimal:
    """Returns the most that a request can cost in USD, as far as its size shows: each token at the dearest rate of its
    side, in the dearest of the tiers that may be charged. A request without a service tier may be served in any, which
    the project's settings decide; `standard_tier_only`: they never do. `memo` keeps what is computed of a price."""
    inputs = assumptions.input_tokens(size)
    outputs = assumptions.output(size)
    tier = size.service_tier
    if tier in _PROJECT_TIERS:
        tier = None if standard_tier_only else _ANY
    highest = _highest(_bounds(price, tier, memo), inputs, outputs)
    if surcharges is NO_SURCHARGES and not size.draws and not size.audio_bytes:  # as for nearly every request
        return EXACT.scaleb(highest, -6)
    calls = assumptions.calls(size)
    if size.draws and image_price is not None:
        drawn = _highest(_bounds(image_price, None, memo), inputs, calls * assumptions.output_tokens)
        highest = EXACT.add(highest, drawn)
    cost = EXACT.scaleb(highest, -6)
    if size.audio_bytes:
        cost = EXACT.add(cost, time_cost(Decimal(size.audio_bytes // BYTES_PER_SECOND + 1), price.rates.minute))
    cost = EXACT.multiply(cost, surcharges.multiplier)
    dearest = max((surcharges.amounts.get(kind, ZERO) for kind in size.tools), default=ZERO)
    # OpenAI does not say whether its factor for some hosts applies to calls, too.
    return EXACT.add(cost, EXACT.multiply(EXACT.multiply(dearest, surcharges.multiplier), Decimal(calls)))


# The answer may come back in any service tier.
_PROJECT_TIERS = (None, "auto")
_ANY = "*"


def _bounds(price: Price, service_tier: str | None, memo: Memo | None) -> tuple[Bound, ...]:
    """Returns the rates at which a request may be charged, without those that others exceed. They are computed once for
    each price: it may have a dozen tiers, and this runs for each request."""
    key = (id(price), service_tier)
    if memo is not None and key in memo:
        bounds_of_price: tuple[Bound, ...] = memo[key]
        return bounds_of_price
    names = {service_tier, *FAST} if service_tier in FAST else {service_tier}
    bounds = [_bound(0, price.rates)]
    for tier in price.tiers:
        is_asked = tier.service_tier is None or tier.service_tier in names
        if is_asked or (service_tier == _ANY and tier.service_tier not in _NEVER_CHOSEN):
            if tier.multiplier is None:
                bounds.append(_bound(tier.above, tier))
            else:
                _, inputs, outputs = bounds[0]
                factor = tier.multiplier
                bounds.append((tier.above, EXACT.multiply(inputs, factor), EXACT.multiply(outputs, factor)))
    highest = tuple(bound for bound in dict.fromkeys(bounds) if not any(_exceeds(other, bound) for other in bounds))
    if memo is not None:
        memo[key] = highest
    return highest


_NEVER_CHOSEN = frozenset({"batch", DECISIONS_TIER})  # without being asked for


def _bound(above: int, rates: Rates) -> Bound:
    return above, _dearest(_input_rates(rates)), _dearest(_output_rates(rates))


def _exceeds(other: Bound, bound: Bound) -> bool:
    return other != bound and other[0] <= bound[0] and other[1] >= bound[1] and other[2] >= bound[2]


def _highest(bounds: tuple[Bound, ...], inputs: int, outputs: int) -> Decimal:
    """USD times a million."""
    costs = [
        EXACT.add(EXACT.multiply(input_rate, Decimal(inputs)), EXACT.multiply(output_rate, Decimal(outputs)))
        for above, input_rate, output_rate in bounds
        if above < inputs or above == 0
    ]
    return costs[0] if len(costs) == 1 else max(costs)


def _dearest(rates: Iterable[Decimal | None]) -> Decimal:
    return max(filter(None, rates), default=ZERO)


def estimate_tokens(size: Size) -> int:
    """Returns the tokens that a rate limit counts for a request until its answer shows them."""
    return size.input_bytes // BYTES_PER_TOKEN + (size.output_limit or 0) * size.choices
