"""Files with prices: LiteLLM's JSON, or our CSV. What is no such file is refused as a whole, in one line."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.litellm import Skipped, model_of, provider_of, read_litellm
from chatgpt_agent.core.price_list import read_table
from chatgpt_agent.core.pricing import NewPrice
from chatgpt_agent.edges.exports import read_bytes

MAX_FILE = 32 * 1024 * 1024  # bytes; LiteLLM's own has 1.6 million


class PriceFile(msgspec.Struct, frozen=True):
    """The prices of a file, and its entries that are none of ours."""

    prices: list[NewPrice]
    skipped: list[Skipped]


def read_price_file(path: Path, wanted: Callable[[str], bool] = lambda model: True) -> PriceFile:
    """The prices in a file. Raises InvalidValue with its name."""
    return read_prices(read_bytes(path, MAX_FILE), str(path), wanted)


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
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise InvalidValue(f"is neither JSON nor CSV: {error}") from None


def _entries(text: str, wanted: Callable[[str], bool]) -> dict[str, object]:
    """The entries of LiteLLM's file. Numbers are taken as they are written; a float would have changed them."""
    try:
        found = json.loads(
            text, parse_float=_number, parse_int=_number, parse_constant=_constant, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        raise InvalidValue(f"is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidValue("is not valid JSON: it is nested too deeply") from None
    if not any(provider_of(entry) for entry in found.values()):
        raise InvalidValue("is not LiteLLM's list of prices: no entry has a litellm_provider")
    for name in found:
        if not name.isprintable():
            raise InvalidValue(f"has the name {name[:80]!r}, which cannot be shown")
    return {name: entry for name, entry in found.items() if wanted(model_of(name))}


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise InvalidValue(f"has the number {text[:40]!r}, which is out of all range") from None


def _constant(name: str) -> object:
    raise InvalidValue(f"is not valid JSON: {name} is no number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses a key that stands there twice: whoever reads the file may take the one or the other."""
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise InvalidValue(f"has the key {twice[:80]!r} twice in one object")
    return found
