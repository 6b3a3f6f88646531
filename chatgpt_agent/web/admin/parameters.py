"""Reads parameters and JSON bodies into structs, strictly."""

import json
import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from chatgpt_agent.core.errors import InvalidJson, InvalidRequest
from chatgpt_agent.core.json_keys import check_unique_keys
from chatgpt_agent.web.admin.reading import read_struct

MAX_INT_DIGITS = 4000  # Python refuses to read an int with more than 4300


def parse_body(body: bytes, kind: type[Any]) -> Any:
    """Reads a JSON body. Raises InvalidJson, InvalidRequest, InvalidValue."""
    try:
        value = msgspec.json.decode(body)
    except msgspec.ValidationError:
        value = _with_large_numbers(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidJson from None
    check_unique_keys(body)
    return read_struct(value, kind)


def _with_large_numbers(body: bytes) -> Any:
    """Reads JSON with a number that no float or int holds, such as 1e400, so that its field can be named."""
    try:
        value = json.loads(body, parse_float=_float, parse_int=_int)
        json.dumps(value, ensure_ascii=False, default=str).encode()  # fails at a lone surrogate
    except (ValueError, ArithmeticError, RecursionError):
        raise InvalidJson from None
    return value


def _float(text: str) -> float | Decimal:
    return float(text) if math.isfinite(float(text)) else Decimal(text)


def _int(text: str) -> int | Decimal:
    return int(text) if len(text) < MAX_INT_DIGITS else Decimal(text)


def parse_query(text: str) -> list[tuple[str, str]]:
    """Reads a query string. Raises InvalidRequest."""
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:
        raise InvalidRequest("Invalid query string.") from None


def to_struct(texts: Iterable[tuple[str, str]], kind: type[msgspec.Struct]) -> Any:
    """Converts names and texts to a struct; only the name of a list may be repeated. Raises InvalidRequest,
    InvalidValue."""
    types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for name, text in texts:
        if get_origin(types.get(name)) is tuple:
            values.setdefault(name, []).append(text)
        elif name in values:
            raise InvalidRequest(f"Duplicate query parameter {name!r}.")
        else:
            values[name] = _value(text, types.get(name))
    return read_struct(values, kind)


def _value(text: str, kind: Any) -> Any:
    if _accepts(kind, int) and re.fullmatch("0|[1-9][0-9]{0,18}", text):
        return int(text)
    if _accepts(kind, bool) and text in ("true", "false"):
        return text == "true"
    return text


def _accepts(kind: Any, expected: type) -> bool:
    return kind is expected or any(_accepts(each, expected) for each in get_args(kind))  # within Annotated and unions
