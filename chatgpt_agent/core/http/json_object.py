"""A JSON object of which every parser reads the same members, each with its place in the text.

Parsers differ in what they make of repeated keys, other encodings and odd numbers
(https://bishopfox.com/blog/json-interoperability-vulnerabilities), so whatever is ambiguous is refused.
"""

import re

import msgspec

from chatgpt_agent.core.cooperative import SLICE, Cooperative
from chatgpt_agent.core.errors import InvalidJson, InvalidRequest

MEMBERS = 256  # that are read without a yield

_BEGIN = re.compile(rb"[ \t\r\n]*+\{[ \t\r\n]*+")
# A key up to its value. Possessive, because backtracking would need 100 bytes of memory for each character.
_KEY = re.compile(rb'("(?:[^"\\]++|\\.)*+")[ \t\r\n]*+:[ \t\r\n]*+')
_END = re.compile(rb"[ \t\r\n]*+(?:,[ \t\r\n]*+|(?=\}))")  # of a value, up to the next key or the closing brace
_COUNT = re.compile(rb"[0-9]{1,12}")
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


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


def read_members(text: bytes) -> Cooperative[Members]:
    """Returns the members of an object by their decoded keys. Raises InvalidJson unless the text is one JSON object
    without duplicate keys, also if these are spelled with escapes."""
    try:
        raws = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):  # ValidationError, for an array or number, is a DecodeError
        raise InvalidJson("The request body must be one valid JSON object.") from None
    if len(text) > SLICE:
        yield
    members: Members = {}
    at = _BEGIN.match(text).end()  # type: ignore[union-attr]
    while text[at : at + 1] != b"}":
        key_text = _KEY.match(text, at)
        assert key_text is not None, "the decoder accepted the object"
        key = msgspec.json.decode(key_text[1], type=str)
        at = key_text.end()
        raw = memoryview(raws[key])
        size = len(raw)
        end = _END.match(text, at + size)
        # The decoder keeps the last value of a duplicate key: then the bytes here differ, or have another length.
        if key in members or end is None or not text.startswith(raw, at):
            raise InvalidJson(f"Duplicate key {key[:64]!r} in the request body.")
        members[key] = Member(text, at, at + size)
        at = end.end()
        if size > SLICE or len(members) % MEMBERS == 0:
            yield
    return members


def check_text(body: bytes, max_elements: int) -> Cooperative[None]:
    """Raises InvalidJson if a body is not UTF-8, or InvalidRequest if it has too many elements to be parsed at once."""
    at = len(body) if body.isascii() else 0
    while at < len(body):
        end = _character_start(body, at + SLICE)
        try:
            body[at:end].decode("utf-8")  # strict: no lone surrogates, no UTF-16
        except UnicodeDecodeError:
            raise InvalidJson("The request body is not valid UTF-8.") from None
        at = end
        if at < len(body):
            yield
    elements = 0
    for start in range(0, len(body) if len(body) > max_elements else 0, SLICE):
        elements += sum(body.count(mark, start, start + SLICE) for mark in (b",", b"[", b"{"))
        if elements > max_elements:
            raise InvalidRequest(f"The request body is too complex (over {max_elements} JSON elements).")
        if start + SLICE < len(body):
            yield


def _character_start(body: bytes, at: int) -> int:
    """Returns `at`, or the place up to 3 bytes before it where a character of UTF-8 begins."""
    for place in range(at, at - 4, -1):
        if place >= len(body) or body[place] & 0xC0 != 0x80:
            return place
    return at


# The values of single members.


def is_set(members: Members, key: str) -> bool:
    """Whether a member exists and is not null."""
    member = members.get(key)
    return member is not None and member.raw != b"null"


def string(members: Members, key: str) -> str | None:
    """Returns a string, or None for anything else."""
    member = members.get(key)
    raw = member.raw if member else b""
    return msgspec.json.decode(raw, type=str) if raw[:1] == b'"' else None


def flag(members: Members, key: str, *, parent: str = "") -> bool:
    """Returns whether a member is true. Raises InvalidRequest unless it is true, false, null or missing: a server that
    takes "true" or 1 for true would do what we do not expect."""
    member = members.get(key)
    raw = member.raw if member else b"null"
    if raw in (b"null", b"false"):
        return False
    if raw != b"true":
        raise InvalidRequest(f"{parent}{key} must be true, false or null.", param=f"{parent}{key}")
    return True


def count(members: Members, key: str) -> int | None:
    """Returns a count that a budget relies on. Raises InvalidRequest for what parsers may read differently, as 1e3."""
    member = members.get(key)
    if member is None or member.raw == b"null":
        return None
    if not _COUNT.fullmatch(member.raw):
        raise InvalidRequest(f"{key} must be a non-negative integer or null.", param=key)
    return int(member.raw)
