"""LiteLLM's public list of prices, `model_prices_and_context_window.json`
(https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json), as prices of ours.

There a price is USD for one token, under a key such as `output_cost_per_token_above_272k_tokens_priority`. Only what
OpenAI charges by tokens is taken. A rate that a tier does not have is the price's own, as LiteLLM itself charges it.
"""

import re
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import EXACT
from chatgpt_agent.core.money.kinds import RATE_NAMES, SIDES, TOKEN_KINDS, Rates
from chatgpt_agent.core.money.pricing import (
    MAX_PLACES,
    MAX_PRICE,
    NewPrice,
    Tier,
    check_model,
    check_price,
    check_usd,
)

PROVIDERS = ("openai", "text-completion-openai")
MODES = frozenset({"chat", "responses", "completion", "embedding", "image_generation", "audio_transcription"})
OTHER_PROVIDER = "another provider"

_RATES = {kind.litellm: str(kind.rate) for kind in TOKEN_KINDS if kind.litellm}  # by their keys in LiteLLM's list
_MEDIA = {side: [kind.rate for kind in TOKEN_KINDS if kind.side == side and kind.is_medium] for side in SIDES}
_TIERS = {"flex": "flex", "priority": "priority", "ultrafast": "ultrafast", "batches": "batch"}
_KEY = re.compile(rf"({'|'.join(_RATES)})(?:_above_([1-9][0-9]{{0,8}})(k?)_tokens)?(?:_({'|'.join(_TIERS)}))?")
_BY_ELSE = re.compile(r"(?:input|output)_cost_per_(second|image|pixel|character|query|request)(?:_|$)")

_Key = tuple[str | None, int]  # a service tier, and above how many input tokens
_BASE: _Key = (None, 0)


class Skipped(msgspec.Struct, frozen=True):
    """An entry that is no price of ours, and why."""

    model: str
    reason: str


def read_litellm(entries: Mapping[str, object]) -> tuple[list[NewPrice], list[Skipped]]:
    """The prices of OpenAI's models, and what is left out. Numbers must be Decimal. Raises InvalidValue."""
    prices: dict[str, NewPrice] = {}
    skipped: list[Skipped] = []
    # A name with its provider before it is another one for the same model; the plain one goes first.
    for name in sorted(entries, key=lambda name: (name != model_of(name), name)):
        model = model_of(name)
        found = _read(name, entries[name])
        if isinstance(found, NewPrice) and model in prices:
            found = Skipped(name, f"there is {model} itself")
        if isinstance(found, NewPrice):
            prices[model] = found
        else:
            skipped.append(found)
    return [prices[model] for model in sorted(prices)], skipped


def provider_of(entry: object) -> str | None:
    """Whose model an entry is about."""
    provider = entry.get("litellm_provider") if isinstance(entry, dict) else None
    return provider if isinstance(provider, str) else None


def model_of(name: str) -> str:
    """The name that OpenAI's API knows: without LiteLLM's own prefix."""
    provider, _, rest = name.partition("/")
    return rest if rest and provider in PROVIDERS else name


def _read(name: str, entry: object) -> NewPrice | Skipped:
    if not isinstance(entry, dict):
        raise InvalidValue(f"{name[:80]!r} is not an object with prices")
    if provider_of(entry) not in PROVIDERS:
        return Skipped(name, OTHER_PROVIDER)
    mode = entry.get("mode")
    if mode not in MODES:
        return Skipped(name, f"mode {mode[:40] if isinstance(mode, str) and mode.isprintable() else 'unknown'}")
    check_model(model_of(name))
    table = _table(name, entry)
    base = table.pop(_BASE, {})
    for side in SIDES:
        # Where only the audio or the images of a side cost something, an answer that does not tell them apart does too.
        parts = [rate for kind, rate in base.items() if kind in _MEDIA[side]]
        if not base.get(side) and parts:
            base[side] = max(parts)
    if mode == "embedding":
        base.setdefault("output", Decimal(0))
    by_else = [match[1] for key, value in entry.items() if value and (match := _BY_ELSE.match(key))]
    if not base.keys() >= {"input", "output"} or (by_else and not any(base.values())):
        return Skipped(name, f"priced per {by_else[0]}" if by_else else "no price per token")
    thoughts = _rate(f"{name}, reasoning", entry.get("output_cost_per_reasoning_token"))
    if thoughts is not None and thoughts != base["output"]:
        return Skipped(name, "a price of its own for reasoning tokens")
    tiers = [
        Tier(service_tier=service_tier, above=above, **_filled(table, base, (service_tier, above)))
        for service_tier, above in sorted(table, key=lambda key: (key[0] or "", key[1]))
    ]
    price = NewPrice(model_of(name), Rates(**base), tuple(tiers))
    check_price(price)
    return price


def _table(name: str, entry: dict[str, object]) -> dict[_Key, dict[str, Decimal]]:
    """The rates of an entry by the tier that they are for, in USD per 1,000,000 tokens."""
    table: dict[_Key, dict[str, Decimal]] = {}
    for key, value in entry.items():
        match = _KEY.fullmatch(key)
        rate = _rate(f"{name}, {key}", value) if match else None
        if match and rate is not None:
            above = int(match[2] or 0) * (1000 if match[3] else 1)
            table.setdefault((_TIERS.get(match[4]), above), {})[_RATES[match[1]]] = rate
    return table


def _filled(table: Mapping[_Key, dict[str, Decimal]], base: dict[str, Decimal], key: _Key) -> dict[str, Decimal]:
    """The rates of a tier; what it does not say is that of long contexts, or of its service tier, or the price's."""
    service_tier, above = key
    said: dict[str, Decimal] = {}
    for rates in (base, table.get((service_tier, 0), {}), table.get((None, above), {}), table[key]):
        said |= rates
    return {kind: said[kind] for kind in RATE_NAMES if kind in said}


def _rate(where: str, value: object) -> Decimal | None:
    """USD per 1,000,000 tokens out of USD per token."""
    if value is None:
        return None
    if not isinstance(value, Decimal):
        raise InvalidValue(f"{where[:120]}: {str(value)[:40]!r} is not a number")
    check_usd(value, where[:120], MAX_PRICE.scaleb(-6), MAX_PLACES + 6)
    return EXACT.scaleb(value.copy_abs(), 6)
