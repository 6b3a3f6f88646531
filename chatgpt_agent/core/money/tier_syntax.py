"""The syntax of tiers in one line, as administrators type and read them.

A tier is `WHEN:WHAT`. WHEN: a service tier, `above=TOKENS`, or both with a comma. WHAT: `x` and a multiplier of the
price's own rates, or rates of its own. `flex:x0.5`, `priority:input=4.25,output=17`, `flex,above=272000:x0.8`.
"""

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import format_usd
from chatgpt_agent.core.money.kinds import TOKEN_RATES, Rates
from chatgpt_agent.core.money.pricing import Tier, check_rates, parse_usd
from chatgpt_agent.core.usage import MAX_COUNT

_VALID = Rates(input=Decimal(0), output=Decimal(0))  # to check a tier by itself


def kind_name(kind: str) -> str:
    """Returns the name of a rate in options and tiers: `cached-input`."""
    return kind.replace("_", "-")


def show_tier(tier: Tier) -> str:
    """Returns a tier in the syntax of `parse_tier`."""
    when = [*([tier.service_tier] if tier.service_tier else []), *([f"above={tier.above}"] if tier.above else [])]
    if tier.multiplier is not None:
        return f"{','.join(when)}:x{format_usd(tier.multiplier)}"
    rates = (f"{kind_name(kind)}={format_usd(rate)}" for kind, rate in tier.set_rates().items())
    return f"{','.join(when)}:{','.join(rates)}"


def show_tiers(tiers: Iterable[Tier]) -> str:
    """Returns all tiers of a price in one text."""
    return "; ".join(map(show_tier, tiers))


def parse_tiers(text: str, name: str) -> tuple[Tier, ...]:
    """Returns the tiers in a text that `show_tiers` wrote. Raises InvalidValue."""
    return tuple(parse_tier(part, name) for part in text.split(";") if part.strip())


def parse_tier(text: str, name: str) -> Tier:
    """Returns the tier in a text. Raises InvalidValue, which begins with the name and quotes the part that is wrong."""
    name = f"{name} {text.strip()[:80]!r}"
    when, colon, rates = text.partition(":")
    if not colon or not rates.strip():
        raise InvalidValue(
            f"{name}: give WHEN:WHAT, such as flex:x0.5 (half the price) or above=272000:input=5,output=22.5"
        )
    service_tier, above = _when(when, name)
    if factor := re.fullmatch(r"\s*[x×](.*)", rates, re.DOTALL):
        tier = Tier(service_tier=service_tier, above=above, multiplier=_number(factor[1], name))
    else:
        tier = Tier(service_tier=service_tier, above=above, **_rates(rates, name))
    try:
        check_rates(_VALID, [tier])
    except InvalidValue as error:
        raise InvalidValue(f"{name}: {error.message}") from None
    return tier


def _when(text: str, name: str) -> tuple[str | None, int]:
    service_tier: str | None = None
    above = 0
    for word in map(str.strip, text.split(",")):
        key, is_pair, value = word.partition("=")
        if is_pair and key.strip() == "above" and not above:
            above = _count(value.strip(), name)
        elif word == "above":
            raise InvalidValue(f"{name}: above needs a number of tokens, such as above=272000")
        elif not is_pair and word and service_tier is None:
            service_tier = word
        else:
            raise InvalidValue(f"{name}: {word!r} is neither one service tier, such as flex, nor above=TOKENS")
    return service_tier, above


def _count(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 13 and 0 < int(text) <= MAX_COUNT):
        raise InvalidValue(f"{name}: above: {text[:40]!r} is not a number of tokens, such as 272000")
    return int(text)


def _number(text: str, name: str) -> Decimal:
    try:
        value = Decimal(text.strip())
        return value or Decimal(0)  # turns -0 into 0
    except InvalidOperation:
        raise InvalidValue(f"{name}: multiplier: {text[:40]!r} is not a number, such as 0.5") from None


def _rates(text: str, name: str) -> dict[str, Decimal]:
    rates: dict[str, Decimal] = {}
    for part in text.split(","):
        key, is_pair, value = part.partition("=")
        kind = key.strip().replace("-", "_")
        if not is_pair or kind not in TOKEN_RATES:
            raise InvalidValue(
                f"{name}: {part.strip()[:40]!r} is not KIND=USD, of {', '.join(map(kind_name, TOKEN_RATES))}"
            )
        if kind in rates:
            raise InvalidValue(f"{name}: duplicate {kind_name(kind)}")
        rates[kind] = parse_usd(value, f"{name}: {kind_name(kind)}")
    return rates
