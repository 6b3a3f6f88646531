"""JSON of commands and REST. Amounts are text in plain decimal notation, which no reader rounds."""

import functools
from decimal import Decimal

import msgspec

from chatgpt_agent.core.money.exact import format_usd

_NATIVE = frozenset({str, int, bool, type(None), msgspec.Raw})


def encode(value: object) -> bytes:
    """The JSON of a value."""
    return msgspec.json.encode(plain_values(value))


def plain_values(value: object) -> object:
    """A value for msgspec to encode: structs as objects, decimals as text (`0.0000000001`, not `1E-10`)."""
    if type(value) in _NATIVE:  # most values, and the cheapest check
        return value
    if isinstance(value, Decimal):
        return format_usd(value)
    if isinstance(value, msgspec.Struct):
        return {name: plain_values(getattr(value, name)) for name in _fields(type(value))}
    if isinstance(value, dict):
        return {key: plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    return value


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields of a struct: its own before those that it inherits, such as an id before token counts and rates."""
    base = kind.__bases__[0]
    inherited = _fields(base) if issubclass(base, msgspec.Struct) and base is not msgspec.Struct else ()
    return (*(name for name in kind.__struct_fields__ if name not in inherited), *inherited)
