"""The whole cost of a request: tokens and time at the model's price, the image tool's tokens at the price of the model
that drew, a factor of the host, and calls of tools.

What cannot be charged exactly is never guessed silently: then there is a reason, and the amount by which the cost may
be higher.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import permutations, product

import msgspec
from msgspec import structs

from chatgpt_agent.core.money.exact import EXACT, ZERO, exact_sum
from chatgpt_agent.core.money.kinds import CALL_COLUMNS, TOKEN_KINDS, WEB_SEARCH
from chatgpt_agent.core.money.pricing import CostPart, Price, cost_parts
from chatgpt_agent.core.money.surcharges import NO_SURCHARGES, ONE, Surcharges
from chatgpt_agent.core.usage import CACHED_KIND, CALLS_UNKNOWN, IMAGE_UNKNOWN, Usage

# Why a cost may differ from OpenAI's, beside the reasons of core/usage.py.
NO_PRICE = "no_price"  # a part of the usage has no price
SEARCH_UNREPORTED = "search_unreported"  # chat completions search, and do not report it
CALL_MULTIPLIER = "call_multiplier"  # calls were charged without the factor of the host

Doubt = tuple[str, Decimal]  # a reason, and by how much the cost may be higher


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """USD. `uncertain_cost`: by how much the cost may be higher; `uncertain_reason`: why it may differ from OpenAI's.
    `surcharge_ids`: of those that were applied."""

    cost: Decimal
    surcharge_ids: tuple[int, ...] = ()
    uncertain_cost: Decimal = ZERO
    uncertain_reason: str | None = None


def charge(
    usage: Usage,
    price: Price,
    *,
    service_tier: str | None = None,
    surcharges: Surcharges = NO_SURCHARGES,
    image_price: Price | None = None,
    unreported_search: bool = False,
    max_cost: Decimal = ZERO,
) -> Bill:
    """Returns the bill of a usage. `unreported_search`: OpenAI has searched, and does not say how often; `max_cost`:
    the most that the request can cost, in USD, which is what a part without a price, or without a count, may cost."""
    cost = price.cost(usage, service_tier)
    is_rare = price.has_only_time or unreported_search
    if usage.is_simple and surcharges is NO_SURCHARGES and not is_rare:  # as nearly every answer is
        return Bill(cost=cost)
    doubts: list[Doubt] = []
    if usage.uncertain_reason == CACHED_KIND:
        doubts += _doubt_cached(usage, price, service_tier, cost)
    elif usage.uncertain_reason is not None:
        doubts.append((usage.uncertain_reason, ZERO))
    if usage.image_tool is not None and image_price is not None:
        cost = EXACT.add(cost, image_price.cost(usage.image_tool))
        doubts += _doubt_drawn(usage.image_tool, image_price)
    multiplier = surcharges.multiplier
    if multiplier != ONE:
        cost = EXACT.multiply(cost, multiplier)
        doubts = [(reason, EXACT.multiply(amount, multiplier)) for reason, amount in doubts]
    calls, call_ids = _charge_calls(usage, surcharges)
    cost = EXACT.add(cost, calls)
    if calls and multiplier != ONE:
        doubts.append((CALL_MULTIPLIER, EXACT.multiply(calls, EXACT.subtract(multiplier, ONE))))
    if unreported_search:
        amount = surcharges.amounts.get(WEB_SEARCH, max_cost)
        doubts.append((SEARCH_UNREPORTED, EXACT.multiply(amount, multiplier)))
    uncertain_cost = exact_sum(amount for _, amount in doubts)
    is_priced = _is_priced(usage, price, surcharges, image_price)
    if not is_priced:
        doubts.insert(0, (NO_PRICE, ZERO))
    if not is_priced or usage.uncertain_reason in (CALLS_UNKNOWN, IMAGE_UNKNOWN):
        uncertain_cost = max(uncertain_cost, EXACT.subtract(max_cost, cost))
    return Bill(
        cost=cost,
        surcharge_ids=tuple(sorted((*surcharges.multiplier_ids, *call_ids))),
        uncertain_cost=uncertain_cost,
        uncertain_reason=doubts[0][0] if doubts else None,
    )


def bill_parts(
    usage: Usage,
    price: Price,
    *,
    service_tier: str | None = None,
    surcharges: Surcharges = NO_SURCHARGES,
    image_price: Price | None = None,
) -> list[CostPart]:
    """Returns the parts of the cost that `charge` computes, which add up to it exactly."""
    parts = cost_parts(price, usage, service_tier)
    if usage.image_tool is not None and image_price is not None:
        parts += cost_parts(image_price, usage.image_tool)
    multiplier = surcharges.multiplier
    if multiplier != ONE:
        parts = [
            structs.replace(
                part,
                multiplier=EXACT.multiply(part.multiplier, multiplier),
                amount=EXACT.multiply(part.amount, multiplier),
            )
            for part in parts
        ]
    for kind, count in called(usage):
        if kind in surcharges.amounts:
            rate = surcharges.amounts[kind]
            amount = EXACT.multiply(rate, Decimal(count))
            parts.append(CostPart(kind=kind, count=Decimal(count), rate=rate, unit=1, amount=amount))
    return parts


def _charge_calls(usage: Usage, surcharges: Surcharges) -> tuple[Decimal, list[int]]:
    """The USD for all calls that have a price, and the ids of these prices."""
    kinds = [kind for kind, _ in called(usage) if kind in surcharges.amounts]
    amounts = (EXACT.multiply(surcharges.amounts[kind], Decimal(count_of(usage, kind))) for kind in kinds)
    return exact_sum(amounts), [surcharges.ids[kind] for kind in kinds]


def count_of(usage: Usage, kind: str) -> int:
    """Returns the number of calls of a kind in a usage."""
    count: int = getattr(usage, CALL_COLUMNS[kind])
    return count


def called(usage: Usage) -> list[tuple[str, int]]:
    """Returns the kinds of calls in a usage, with their numbers."""
    return [(kind, count) for kind in CALL_COLUMNS if (count := count_of(usage, kind))]


def _doubt_cached(usage: Usage, price: Price, service_tier: str | None, cost: Decimal) -> list[Doubt]:
    """A doubt, if the cost depends on the kinds of cached and of written tokens, which the answer does not tell."""
    if all(table.get(rate) is None for table in (price.rates, *price.tiers) for rate in _MEDIA_RATES):
        return []  # text and media cost the same, as of most models that read images
    costs = {price.cost(each, service_tier) for each in _possible(usage)}
    return [(CACHED_KIND, EXACT.subtract(max(*costs, cost), cost))] if len(costs) > 1 else []


def _doubt_drawn(usage: Usage, price: Price) -> list[Doubt]:
    """A doubt, if the cost depends on how many of the tokens were cached, which the answer does not tell."""
    if usage.uncertain_reason is None:
        return []
    cost, costs = price.cost(usage), {price.cost(each) for each in _possibly_cached(usage)}
    return [(usage.uncertain_reason, EXACT.subtract(max(costs), cost))] if len(costs) > 1 else []


def _dear_rates(usage: Usage) -> list[tuple[str, str]]:
    """Returns the rates that must be set where the other one is, because tokens cost more than that."""
    return [(own, other) for name, own, other in _DEAR_PARTS if getattr(usage, name)]


_DEAR_PARTS = [(kind.name, str(kind.rate), str(kind.fallback)) for kind in TOKEN_KINDS if kind.is_dearer]


def _is_priced(usage: Usage, price: Price, surcharges: Surcharges, image_price: Price | None) -> bool:
    """Whether everything in a usage has a price."""
    return (
        not (usage.seconds and price.rates.minute is None)
        and not (price.has_only_time and (usage.input or usage.output))
        and not (usage.image_tool is not None and image_price is None)
        and all(price.rates.get(own) is not None or price.rates.get(other) is None for own, other in _dear_rates(usage))
        and all(kind in surcharges.amounts for kind, _ in called(usage))
    )


# The media of the input beside text, each with the name of its cached tokens.
_MEDIA = tuple((kind.name, *kind.without) for kind in TOKEN_KINDS if kind.side == "input" and kind.is_medium)
_MEDIA_RATES = tuple(str(kind.rate) for kind in TOKEN_KINDS if any(kind.name in names for names in _MEDIA))
_ORDERS = tuple(permutations(range(1 + len(_MEDIA))))  # of text, 0, and the media


def _possible(usage: Usage) -> Iterable[Usage]:
    """Yields usages that the counts may stand for, among them the cheapest and the dearest: cached tokens and those
    that were written to the cache are taken from text and media in every order, each as far as it goes."""
    media = [getattr(usage, name) for name, _ in _MEDIA]
    counts = [usage.input - sum(media), *media]
    written = usage.written
    for order in _ORDERS:
        if not written:
            yield _of_media(usage, _take(counts, order, usage.cached), [0] * len(counts))
            continue
        for other in _ORDERS:
            cached = _take(counts, order, usage.cached)
            yield _of_media(usage, cached, _take(_minus(counts, cached), other, written))
            writes = _take(counts, other, written)
            yield _of_media(usage, _take(_minus(counts, writes), order, usage.cached), writes)


def _possibly_cached(usage: Usage) -> Iterable[Usage]:
    """Yields the usages in which all tokens of text and of each medium are cached, or none."""
    media = [getattr(usage, name) for name, _ in _MEDIA]
    counts = [usage.input - sum(media), *media]
    for flags in product((0, 1), repeat=len(counts)):
        cached = [count * flag for count, flag in zip(counts, flags, strict=True)]
        each = _of_media(usage, cached, [0] * len(counts))
        yield msgspec.structs.replace(each, cached=sum(cached))


def _take(counts: Sequence[int], order: Iterable[int], number: int) -> list[int]:
    """Returns what is taken of each count, in this order, each as far as it goes, until it is this number in all."""
    parts = [0] * len(counts)
    for index in order:
        parts[index] = min(number, counts[index])
        number -= parts[index]
    return parts


def _minus(counts: Sequence[int], others: Sequence[int]) -> list[int]:
    return [count - other for count, other in zip(counts, others, strict=True)]


def _of_media(usage: Usage, cached: Sequence[int], writes: Sequence[int]) -> Usage:
    """Returns the usage with these cached and written tokens of text and the media. All writes have one rate, and are
    charged before media: those of a medium are counted as text."""
    fields = {}
    for index, (name, cached_name) in enumerate(_MEDIA, 1):
        fields[name] = getattr(usage, name) - writes[index]
        fields[cached_name] = cached[index]
    return msgspec.structs.replace(usage, **fields)
