"""LiteLLM's public list of prices, `model_prices_and_context_window.json`
(https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json), read as our prices.

A price there is USD for one token, under a key such as `output_cost_per_token_above_272k_tokens_priority`, or for a
second of audio. Only models that OpenAI charges by tokens or by time are read. A tier without a certain rate has that
of the price, as LiteLLM charges it.
"""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.exact import EXACT
from chatgpt_agent.core.money.kinds import SIDES, TIME_RATE, TOKEN_KINDS, TOKEN_RATES, Rates
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
TRANSCRIPTION = "audio_transcription"
MODES = frozenset({"chat", "responses", "completion", "embedding", "image_generation", TRANSCRIPTION})
OTHER_PROVIDER = "another provider"
REALTIME = "/v1/realtime"

_RATES = {kind.litellm: str(kind.rate) for kind in TOKEN_KINDS if kind.litellm}  # by their keys in LiteLLM's list
_MEDIA = {side: [kind.rate for kind in TOKEN_KINDS if kind.side == side and kind.is_medium] for side in SIDES}
_TIERS = {tier: tier for tier in ("flex", "priority", "ultrafast", "decisions")} | {"batches": "batch"}
_KEY = re.compile(rf"({'|'.join(_RATES)})(?:_above_([1-9][0-9]{{0,8}})(k?)_tokens)?(?:_({'|'.join(_TIERS)}))?")
_OTHER_UNIT = re.compile(r"(?:input|output)_cost_per_(second|image|pixel|character|query|request)(?:_|$)")

_RATE_WORD = re.compile("cost|price|multiplier|uplift")
_REASONING = "output_cost_per_reasoning_token"  # an entry is skipped if it differs from the rate of output
_SECOND, _SECOND_OUT = "input_cost_per_second", "output_cost_per_second"
DEPRECATION = "deprecation_date"  # in this list, the day on which a model is shut down

# What becomes a surcharge: see litellm_surcharges.py.
SEARCH_KEY = "search_context_cost_per_query"
SESSION_KEY = "code_interpreter_cost_per_session"
UPLIFT_KEYS = {
    "eu": "regional_processing_uplift_multiplier_eu",
    "us": "regional_processing_uplift_multiplier_us",
    "fedramp": "fedramp_uplift_multiplier",
}
SURCHARGE_KEYS = (SEARCH_KEY, SESSION_KEY, *UPLIFT_KEYS.values())

_Key = tuple[str | None, int]  # a service tier, and above how many input tokens
_BASE: _Key = (None, 0)


class Skipped(msgspec.Struct, frozen=True):
    """An entry that is skipped, and why."""

    model: str
    reason: str


class LiteLlmList(msgspec.Struct, frozen=True, kw_only=True):
    """What a list says of OpenAI's models. `entries`: by model, the entry of each price."""

    prices: list[NewPrice]
    skipped: list[Skipped]
    entries: dict[str, dict[str, object]]


def read_litellm(entries: Mapping[str, object]) -> LiteLlmList:
    """Returns the prices of OpenAI's models, and the entries that are skipped. Numbers must be Decimal. Raises
    InvalidValue."""
    prices: dict[str, NewPrice] = {}
    skipped: list[Skipped] = []
    read: dict[str, dict[str, object]] = {}
    # A name with a provider's prefix is a second name of the same model; the plain name comes first.
    for name in sorted(entries, key=lambda name: (name != model_of(name), name)):
        model, entry = model_of(name), entries[name]
        if not isinstance(entry, dict):
            raise InvalidValue(f"{name[:80]!r} is not an object with prices")
        result = _read(name, entry)
        if isinstance(result, NewPrice) and model in prices:
            result = Skipped(name, f"duplicate of {model}")
        if isinstance(result, NewPrice):
            prices[model], read[model] = result, entry
        else:
            skipped.append(result)
    return LiteLlmList(prices=[prices[model] for model in sorted(prices)], skipped=skipped, entries=read)


def ignored_rates(listed: LiteLlmList) -> dict[str, list[str]]:
    """Returns the rates of imported entries that no price has and no surcharge, by their keys in LiteLLM's list, each
    with its models."""
    ignored: dict[str, set[str]] = {}
    for model, entry in listed.entries.items():
        for key, value in entry.items():
            if value and _RATE_WORD.search(key) and not _is_taken(key, entry):
                ignored.setdefault(key, set()).add(model)
    return {key: sorted(ignored[key]) for key in sorted(ignored)}


def shutdown_dates(listed: LiteLlmList) -> dict[str, date | None]:
    """Returns the day on which each imported model is shut down; None: the list has none. Raises InvalidValue."""
    return {model: _date(model, listed.entries[model].get(DEPRECATION)) for model in sorted(listed.entries)}


def _date(model: str, value: object) -> date | None:
    if value is None:
        return None
    try:
        if not isinstance(value, str) or len(value) != len("2026-12-31"):
            raise ValueError
        day = date.fromisoformat(value)
    except ValueError:
        raise InvalidValue(f"{model}, {DEPRECATION}: {str(value)[:40]!r} is not a day such as 2026-12-31") from None
    if not date(2000, 1, 1) <= day < date(9999, 1, 1):
        raise InvalidValue(f"{model}, {DEPRECATION}: {value} is not in the years 2000 to 9998")
    return day


def provider_of(entry: object) -> str | None:
    """Returns the provider of an entry's model."""
    provider = entry.get("litellm_provider") if isinstance(entry, dict) else None
    return provider if isinstance(provider, str) else None


def model_of(name: str) -> str:
    """Returns the name in OpenAI's API: without LiteLLM's prefix."""
    provider, _, rest = name.partition("/")
    return rest if rest and provider in PROVIDERS else name


def _is_taken(key: str, entry: Mapping[str, object]) -> bool:
    """Whether a key is in the price or the surcharges of its entry, or says the same as another."""
    if key == _SECOND_OUT:  # of audio that is transcribed: the list has the price of a second twice
        return entry[key] == entry.get(_SECOND)
    if key == _SECOND:
        return entry.get("mode") == TRANSCRIPTION
    return key in (_REASONING, *SURCHARGE_KEYS) or _KEY.fullmatch(key) is not None


def _read(name: str, entry: dict[str, object]) -> NewPrice | Skipped:
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
    if mode == TRANSCRIPTION and entry.get(_SECOND) is not None:
        minute = EXACT.multiply(_number(f"{name}, {_SECOND}", entry[_SECOND]), Decimal(60))
        if minute != round(minute, MAX_PLACES):
            return Skipped(name, "priced per second, which is no exact price per minute")
        base = {TIME_RATE: minute, **(base or dict.fromkeys(SIDES, Decimal(0)))}
    other_units = [match[1] for key, value in entry.items() if value and (match := _OTHER_UNIT.match(key))]
    if not base.keys() >= {*SIDES} or (other_units and not any(base.values())):
        return Skipped(name, _reason_without_price(entry, other_units))
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


def _reason_without_price(entry: Mapping[str, object], other_units: list[str]) -> str:
    if entry.get(SESSION_KEY) is not None:
        return "a tool, whose fee is a surcharge"
    return f"priced per {other_units[0]}" if other_units else "no price per token"


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
    return {name: filled[name] for name in TOKEN_RATES if name in filled}


def _rate(where: str, value: object) -> Decimal | None:
    """Returns USD per 1,000,000 tokens, from USD per token."""
    return None if value is None else EXACT.scaleb(_number(where, value), 6)


def _number(where: str, value: object) -> Decimal:
    """Returns USD per token or per second."""
    if not isinstance(value, Decimal):
        raise InvalidValue(f"{where[:120]}: {str(value)[:40]!r} is not a number")
    check_usd(value, where[:120], MAX_PRICE.scaleb(-6), MAX_PLACES + 6)
    return value.copy_abs()
