"""Names in usages that this program does not know: OpenAI may have begun to charge for something new.

They change nothing. They are counted, so that an administrator sees them (`ledger status`).
"""

import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import msgspec

from chatgpt_agent.core.name_counter import MAX_NAMES
from chatgpt_agent.core.usage import DECODE_ERRORS, KNOWN_FIELDS, KNOWN_TOOL_FIELDS, Names

COUNTED_FIELD = re.compile(r"[A-Za-z0-9_.]{1,100}")  # a name, with those of the objects around it: no text of a user's
_MAX_SIZE = 64 * 1024  # bytes of an object that is searched
_TOOLS = "tool_usage."


def _known(names: Names) -> type[msgspec.Struct]:
    """Returns a struct of these names alone, which a decoder can check without looking at the values."""
    fields = [(name, (_known(inner) | None) if inner else msgspec.Raw, None) for name, inner in names.items()]
    return msgspec.defstruct("_Known", fields, forbid_unknown_fields=True)


_usage = msgspec.json.Decoder(_known(KNOWN_FIELDS) | None)
_tools = msgspec.json.Decoder(_known(KNOWN_TOOL_FIELDS) | None)


def unknown_fields(usage: msgspec.Raw, tool_usage: msgspec.Raw) -> tuple[str, ...]:
    """Returns the names of members of an answer's `usage` and `tool_usage`, and of the objects that we know in them,
    that we do not know and that hold a number other than 0: `input_tokens_details.foo_tokens`. Takes 1 µs where there
    are none, as in nearly every answer."""
    try:
        _usage.decode(usage)
        _tools.decode(tool_usage)
    except DECODE_ERRORS:
        return _search(usage, tool_usage)
    return ()


def _search(usage: msgspec.Raw, tool_usage: msgspec.Raw) -> tuple[str, ...]:
    if len(bytes(usage)) + len(bytes(tool_usage)) > _MAX_SIZE:
        return ()
    try:
        names = chain(
            _names(msgspec.json.decode(usage), KNOWN_FIELDS, ""),
            _names(msgspec.json.decode(tool_usage), KNOWN_TOOL_FIELDS, _TOOLS),
        )
        return tuple(islice(names, MAX_NAMES))
    except DECODE_ERRORS:
        return ()


def _names(value: object, expected: Names, prefix: str) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        if name not in expected:
            if _has_amount(inner):
                yield prefix + name
        elif expected[name]:
            yield from _names(inner, expected[name], f"{prefix}{name}.")


def _has_amount(value: Any) -> bool:
    """Whether a value is a number other than 0, or an object with one."""
    if isinstance(value, dict):
        return any(map(_has_amount, value.values()))
    return isinstance(value, int | float) and not isinstance(value, bool) and value != 0
