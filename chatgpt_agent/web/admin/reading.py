"""Reads plain values of JSON, or of a query, into a struct. What does not fit is refused in plain words: the field, its
value, what is allowed, and an example.

The types of the structs say what is allowed. An annotation adds to them in its `extra`: `words` for a pattern, an
`example`, the `pattern` of a decimal, `secret` for a value that is not repeated, `last` for a day that ends a span.
"""

import functools
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from msgspec import inspect

from chatgpt_agent.core.errors import InvalidRequest, InvalidValue
from chatgpt_agent.core.moments import A_DATE, A_DAY, OutsideYears, parse_day, parse_moment

MAX_SHOWN = 60  # characters of a value in a message

Extra = dict[str, Any]


def read_struct(value: object, kind: type[msgspec.Struct]) -> Any:
    """Returns a struct of this kind. Raises InvalidRequest, or InvalidValue for what the OpenAPI document cannot
    exclude."""
    return msgspec.convert(_read(value, _type_info(kind), "", {}), kind)


_type_info = functools.cache(inspect.type_info)


def _read(value: Any, info: inspect.Type, path: str, extra: Extra) -> Any:
    if isinstance(info, inspect.Metadata):
        return _read(value, info.type, path, {**extra, **(info.extra or {})})
    if isinstance(info, inspect.UnionType):
        if value is None:
            return None
        [info] = [each for each in info.types if not isinstance(each, inspect.NoneType)]
        return _read(value, info, path, {**extra, "null": True})
    try:
        return _READERS[type(info)](value, info, path, extra)
    except _DoesNotFit:
        text = "a value (not shown)" if extra.get("secret") else _shown(value)
        subject = path or "the body"
        raise InvalidRequest(f"{subject}: {text} is not {allowed_values(info, extra)}", param=path or None) from None


class _DoesNotFit(Exception):
    pass


def _object(value: Any, info: inspect.StructType, path: str, _: Extra) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _DoesNotFit
    fields = {field.encode_name: field for field in info.fields}
    for name in value:
        if name not in fields:
            allowed = f"allowed: {', '.join(fields)}" if fields else "none is allowed"
            raise _wrong_fields(path, f"unknown field `{name[:MAX_SHOWN]}`; {allowed}")
    for name, field in fields.items():
        if field.required and name not in value:
            hint = allowed_values(field.type, {})
            raise _wrong_fields(path, f"missing required field `{name}`: give {hint}")
    prefix = f"{path}." if path else ""
    return {name: _read(each, fields[name].type, f"{prefix}{name}", {}) for name, each in value.items()}


def _wrong_fields(path: str, text: str) -> InvalidRequest:
    return InvalidRequest(f"{path}: {text}" if path else text, param=path or None)


def _list(value: Any, info: inspect.VarTupleType, path: str, _: Extra) -> list[Any]:
    if not isinstance(value, list) or not (info.min_length or 0) <= len(value) <= (info.max_length or len(value)):
        raise _DoesNotFit
    return [_read(each, info.item_type, f"{path}[{number}]", {}) for number, each in enumerate(value)]


def _text(value: Any, info: inspect.StrType, path: str, _: Extra) -> str:
    if not isinstance(value, str):
        raise _DoesNotFit
    if "\x00" in value:  # which PostgreSQL cannot store
        raise InvalidValue(f"{path}: {_shown(value)} must have printable characters only", param=path)
    if not (info.min_length or 0) <= len(value) <= (info.max_length or len(value)):
        raise _DoesNotFit
    if info.pattern is not None and re.search(info.pattern, value) is None:
        raise _DoesNotFit
    return value


def _decimal(value: Any, _: inspect.DecimalType, __: str, extra: Extra) -> Decimal:
    # Text: a number of JSON may have been rounded before it was written.
    if not isinstance(value, str) or re.search(extra["pattern"], value) is None:
        raise _DoesNotFit
    return Decimal(value)


def _whole_number(value: Any, info: inspect.IntType, _: str, __: Extra) -> int:
    # JSON Schema counts 1.0 as an integer (validation §6.1.1).
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise _DoesNotFit
    if not (value if info.ge is None else info.ge) <= value <= (value if info.le is None else info.le):
        raise _DoesNotFit
    return int(value)


def _flag(value: Any, *_: Any) -> bool:
    if not isinstance(value, bool):
        raise _DoesNotFit
    return value


def _choice(value: Any, info: inspect.EnumType | inspect.LiteralType, *_: Any) -> Any:
    if value not in _choices(info):
        raise _DoesNotFit
    return value


def _choices(info: inspect.EnumType | inspect.LiteralType) -> list[str]:
    return (
        [each.value for each in info.cls] if isinstance(info, inspect.EnumType) else [str(each) for each in info.values]
    )


def _uuid(value: Any, *_: Any) -> UUID:
    try:
        return msgspec.convert(value, UUID)
    except msgspec.ValidationError:
        raise _DoesNotFit from None


def _date(parse: Callable[..., Any]) -> Callable[[Any, inspect.Type, str, Extra], Any]:
    def read(value: Any, _: inspect.Type, path: str, extra: Extra) -> Any:
        if not isinstance(value, str):
            raise _DoesNotFit
        try:
            return parse(value, path, extra)
        except OutsideYears as error:
            error.param = path
            raise
        except InvalidValue:
            raise _DoesNotFit from None

    return read


_READERS: dict[type[inspect.Type], Callable[[Any, Any, str, Extra], Any]] = {
    inspect.StructType: _object,
    inspect.VarTupleType: _list,
    inspect.StrType: _text,
    inspect.IntType: _whole_number,
    inspect.DecimalType: _decimal,
    inspect.BoolType: _flag,
    inspect.EnumType: _choice,
    inspect.LiteralType: _choice,
    inspect.UUIDType: _uuid,
    inspect.DateTimeType: _date(lambda text, path, _: parse_moment(text, path)),
    inspect.DateType: _date(lambda text, path, extra: parse_day(text, path, last=extra.get("last", False))),
}


def allowed_values(info: inspect.Type, extra: Extra) -> str:
    """Returns what a type allows, in words, with an example."""
    if isinstance(info, inspect.Metadata):
        return allowed_values(info.type, {**extra, **(info.extra or {})})
    if isinstance(info, inspect.UnionType):
        [info] = [each for each in info.types if not isinstance(each, inspect.NoneType)]
        return allowed_values(info, {**extra, "null": True})
    text: str = extra.get("words") or _words(info)
    if "example" in extra:
        text = f"{text}, such as {extra['example']}"
    return f"{text}, or null" if extra.get("null") else text


def _words(info: inspect.Type) -> str:
    match info:
        case inspect.StructType():
            return f"an object; its fields: {', '.join(field.encode_name for field in info.fields)}"
        case inspect.VarTupleType():
            size = f" of {info.min_length or 0} to {info.max_length}" if info.max_length else ""
            return f"a list{size}, each {allowed_values(info.item_type, {})}"
        case inspect.StrType():
            return f"text of {info.min_length or 0} to {info.max_length} characters"
        case inspect.IntType():
            return f"a whole number from {info.ge} to {info.le}"
        case inspect.BoolType():
            return "true or false"
        case inspect.EnumType() | inspect.LiteralType():
            return f"one of {', '.join(_choices(info))}"
        case inspect.DateTimeType():
            return A_DATE
        case inspect.DateType():
            return A_DAY
        case _:
            return "a UUID, such as 01930000-0000-7000-8000-000000000001"


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    text = msgspec.json.encode(value).decode() if isinstance(value, str | bool | None) else str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
