"""Files with prices: LiteLLM's JSON or our CSV. A file with an error is refused as a whole, with one line."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from chatgpt_agent.core.access.model_patterns import compile_patterns
from chatgpt_agent.core.csv_reader import NotCsv, csv_rows
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.money.litellm import (
    PROVIDERS,
    Skipped,
    ignored_rates,
    model_of,
    provider_of,
    read_litellm,
    shutdown_dates,
)
from chatgpt_agent.core.money.litellm_surcharges import ListedSurcharges, read_surcharges
from chatgpt_agent.core.money.price_csv import read_table
from chatgpt_agent.core.money.pricing import NewPrice

MAX_FILE = 32 * 1024 * 1024  # bytes; LiteLLM's own has 1.6 million


class PriceFile(msgspec.Struct, frozen=True):
    """The prices of a file, the entries that were skipped, and the rates of imported entries that were not taken: by
    their names in the file, each with its models. `shutdown_dates`: by model; CSV knows none."""

    prices: list[NewPrice]
    skipped: list[Skipped]
    ignored_rates: dict[str, list[str]] = {}
    surcharges: ListedSurcharges = ListedSurcharges()
    shutdown_dates: dict[str, date | None] = {}


def select_models(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Returns a test whether a model's name matches one of the patterns, such as `gpt-6*`; without patterns every name
    does."""
    if not patterns:
        return lambda model: True
    matches = compile_patterns(patterns).fullmatch
    return lambda model: matches(model) is not None


def read_prices(data: bytes, name: str, selected: Callable[[str], bool] = lambda model: True) -> PriceFile:
    """The prices of selected models; amounts of other models are not checked. Raises InvalidValue."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidValue(f"{name}: is not UTF-8 text") from None
    try:
        if text[:1] == "[":
            raise InvalidValue("is a JSON array; allowed: LiteLLM's JSON object, or CSV as `price export` writes it")
        if text[:1] == "{":
            return _read_litellm(_entries(text, selected))
        return PriceFile([new for new in read_table(_rows(text)) if selected(new.model)], [])
    except InvalidValue as error:
        raise InvalidValue(f"{name}: {error.message}") from None


def _read_litellm(entries: dict[str, object]) -> PriceFile:
    listed = read_litellm(entries)
    return PriceFile(
        prices=listed.prices,
        skipped=listed.skipped,
        ignored_rates=ignored_rates(listed),
        surcharges=read_surcharges(entries, listed),
        shutdown_dates=shutdown_dates(listed),
    )


def _rows(text: str) -> list[list[str]]:
    try:
        return [cells for _, cells in csv_rows(text)]
    except NotCsv as error:
        raise InvalidValue(f"is neither JSON nor CSV: {error.reason}") from None


class _Object(dict[str, Any]):
    """A JSON object that remembers its duplicate keys, each with every value."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs) if len(self) < len(pairs) else {}
        self.duplicates = [(key, value) for key, value in pairs if counts and counts[key] > 1]


def _entries(text: str, selected: Callable[[str], bool]) -> dict[str, object]:
    """The selected entries of LiteLLM's file. Numbers become Decimal, because a float would change them."""
    try:
        entries = json.loads(
            text, parse_float=_number, parse_int=_number, parse_constant=_constant, object_pairs_hook=_Object
        )
    except json.JSONDecodeError as error:
        raise InvalidValue(f"is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidValue("is not valid JSON: it is nested too deeply") from None
    _check_unique(entries, selected)
    if not any(provider_of(entry) for entry in entries.values()):
        raise InvalidValue("is not LiteLLM's list of prices: no entry has a litellm_provider")
    for name in entries:
        if not name.isprintable():
            raise InvalidValue(f"has the name {name[:80]!r} with unprintable characters")
    return {name: entry for name, entry in entries.items() if selected(model_of(name))}


def _check_unique(entries: _Object, selected: Callable[[str], bool]) -> None:
    """Refuses duplicate keys of selected models, because the value would be ambiguous. For models of other providers
    LiteLLM's list has had duplicates repeatedly (https://github.com/BerriAI/litellm/pull/30147)."""
    duplicates = {name for name, _ in entries.duplicates}
    for name, entry in [*entries.duplicates, *entries.items()]:
        if provider_of(entry) not in PROVIDERS or not selected(model_of(name)):
            continue
        if name in duplicates:
            raise InvalidValue(f"has the duplicate key {name[:80]!r}")
        if isinstance(entry, _Object) and entry.duplicates:
            raise InvalidValue(f"has the duplicate key {entry.duplicates[0][0][:80]!r} in {name[:80]!r}")


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise InvalidValue(f"has the number {text[:40]!r}, which is out of range") from None


def _constant(name: str) -> object:
    raise InvalidValue(f"is not valid JSON: {name} is not a number")
