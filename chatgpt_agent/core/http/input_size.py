"""How much input a JSON body may be: its text, which has no more tokens than bytes, and what it only points to or
carries as binary data, whose tokens its bytes do not tell.

Nearly every body is text alone, and says no `type` of anything. That is seen by a search or two in C, and only where
they find something are there regular expressions. These are tried only where a word stands that they begin with: words
are short, and so found piece by piece, while what follows one may be as long as the body.
"""

import re
from collections.abc import Iterator

from chatgpt_agent.core.cooperative import PIECE, Cooperative, find
from chatgpt_agent.core.errors import InvalidRequest

MAX_ESCAPES = 10_000

# Images, sound, files, stored items, tools that bring in what they find.
_LINKS = re.compile(
    rb'"(?:image_url|file_id|file_data|file_url|input_audio)"\s*:\s*+(?!null)'
    rb'|"type"\s*:\s*"(?:item_reference|web_search[a-z0-9_]*|file_search|code_interpreter|mcp|shell)"'
)
_LINK_WORD = re.compile(rb'"(?=(?:image_url|file_id|file_data|file_url|input_audio|type)")')
# A reference to a stored item may leave its type out: an element of a list that has nothing but an id.
_BARE_ITEM = re.compile(rb'"id"\s*:\s*"[^"]*"\s*\}|"type"\s*:\s*null')
_ITEM_WORD = re.compile(rb'"(?=(?:id|type)")')
_IMAGE_TOOL = re.compile(rb'"type"\s*:\s*"image_generation"')
_TYPE_WORD = re.compile(rb'"(?=type")')
# Where binary data begins as the value of a link. Base64 in a message is text like any other, and so is what would look
# like a link if its escapes were read.
_DATA = re.compile(
    rb'"(?:file_data"|image_url"(?:\s*:\s*\{\s*(?:"detail"\s*:\s*"[a-z]*"\s*,\s*)?"url")?)\s*:\s*'
    rb'"data:[a-zA-Z0-9.+/\\;=-]{0,128}?base64,'
    rb'|"input_audio"\s*:\s*\{\s*(?:"format"\s*:\s*"[a-z0-9]*"\s*,\s*)?"data"\s*:\s*"'
)
_DATA_WORD = re.compile(rb'"(?=(?:file_data|image_url|input_audio)")')
_LONGEST = len('"input_audio"')
_ESCAPED = re.compile(rb"\\u00(3[0-9]|5[fF]|6[1-9a-fA-F]|7[0-9aA])")  # 0-9, _ and a-z
_ESCAPE = 6  # bytes


def unescape_ascii(body: bytes) -> Cooperative[bytes]:
    """A body without escapes that spell letters: nothing is hidden by writing `image\\u005furl`.
    Raises InvalidRequest."""
    if (yield from find(body, b"\\u00")) < 0:
        return body
    parts, at, left = [], 0, MAX_ESCAPES + 1
    while at < len(body):
        end = _between_escapes(body, at + PIECE)
        part, count = _ESCAPED.subn(lambda match: bytes([int(match[1], 16)]), body[at:end], left)
        parts.append(part)
        at, left = end, left - count
        if not left:
            raise InvalidRequest(f"The request body has over {MAX_ESCAPES} escapes of plain letters.")
        yield
    return b"".join(parts)


def measure_input(body: bytes, plain: bytes, *, items: bool = False) -> Cooperative[tuple[int, int]]:
    """The bytes of a body that may be text, and the number of things whose tokens they do not tell. `plain`: its
    `unescape_ascii`. `items`: it may refer to items that OpenAI has stored."""
    links = (yield from _count_bare_items(plain)) if items and (yield from find(plain, b'"id"')) >= 0 else 0
    if (b'"type"' not in plain) if len(plain) <= PIECE else (yield from find(plain, b'"type"')) < 0:
        return len(body), links
    links += yield from _count(plain, _LINK_WORD, _LINKS)
    return len(body) - ((yield from _binary(body)) if links else 0), links


def count_image_tools(plain: bytes) -> Cooperative[int]:
    """How many tools of a body make images, by its `unescape_ascii`."""
    if (yield from find(plain, b"image_generation")) < 0:
        return 0
    return (yield from _count(plain, _TYPE_WORD, _IMAGE_TOOL))


def _addresses(text: bytes, word: re.Pattern[bytes]) -> Iterator[int | None]:
    """Where a word stands; None between two pieces of the text."""
    for piece in range(0, len(text), PIECE):
        end = piece + PIECE
        for found in word.finditer(text, piece, end + _LONGEST):
            if found.start() < end:  # it is the next piece's otherwise
                yield found.start()
        if end < len(text):
            yield None


def _count(text: bytes, word: re.Pattern[bytes], whole: re.Pattern[bytes]) -> Cooperative[int]:
    """How often a pattern, which begins with that word, is in a text, as `findall` counts."""
    if len(text) <= PIECE:
        return len(whole.findall(text))
    count = past = 0
    for at in _addresses(text, word):
        if at is None:
            yield
        elif at >= past and (found := whole.match(text, at)):
            count, past = count + 1, found.end()
    return count


def _count_bare_items(text: bytes) -> Cooperative[int]:
    count = 0
    for at in _addresses(text, _ITEM_WORD):
        if at is None:
            yield
        elif _BARE_ITEM.match(text, at):
            count += text[at + 1 : at + 2] == b"t" or _begins_element(text, at)
    return count


def _begins_element(text: bytes, at: int) -> bool:
    """Whether a key is the first one of an object in a list."""
    if text[max(0, at - 2) : at] in (b"[{", b",{"):
        return True
    brace = _before(text, at)
    return text[brace : brace + 1] == b"{" and text[(ahead := _before(text, brace)) : ahead + 1] in (b"[", b",")


def _before(text: bytes, at: int) -> int:
    """Where the last byte before a place is that is no space; 0 where there is none."""
    size = 16
    while not (part := text[max(0, at - size) : at].rstrip()) and size < at:
        size *= 2
    return max(0, max(0, at - size) + len(part) - 1)


def _binary(body: bytes) -> Cooperative[int]:
    """The bytes of data within links."""
    total = past = 0
    for at in _addresses(body, _DATA_WORD):
        if at is None:
            yield
        elif at >= past and (found := _DATA.match(body, at)):
            past = body.find(b'"', found.end())
            total += past - found.end()
    return total


def _between_escapes(body: bytes, at: int) -> int:
    """The place, or one a little before it, where no escape is cut in two."""
    begun = body.rfind(b"\\", max(0, at - _ESCAPE + 1), at)
    return at if begun < 0 else begun
