"""A JSON object that every parser reads alike.

Parsers differ in what they make of repeated keys, other encodings and odd numbers
(https://bishopfox.com/blog/json-interoperability-vulnerabilities), so whatever is ambiguous is refused.
"""

import json
import re
from typing import Any

import msgspec

from chatgpt_agent.core.cooperative import SLICE, Cooperative
from chatgpt_agent.core.errors import InvalidJson, InvalidRequest
from chatgpt_agent.core.http import json_outline

MAX_KEYS = 20_000  # of all objects together, which takes some milliseconds to read
MAX_MEMBERS = 1000  # of the outermost object
MEMBERS = 256  # that are read without a yield
SIMPLE = 8000  # elements of a text that is read without an outline

_BEGIN = re.compile(rb"[ \t\r\n]*+\{[ \t\r\n]*+")
# A key up to its value. Possessive, because backtracking would need 100 bytes of memory for each character.
_KEY = re.compile(rb'("(?:[^"\\]++|\\.)*+")[ \t\r\n]*+:[ \t\r\n]*+')
_END = re.compile(rb"[ \t\r\n]*+(?:,[ \t\r\n]*+|(?=\}))")  # of a value, up to the next key or the closing brace
_MAX_COUNT = 10**12

JsonObject = dict[str, Any]


class _Anything(msgspec.Struct):
    """Any object: its members are only checked to be JSON, in C."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> JsonObject:
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        key = next(key for key in keys if keys.count(key) > 1)
        raise InvalidJson(f"Duplicate key {key[:64]!r} in the request body.")
    return members


_validator = msgspec.json.Decoder(_Anything)
_decoder = json.JSONDecoder(object_pairs_hook=_without_duplicates)
_decoder_of_huge_numbers = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_int=float)
_raw_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_object(body: bytes, max_elements: int) -> Cooperative[JsonObject]:
    """Returns the members of an object. Long strings and lists of numbers in it may be shortened: `json_outline.length`
    tells how long a string was. Raises InvalidJson unless the body is one JSON object in UTF-8 without duplicate keys
    at any depth, also if these are spelled with escapes; InvalidRequest if it has too many elements."""
    if not body.isascii():
        yield from _check_utf8(body)
    text: bytes | None = body
    if len(body) > SLICE or body.count(b",") + body.count(b"{") + body.count(b"[") > SIMPLE:
        text = yield from json_outline.outline(body, max_elements=max_elements, max_keys=MAX_KEYS)
        yield
    try:
        _validator.decode(body)
    except (msgspec.DecodeError, RecursionError):  # ValidationError, for an array or number, is a DecodeError
        raise _invalid() from None
    if text is None:
        raise InvalidRequest(f"The request body is too complex (over {MAX_KEYS} keys).")
    members = _decode(json_outline.decode(text))
    if len(members) > MAX_MEMBERS:
        raise InvalidRequest(f"The request body is too complex (over {MAX_MEMBERS} keys in its outermost object).")
    return members


def _decode(text: str) -> JsonObject:
    for decoder in (_decoder, _decoder_of_huge_numbers):
        try:
            members: JsonObject = decoder.decode(text)
        except RecursionError:
            break
        except ValueError:  # Python refuses to convert thousands of digits
            continue
        return members
    raise _invalid()


def _check_utf8(body: bytes) -> Cooperative[None]:
    at = 0
    while at < len(body):
        end = _character_start(body, at + SLICE)
        try:
            body[at:end].decode("utf-8")  # strict: no lone surrogates, no UTF-16
        except UnicodeDecodeError:
            raise InvalidJson("The request body is not valid UTF-8.") from None
        at = end
        if at < len(body):
            yield


def _character_start(body: bytes, at: int) -> int:
    """Returns `at`, or the place up to 3 bytes before it where a character of UTF-8 begins."""
    for place in range(at, at - 4, -1):
        if place >= len(body) or body[place] & 0xC0 != 0x80:
            return place
    return at


def _invalid() -> InvalidJson:
    return InvalidJson("The request body must be one valid JSON object.")


# The place of a member in the text.


class Member(msgspec.Struct, frozen=True):
    """One `"key": value` of an object: the text that it is in, and where its value begins and ends there."""

    text: bytes
    start: int
    end: int

    @property
    def raw(self) -> bytes:
        """The value's bytes."""
        return self.text[self.start : self.end]


Members = dict[str, Member]


def locate_members(text: bytes) -> Cooperative[Members]:
    """Returns the members of an object that `read_object` has accepted, by their decoded keys."""
    raws = _raw_members.decode(text)
    if len(text) > SLICE:
        yield
    members: Members = {}
    at = _BEGIN.match(text).end()  # type: ignore[union-attr]
    while text[at : at + 1] != b"}":
        key_text = _KEY.match(text, at)
        assert key_text is not None, "the decoder accepted the object"
        key = msgspec.json.decode(key_text[1], type=str)
        at = key_text.end()
        size = len(memoryview(raws[key]))
        members[key] = Member(text, at, at + size)
        at = _END.match(text, at + size).end()  # type: ignore[union-attr]
        if size > SLICE or len(members) % MEMBERS == 0:
            yield
    return members


# The values of single members.


def string(members: JsonObject, key: str) -> str | None:
    """Returns a string, or None for anything else."""
    value = members.get(key)
    return value if isinstance(value, str) else None


def flag(members: JsonObject, key: str, *, parent: str = "") -> bool:
    """Returns whether a member is true. Raises InvalidRequest unless it is true, false, null or missing: a server that
    takes "true" or 1 for true would do what we do not expect."""
    value = members.get(key)
    if value is None or value is False:
        return False
    if value is not True:
        raise InvalidRequest(f"{parent}{key} must be true, false or null.", param=f"{parent}{key}")
    return True


def count(members: JsonObject, key: str) -> int | None:
    """Returns a count that a budget relies on. Raises InvalidRequest for what parsers may read differently, as 1e3."""
    value = members.get(key)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < _MAX_COUNT:
        raise InvalidRequest(f"{key} must be a non-negative integer or null.", param=key)
    return value
