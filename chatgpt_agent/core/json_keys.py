"""Refuses JSON with a repeated key: readers differ in which of its values counts (RFC 8259 §4)."""

import json
from typing import Any

from chatgpt_agent.core.errors import InvalidJson


def check_unique_keys(text: bytes) -> None:
    """Raises InvalidJson if an object of a valid JSON text has a key twice, at any depth, also if one of the two is
    spelled with escapes; or if it is nested too deeply."""
    try:
        _decoder.decode(text.decode("utf-8"))
    except RecursionError:
        raise InvalidJson("The request body is nested too deeply.") from None


def _check(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        key = next(key for key in keys if keys.count(key) > 1)
        raise InvalidJson(f"Duplicate key {key[:64]!r} in the request body.")


# Numbers stay text: Python refuses to convert thousands of digits.
_decoder = json.JSONDecoder(object_pairs_hook=_check, parse_int=str, parse_float=str)
