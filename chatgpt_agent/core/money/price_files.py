"""Files with prices: LiteLLM's JSON, or our CSV. What is no such file is refused as a whole, in one line."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from chatgpt_agent.core.access.model_patterns import compile_patterns
from chatgpt_agent.core.csv_reader import NotCsv, csv_rows
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.litellm import PROVIDERS, Skipped, model_of, provider_of, read_litellm
from chatgpt_agent.core.money.price_csv import read_table
from chatgpt_agent.core.money.pricing import NewPrice

MAX_FILE = 32 * 1024 * 1024  # bytes; LiteLLM's own has 1.6 million


class PriceFile(msgspec.Struct, frozen=True):
    """The prices of a file, and its entries that are none of ours."""

    prices: list[NewPrice]
    skipped: list[Skipped]


def select_models(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Returns a test whether a model's name matches one of the patterns, such as `gpt-4o*`; without patterns every name
    does."""
    if not patterns:
        return lambda model: True
    matches = compile_patterns(patterns).fullmatch
    return lambda model: matches(model) is not None


def read_prices(data: bytes, name: str, wanted: Callable[[str], bool] = lambda model: True) -> PriceFile:
    """The prices of the models that are wanted; the amounts of others are not even looked at. Raises InvalidValue."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidValue(f"{name}: is not UTF-8 text") from None
    try:
        if text[:1] == "[":
            raise InvalidValue("is a JSON array, which is no list of prices; import what `price export` writes as CSV")
        if text[:1] == "{":
            prices, skipped = read_litellm(_entries(text, wanted))
        else:
            prices, skipped = [new for new in read_table(_rows(text)) if wanted(new.model)], []
    except InvalidValue as error:
        raise InvalidValue(f"{name}: {error.message}") from None
    return PriceFile(prices, skipped)


def _rows(text: str) -> list[list[str]]:
    try:
        return [cells for _, cells in csv_rows(text)]
    except NotCsv as error:
        raise InvalidValue(f"is neither JSON nor CSV: {error.reason}") from None


class _Object(dict[str, Any]):
    """An object of JSON, and what stands in it under a key that is there more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        times = Counter(key for key, _ in pairs) if len(self) < len(pairs) else {}
        self.repeated = [(key, value) for key, value in pairs if times and times[key] > 1]


def _entries(text: str, wanted: Callable[[str], bool]) -> dict[str, object]:
    """The entries of LiteLLM's file. Numbers are taken as they are written; a float would have changed them."""
    try:
        found = json.loads(
            text, parse_float=_number, parse_int=_number, parse_constant=_constant, object_pairs_hook=_Object
        )
    except json.JSONDecodeError as error:
        raise InvalidValue(f"is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidValue("is not valid JSON: it is nested too deeply") from None
    _check_unique(found, wanted)
    if not any(provider_of(entry) for entry in found.values()):
        raise InvalidValue("is not LiteLLM's list of prices: no entry has a litellm_provider")
    for name in found:
        if not name.isprintable():
            raise InvalidValue(f"has the name {name[:80]!r}, which cannot be shown")
    return {name: entry for name, entry in found.items() if wanted(model_of(name))}


def _check_unique(found: _Object, wanted: Callable[[str], bool]) -> None:
    """Refuses a key that stands there twice, where it matters: which of the two is meant, nobody can say. Among other
    providers' models LiteLLM's list has had such keys again and again (https://github.com/BerriAI/litellm/pull/30147).
    """
    repeated = {name for name, _ in found.repeated}
    for name, entry in [*found.repeated, *found.items()]:
        if provider_of(entry) not in PROVIDERS or not wanted(model_of(name)):
            continue
        if name in repeated:
            raise InvalidValue(f"has the key {name[:80]!r} twice")
        if isinstance(entry, _Object) and entry.repeated:
            raise InvalidValue(f"has the key {entry.repeated[0][0][:80]!r} twice in {name[:80]!r}")


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise InvalidValue(f"has the number {text[:40]!r}, which is out of all range") from None


def _constant(name: str) -> object:
    raise InvalidValue(f"is not valid JSON: {name} is no number")
