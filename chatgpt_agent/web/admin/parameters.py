"""Reads parameters and JSON bodies into structs, strictly."""

import re
from collections.abc import Iterable
from typing import Any, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from chatgpt_agent.core.errors import InvalidJson, InvalidRequest


def parse_body(body: bytes, kind: type[Any]) -> Any:
    """Reads a JSON body. Raises InvalidJson, InvalidRequest."""
    try:
        return msgspec.convert(_integral_floats_to_int(msgspec.json.decode(body)), kind)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidJson from None


def parse_query(text: str) -> list[tuple[str, str]]:
    """Reads a query string. Raises InvalidRequest."""
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:
        raise InvalidRequest("Invalid query string.") from None


def to_struct(texts: Iterable[tuple[str, str]], kind: type[msgspec.Struct]) -> Any:
    """Converts names and texts to a struct; only the name of a list may be repeated. Raises InvalidRequest.

    msgspec's own conversion of texts is not strict: it accepts ` 1` and `1.0` as the number 1."""
    types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for name, text in texts:
        if get_origin(types.get(name)) is tuple:
            values.setdefault(name, []).append(text)
        elif name in values:
            raise InvalidRequest(f"Duplicate query parameter {name!r}.")
        else:
            values[name] = _value(text, types.get(name))
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None


def _integral_floats_to_int(value: Any) -> Any:
    """Converts `1.0` to 1: JSON Schema counts it as an integer (validation §6.1.1), and msgspec does not."""
    if isinstance(value, dict):
        return {key: _integral_floats_to_int(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_integral_floats_to_int(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _invalid(error: msgspec.ValidationError) -> InvalidRequest:
    """Converts msgspec's message: `Expected …, got … - at `$.path``."""
    text, _, place = str(error).partition(" - at `$")
    path = place.rstrip("`").lstrip(".")
    return InvalidRequest(f"{path}: {text}" if path else text, param=path or None)


def _value(text: str, kind: Any) -> Any:
    if _accepts(kind, int) and re.fullmatch("0|[1-9][0-9]{0,18}", text):
        return int(text)
    if _accepts(kind, bool) and text in ("true", "false"):
        return text == "true"
    return text


def _accepts(kind: Any, expected: type) -> bool:
    return kind is expected or any(_accepts(each, expected) for each in get_args(kind))  # within Annotated and unions
