"""A large JSON text made small: the same structure, with the middle of long strings and of lists of numbers left out.

So the whole structure can be read at once, and nothing of a file of megabytes is decoded or copied. The text need not
be valid JSON; then neither is its outline.
"""

import json
import re

from chatgpt_agent.core.cooperative import SLICE, Cooperative, find
from chatgpt_agent.core.errors import InvalidJson, InvalidRequest

LONG = 1024  # bytes of a string that is shortened
PREFIX = 512  # bytes of it that stay
EXACT = 256 * 1024  # bytes of a string whose escapes are all read; a body that is read at once has no longer one
STEPS = 1024  # strings that are read without a yield
_WINDOW = 512  # bytes of numbers that are shortened at once
_NUMBERS = b"0123456789+-.eE, \t\r\n"
# Marks what was left out: no text in UTF-8 has this byte, and no valid JSON has an escape of what it is decoded to.
_CUT = b"\xff"
_BACKSLASH = ord("\\")
_DECODED_CUT = "\udcff"
_NOT_JSON = "The request body must be one valid JSON object."


def outline(text: bytes, *, max_elements: int, max_keys: int) -> Cooperative[bytes | None]:
    """Returns the outline of a text, or None if it has too many keys. Raises InvalidRequest if it has too many
    elements, which are the brackets and commas outside of strings; InvalidJson."""
    parts: list[bytes] = []
    outside: list[bytes] = []  # what is outside of strings and not yet counted
    elements = keys = strings = at = resumed = 0
    while True:
        quote = text.find(b'"', at, at + SLICE)
        if quote < 0:
            quote = yield from find(text, b'"', at)
        between = text[at : quote if quote >= 0 else len(text)]
        outside.append(between)
        if keys <= max_keys:
            parts.append(between if len(between) < _WINDOW else (yield from _without_numbers(between)))
        if quote < 0 or len(outside) == STEPS or at > resumed + SLICE:
            strings, resumed = strings + len(outside), at
            structure = b"".join(outside)
            outside.clear()
            elements += sum(map(structure.count, (b",", b"[", b"{")))
            keys += structure.count(b":")
            if elements > max_elements or strings > 2 * max_elements:  # in JSON each is a key or an element
                raise InvalidRequest(f"The request body is too complex (over {max_elements} JSON elements).")
            if b"\\" in structure:  # never outside of a string: the rest of a hostile body need not be read
                raise InvalidJson(_NOT_JSON)
            if quote < 0:
                return None if keys > max_keys else b"".join(parts)
            yield
        at = text.find(b'"', quote + 1, quote + 2 + LONG) + 1
        if at and text[at - 2] != _BACKSLASH:  # a short string without an escaped quote, as nearly all are
            parts.append(text[quote:at])
        else:
            at = (yield from _string_end(text, quote + 1)) + 1
            parts.append(_shortened(text, quote + 1, at - 1))


def decode(outline: bytes) -> str:
    """Returns an outline as text. A string that was cut within a character ends in lone surrogates."""
    return outline.decode("utf-8", "surrogateescape")


def length(string: str) -> int:
    """Returns the bytes of a string of an outline, before it was shortened, with its slashes unescaped."""
    _, cut, bytes_ = string.partition(_DECODED_CUT)
    if cut:
        return int(bytes_)
    return len(string) if string.isascii() else len(string.encode("utf-8", "surrogatepass"))


def beginning(string: str) -> str:
    """Returns the beginning of a string of an outline, at most PREFIX characters."""
    return string[:PREFIX].partition(_DECODED_CUT)[0]


# A string up to a quote that does not follow exactly one or three backslashes: so a quote within it is escaped, too, in
# JSON within JSON.
_WITHIN = re.compile(rb'[^"]*+(?:(?:(?<=[^\\]\\)|(?<=[^\\]\\\\\\))"[^"]*+)*+')


def _string_end(text: bytes, start: int) -> Cooperative[int]:
    """Returns where the closing quote of a string is. Raises InvalidJson if it has none."""
    quote = yield from find(text, b'"', start)
    if quote >= 0 and text[quote - 1 : quote] != b"\\":
        return quote
    at = start
    while at < len(text):
        end = _WITHIN.match(text, at, at + SLICE).end()  # type: ignore[union-attr]
        if text[end : end + 1] == b'"' and end < at + SLICE:
            run = text[start:end]
            if (len(run) - len(run.rstrip(b"\\"))) % 2 == 0:
                return end
            start = end = end + 1
        at = end
        yield
    raise InvalidJson(_NOT_JSON)


def _shortened(text: bytes, start: int, end: int) -> bytes:
    """Returns a string with its quotes. A long one keeps its beginning, up to an escape, and its length."""
    if end - start <= LONG:
        return text[start - 1 : end + 1]
    prefix = text[start : start + PREFIX].replace(b"\\/", b"/").partition(b"\\")[0]
    return b'"%b%b%d"' % (prefix, _CUT, _decoded_length(text, start, end))


def _decoded_length(text: bytes, start: int, end: int) -> int:
    """Returns the bytes of a string in UTF-8. Of one over EXACT only slashes are unescaped, as PHP writes them in
    base64: a string is then at most as long as this."""
    escapes = text.count(b"\\", start, end)
    slashes = text.count(b"\\/", start, end) if escapes else 0
    if escapes > slashes and end - start <= EXACT:
        try:
            return len(json.loads(text[start - 1 : end + 1]).encode("utf-8", "surrogatepass"))
        except ValueError:
            pass  # it is no valid JSON, which is refused later
    return end - start - slashes


def _without_numbers(text: bytes) -> Cooperative[bytes]:
    """Leaves out numbers in the middle of lists."""
    parts = []
    for start in range(0, len(text), _WINDOW):
        part = text[start : start + _WINDOW]
        first, last = part.find(b","), part.rfind(b",")
        if first < last and not part.translate(None, _NUMBERS):
            part = part[: first + 1] + b"0" + part[last:]
        parts.append(part)
        if start % SLICE > SLICE - _WINDOW:
            yield
    return b"".join(parts)
