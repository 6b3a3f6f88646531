"""LiteLLM's public list of prices, `model_prices_and_context_window.json`
(https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json), read as our prices.

A price there is USD for one token, under a key such as `output_cost_per_token_above_272k_tokens_priority`. Only models
that OpenAI charges by tokens are read. A tier without a certain rate has that of the price, as LiteLLM charges it.
"""

import re
from collections.abc import Iterable, Mapping
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
REALTIME = "/v1/realtime"

_RATES = {kind.litellm: str(kind.rate) for kind in TOKEN_KINDS if kind.litellm}  # by their keys in LiteLLM's list
_MEDIA = {side: [kind.rate for kind in TOKEN_KINDS if kind.side == side and kind.is_medium] for side in SIDES}
_TIERS = {tier: tier for tier in ("flex", "priority", "ultrafast", "decisions")} | {"batches": "batch"}
_KEY = re.compile(rf"({'|'.join(_RATES)})(?:_above_([1-9][0-9]{{0,8}})(k?)_tokens)?(?:_({'|'.join(_TIERS)}))?")
_OTHER_UNIT = re.compile(r"(?:input|output)_cost_per_(second|image|pixel|character|query|request)(?:_|$)")

_RATE_WORD = re.compile("cost|price|multiplier|uplift")
_REASONING = "output_cost_per_reasoning_token"  # an entry is skipped if it differs from the rate of output

_Key = tuple[str | None, int]  # a service tier, and above how many input tokens
_BASE: _Key = (None, 0)


class Skipped(msgspec.Struct, frozen=True):
    """An entry that is skipped, and why."""

    model: str
    reason: str


def read_litellm(entries: Mapping[str, object]) -> tuple[list[NewPrice], list[Skipped]]:
    """Returns the prices of OpenAI's models, and the entries that are skipped. Numbers must be Decimal. Raises
    InvalidValue."""
    prices: dict[str, NewPrice] = {}
    skipped: list[Skipped] = []
    # A name with a provider's prefix is a second name of the same model; the plain name comes first.
    for name in sorted(entries, key=lambda name: (name != model_of(name), name)):
        model = model_of(name)
        result = _read(name, entries[name])
        if isinstance(result, NewPrice) and model in prices:
            result = Skipped(name, f"duplicate of {model}")
        if isinstance(result, NewPrice):
            prices[model] = result
        else:
            skipped.append(result)
    return [prices[model] for model in sorted(prices)], skipped


def ignored_rates(entries: Mapping[str, object], prices: Iterable[NewPrice]) -> dict[str, list[str]]:
    """Returns the rates and multipliers of imported entries that no price has, by their keys in LiteLLM's list, each
    with its models: what is charged by search, session or second, and tiers that this program does not know."""
    imported = {price.model for price in prices}
    ignored: dict[str, set[str]] = {}
    for name, entry in entries.items():
        if model_of(name) not in imported or not isinstance(entry, dict):
            continue
        for key, value in entry.items():
            if value and _RATE_WORD.search(key) and not _KEY.fullmatch(key) and key != _REASONING:
                ignored.setdefault(key, set()).add(model_of(name))
    return {key: sorted(ignored[key]) for key in sorted(ignored)}


def provider_of(entry: object) -> str | None:
    """Returns the provider of an entry's model."""
    provider = entry.get("litellm_provider") if isinstance(entry, dict) else None
    return provider if isinstance(provider, str) else None


def model_of(name: str) -> str:
    """Returns the name in OpenAI's API: without LiteLLM's prefix."""
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
    if "*" in name:
        return Skipped(name, "a pattern, not a model")
    if _is_realtime(entry):
        return Skipped(name, f"only over {REALTIME}")
    check_model(model_of(name))
    table = _table(name, entry)
    base = _completed(table.pop(_BASE, {}), is_embedding=mode == "embedding")
    other_units = [match[1] for key, value in entry.items() if value and (match := _OTHER_UNIT.match(key))]
    if not base.keys() >= {"input", "output"} or (other_units and not any(base.values())):
        return Skipped(name, f"priced per {other_units[0]}" if other_units else "no price per token")
    reasoning = _rate(f"{name}, reasoning", entry.get(_REASONING))
    if reasoning is not None and reasoning != base["output"]:
        return Skipped(name, "separate price for reasoning tokens")
    tiers = [
        Tier(service_tier=service_tier, above=above, **_filled(table, base, (service_tier, above)))
        for service_tier, above in sorted(table, key=lambda key: (key[0] or "", key[1]))
    ]
    price = NewPrice(model_of(name), Rates(**base), tuple(tiers))
    check_price(price)
    return price


def _is_realtime(entry: dict[str, object]) -> bool:
    """Whether a model is served over sockets only."""
    paths = entry.get("supported_endpoints")
    return isinstance(paths, list) and bool(paths) and all(str(path).startswith(REALTIME) for path in paths)


def _completed(rates: dict[str, Decimal], *, is_embedding: bool) -> dict[str, Decimal]:
    """Returns the rates of an entry with those of its sides, where they follow from others."""
    rates = dict(rates)
    for side in SIDES:
        # Where only the audio or the images of a side have a price, an answer without separate counts has it too.
        media = [rate for name, rate in rates.items() if name in _MEDIA[side]]
        if not rates.get(side) and media:
            rates[side] = max(media)
    if is_embedding:
        rates.setdefault("output", Decimal(0))
    return rates


def _table(name: str, entry: dict[str, object]) -> dict[_Key, dict[str, Decimal]]:
    """Returns the rates of an entry by tier, in USD per 1,000,000 tokens."""
    table: dict[_Key, dict[str, Decimal]] = {}
    for key, value in entry.items():
        match = _KEY.fullmatch(key)
        rate = _rate(f"{name}, {key}", value) if match else None
        if match and rate is not None:
            above = int(match[2] or 0) * (1000 if match[3] else 1)
            table.setdefault((_TIERS.get(match[4]), above), {})[_RATES[match[1]]] = rate
    return table


def _filled(table: Mapping[_Key, dict[str, Decimal]], base: dict[str, Decimal], key: _Key) -> dict[str, Decimal]:
    """Returns the rates of a tier; a missing one is that of long contexts, of its service tier, or of the price."""
    service_tier, above = key
    filled: dict[str, Decimal] = {}
    for rates in (base, table.get((service_tier, 0), {}), table.get((None, above), {}), table[key]):
        filled |= rates
    return {name: filled[name] for name in RATE_NAMES if name in filled}


def _rate(where: str, value: object) -> Decimal | None:
    """Returns USD per 1,000,000 tokens, from USD per token."""
    if value is None:
        return None
    if not isinstance(value, Decimal):
        raise InvalidValue(f"{where[:120]}: {str(value)[:40]!r} is not a number")
    check_usd(value, where[:120], MAX_PRICE.scaleb(-6), MAX_PLACES + 6)
    return EXACT.scaleb(value.copy_abs(), 6)
