"""What LiteLLM's list says of fees for tools, and of factors in regions, read as our surcharges.

A search costs USD per call, in the list once for each size of its context; a session of the code interpreter costs the
same with every model, so that the list has it in an entry of its own.
"""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.core.money.litellm import PROVIDERS, SEARCH_KEY, SESSION_KEY, UPLIFT_KEYS, LiteLlmList, provider_of
from chatgpt_agent.core.money.surcharges import MULTIPLIER, NewSurcharge, check_surcharge

REGIONS = tuple(UPLIFT_KEYS)


class ListedSurcharges(msgspec.Struct, frozen=True, kw_only=True):
    """The fees of a list; `factors`: by region and model; `differing`: by model, the prices of a search where they
    depend on the size of its context, from the lowest to the highest, which is the fee."""

    fees: list[NewSurcharge] = []
    factors: dict[str, dict[str, Decimal]] = {}
    differing: dict[str, list[Decimal]] = {}

    def of_region(self, region: str, host: str) -> list[NewSurcharge]:
        """Returns the factors of a region as surcharges on an upstream host."""
        return [
            NewSurcharge(kind=MULTIPLIER, amount=factor, host=host, model=model)
            for model, factor in self.factors.get(region, {}).items()
        ]


def read_surcharges(entries: Mapping[str, object], listed: LiteLlmList) -> ListedSurcharges:
    """Returns the surcharges on the models of a list, in whose order they are. Raises InvalidValue."""
    fees: list[NewSurcharge] = []
    factors: dict[str, dict[str, Decimal]] = {region: {} for region in REGIONS}
    differing: dict[str, list[Decimal]] = {}
    for model in sorted(listed.entries):
        entry = listed.entries[model]
        if prices := _searches(model, entry.get(SEARCH_KEY)):
            fees.append(_checked(model, SEARCH_KEY, NewSurcharge(kind="web_search", amount=prices[-1], model=model)))
            if len(prices) > 1:
                differing[model] = prices
        fees += _sessions(model, entry, model)
        for region, key in UPLIFT_KEYS.items():
            if entry.get(key) is not None:
                factor = NewSurcharge(kind=MULTIPLIER, amount=_amount(model, key, entry[key]), host="host", model=model)
                factors[region][model] = _checked(model, key, factor).amount or Decimal(1)
    for skipped in listed.skipped:
        entry_of = entries[skipped.model]
        if isinstance(entry_of, dict) and provider_of(entry_of) in PROVIDERS:
            fees += _sessions(skipped.model, entry_of, "")
    return ListedSurcharges(fees=fees, factors=factors, differing=differing)


def describe_differing(model: str, prices: list[Decimal]) -> str:
    """Returns a sentence on a search whose price depends on the size of its context."""
    lowest, highest = format_usd(prices[0]), format_usd(prices[-1])
    return f"a web search of {model} costs {lowest} to {highest} USD by the size of its context: {highest} is taken"


def _sessions(name: str, entry: Mapping[str, object], model: str) -> list[NewSurcharge]:
    if entry.get(SESSION_KEY) is None:
        return []
    amount = _amount(name, SESSION_KEY, entry[SESSION_KEY])
    return [_checked(name, SESSION_KEY, NewSurcharge(kind="code_interpreter", amount=amount, model=model))]


def _searches(model: str, value: object) -> list[Decimal]:
    """Returns the different prices of a search, the lowest first."""
    if value is None:
        return []
    if not isinstance(value, dict):
        raise InvalidValue(f"{model}, {SEARCH_KEY}: {str(value)[:40]!r} is not an object with prices")
    return sorted({_amount(model, f"{SEARCH_KEY}, {size[:40]}", price) for size, price in value.items()})


def _amount(name: str, key: str, value: object) -> Decimal:
    if not isinstance(value, Decimal):
        raise InvalidValue(f"{name[:80]}, {key}: {str(value)[:40]!r} is not a number")
    return value


def _checked(name: str, key: str, new: NewSurcharge) -> NewSurcharge:
    try:
        check_surcharge(new)
    except InvalidValue as error:
        raise InvalidValue(f"{name[:80]}, {key}: {error.message}") from None
    return new
