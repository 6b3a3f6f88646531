"""Reads a JSON object that is too large to be held, piece by piece: keeps the values of some members, and of all
others the key alone.

What is left out is not checked to be JSON. The result is JSON if the object is.
"""

import re
from collections.abc import Collection

import msgspec

MAX_KEY = 256  # bytes; a longer key is not one to keep
MAX_KEPT = 1024 * 1024  # bytes; more is given up

# What comes before the next character that matters: outside of strings, within one, and in a value that is left out.
_OUTSIDE = re.compile(rb'[^"\[\]{},]*+')
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_LEFT_OUT = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)

_QUOTE, _COMMA, _BACKSLASH = b'",\\'
_OPENING, _CLOSING = b"[{", b"]}"


class MemberFilter:
    """`keys`: those whose values are kept. `nested`: the key of an object whose members are filtered, too."""

    def __init__(self, keys: Collection[bytes], nested: bytes | None = None) -> None:
        self._keys = keys
        self._nested = nested
        self._result = bytearray()
        self._rest = b""  # a backslash at the end of a piece: half of an escape
        self._depth = 0
        self._keys_at = 1  # the depth of the object whose keys are looked at
        self._at_key = False  # whether the next string at that depth is a key
        self._key: bytearray | None = None  # the key that is being read
        self._in_string = False
        self._keep = False  # whether this is in a value that is kept
        self._enter = False  # whether the value of `nested` comes next

    def feed(self, piece: bytes) -> None:
        """Reads the next piece."""
        text, at = self._rest + piece if self._rest else piece, 0
        self._rest = b""
        while at < len(text) and len(self._result) <= MAX_KEPT:
            at = self._string(text, at) if self._in_string else self._outside(text, at)

    def result(self) -> bytes:
        """Returns the object with what was kept. Empty: that was too much."""
        return bytes(self._result) if len(self._result) <= MAX_KEPT else b""

    @property
    def _shows(self) -> bool:
        return self._keep or self._depth <= self._keys_at

    def _string(self, text: bytes, at: int) -> int:
        end = _end_of_string(text, at)
        if self._key is not None:
            self._key += text[at : min(end, at + MAX_KEY)]
        if self._key is not None or self._keep:
            self._result += text[at:end]
        if end == len(text):
            return end
        if text[end] == _BACKSLASH:
            self._rest = text[end:]
            return len(text)
        self._in_string = False
        if self._shows:
            self._result.append(_QUOTE)
        if self._key is not None:
            key = _decode(self._key)
            self._keep, self._enter = key in self._keys, key == self._nested and self._depth == 1
            self._key = None
        return end + 1

    def _outside(self, text: bytes, at: int) -> int:
        pattern = _OUTSIDE if self._shows else _LEFT_OUT
        match = pattern.match(text, at)
        assert match is not None, "it matches an empty text"
        end = match.end()
        if self._shows:
            self._result += text[at:end]
        if end < len(text):
            self._character(text[end])
        return end + 1

    def _character(self, character: int) -> None:
        if character == _QUOTE:
            self._in_string = True
            if self._at_key and self._depth == self._keys_at:
                self._key, self._at_key = bytearray(), False
        if character in _CLOSING:
            self._depth -= 1
        # The brackets around a value that is left out are kept, too, so that the result is JSON.
        if self._shows:
            self._result.append(character)
        if character in _OPENING:
            self._depth += 1
            if self._enter:
                self._keys_at, self._enter = self._depth, False
            self._at_key = self._depth == self._keys_at
        elif character in _CLOSING:
            self._keys_at = max(1, min(self._keys_at, self._depth))
        elif character == _COMMA and self._depth == self._keys_at:
            self._at_key, self._keep, self._enter = True, False, False


def _end_of_string(text: bytes, at: int) -> int:
    """Returns where the string ends that `at` is in: at its quote, at half an escape, or at the end of the text."""
    quote = text.find(b'"', at)
    end = len(text) if quote < 0 else quote
    if text.find(b"\\", at, end) < 0:  # two searches in C: base64 has no escapes
        return end
    match = _IN_STRING.match(text, at)
    assert match is not None, "it matches an empty text"
    return match.end()


def _decode(key: bytearray) -> bytes:
    try:
        return msgspec.json.decode(b'"%s"' % key, type=str).encode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return b""
