"""How much input a JSON body has: its text, which has at most one token a byte, and its attachments, which are binary
data or lie outside of the body, so that its bytes do not tell their tokens.

Most bodies are text alone and have no `type`; a search or two in C see that. Regular expressions are tried only at the
words that they begin with: words are short enough to be found slice by slice, but what follows one may be as long as
the body.
"""

import re
from collections.abc import Iterator

from chatgpt_agent.core.cooperative import SLICE, Cooperative, find
from chatgpt_agent.core.errors import InvalidRequest

MAX_ESCAPES = 10_000

# Images, sound, files, stored items, and tools that add what they find.
_ATTACHMENT = re.compile(
    rb'"(?:image_url|file_id|file_data|file_url|input_audio)"\s*:\s*+(?!null)'
    rb'|"type"\s*:\s*"(?:item_reference|web_search[a-z0-9_]*|file_search|code_interpreter|mcp|shell)"'
)
_ATTACHMENT_WORD = re.compile(rb'"(?=(?:image_url|file_id|file_data|file_url|input_audio|type)")')
# A reference to a stored item may omit its type: it is an element of a list with nothing but an id.
_BARE_ITEM = re.compile(rb'"id"\s*:\s*"[^"]*"\s*\}|"type"\s*:\s*null')
_ITEM_WORD = re.compile(rb'"(?=(?:id|type)")')
_IMAGE_TOOL = re.compile(rb'"type"\s*:\s*"image_generation"')
_TYPE_WORD = re.compile(rb'"(?=type")')
# The beginning of binary data in an attachment. Base64 in a message is counted as text, and so is an attachment whose
# keys are spelled with escapes.
_DATA = re.compile(
    rb'"(?:file_data"|image_url"(?:\s*:\s*\{\s*(?:"detail"\s*:\s*"[a-z]*"\s*,\s*)?"url")?)\s*:\s*'
    rb'"data:[a-zA-Z0-9.+/\\;=-]{0,128}?base64,'
    rb'|"input_audio"\s*:\s*\{\s*(?:"format"\s*:\s*"[a-z0-9]*"\s*,\s*)?"data"\s*:\s*"'
)
_DATA_WORD = re.compile(rb'"(?=(?:file_data|image_url|input_audio)")')
_LONGEST_WORD = len('"input_audio"')
_ESCAPED = re.compile(rb"\\u00(3[0-9]|5[fF]|6[1-9a-fA-F]|7[0-9aA])")  # 0-9, _ and a-z
_ESCAPE = 6  # bytes


def unescape_ascii(body: bytes) -> Cooperative[bytes]:
    """Returns a body with its escaped letters decoded, so that `image\\u005furl` hides nothing. Raises InvalidRequest
    for too many of them: each takes time."""
    if (yield from find(body, b"\\u00")) < 0:
        return body
    parts, at, left = [], 0, MAX_ESCAPES + 1
    while at < len(body):
        end = _between_escapes(body, at + SLICE)
        part, count = _ESCAPED.subn(lambda match: bytes([int(match[1], 16)]), body[at:end], left)
        parts.append(part)
        at, left = end, left - count
        if not left:
            raise InvalidRequest(f"The request body has over {MAX_ESCAPES} escaped ASCII letters.")
        if at < len(body):
            yield
    return b"".join(parts)


def measure_input(body: bytes, plain: bytes, *, stored_items: bool = False) -> Cooperative[tuple[int, int]]:
    """Returns the bytes of a body that may be text, and the number of its attachments. `plain`: its `unescape_ascii`;
    `stored_items`: it may refer to items that OpenAI has stored."""
    attachments = 0
    if stored_items and (yield from find(plain, b'"id"')) >= 0:
        attachments = yield from _count_bare_items(plain)
    if (yield from find(plain, b'"type"')) < 0:
        return len(body), attachments
    attachments += yield from _count(plain, _ATTACHMENT_WORD, _ATTACHMENT)
    return len(body) - ((yield from _measure_data(body)) if attachments else 0), attachments


def count_image_tools(plain: bytes) -> Cooperative[int]:
    """Returns the number of tools in a body that generate images. `plain`: its `unescape_ascii`."""
    if (yield from find(plain, b"image_generation")) < 0:
        return 0
    return (yield from _count(plain, _TYPE_WORD, _IMAGE_TOOL))


def _positions(text: bytes, word: re.Pattern[bytes]) -> Iterator[int | None]:
    """Yields where a word stands, and None between two slices of the text."""
    for start in range(0, len(text), SLICE):
        end = start + SLICE
        for match in word.finditer(text, start, end + _LONGEST_WORD):
            if match.start() < end:  # else it belongs to the next slice
                yield match.start()
        if end < len(text):
            yield None


def _count(text: bytes, word: re.Pattern[bytes], whole: re.Pattern[bytes]) -> Cooperative[int]:
    """Returns the number of matches of `whole`, which begins with `word`."""
    if len(text) <= SLICE:
        return len(whole.findall(text))  # 10 µs less for 20 KB with an image
    count = past = 0
    for at in _positions(text, word):
        if at is None:
            yield
        elif at >= past and (match := whole.match(text, at)):
            count, past = count + 1, match.end()
    return count


def _count_bare_items(text: bytes) -> Cooperative[int]:
    count = 0
    for at in _positions(text, _ITEM_WORD):
        if at is None:
            yield
        elif _BARE_ITEM.match(text, at):
            count += text[at + 1 : at + 2] == b"t" or _begins_element(text, at)
    return count


def _begins_element(text: bytes, at: int) -> bool:
    """Whether a key is the first one of an object in a list."""
    if text[max(0, at - 2) : at] in (b"[{", b",{"):
        return True
    brace = _last_before(text, at)
    return text[brace : brace + 1] == b"{" and text[(ahead := _last_before(text, brace)) : ahead + 1] in (b"[", b",")


def _last_before(text: bytes, at: int) -> int:
    """Returns the position of the last byte before `at` that is not a space, or 0."""
    size = 16
    while not (part := text[max(0, at - size) : at].rstrip()) and size < at:
        size *= 2
    return max(0, max(0, at - size) + len(part) - 1)


def _measure_data(body: bytes) -> Cooperative[int]:
    """Returns the bytes of binary data in attachments."""
    total = past = 0
    for at in _positions(body, _DATA_WORD):
        if at is None:
            yield
        elif at >= past and (match := _DATA.match(body, at)):
            past = body.find(b'"', match.end())
            total += past - match.end()
    return total


def _between_escapes(body: bytes, at: int) -> int:
    """Returns `at`, or a position a little before it that does not cut an escape in two."""
    start = body.rfind(b"\\", max(0, at - _ESCAPE + 1), at)
    return at if start < 0 else start
