"""How much input a JSON body may be: its text, which has no more tokens than bytes, and what it only points to or
carries as binary data, whose tokens its bytes do not tell.

Nearly every body is text alone, and says no `type` of anything. That is seen by a search or two in C, and only where
they find something are there regular expressions.
"""

import re

from chatgpt_agent.core.errors import InvalidRequest

MAX_ESCAPES = 10_000

# Images, sound, files, stored items, tools that bring in what they find.
_LINKS = re.compile(
    rb'"(?:image_url|file_id|file_data|file_url|input_audio)"\s*:\s*+(?!null)'
    rb'|"type"\s*:\s*"(?:item_reference|web_search[a-z0-9_]*|file_search|code_interpreter|mcp|shell)"'
)
# A reference to a stored item may leave its type out.
_BARE_ITEM = re.compile(rb'[\[,]\s*\{\s*"id"\s*:\s*"[^"]*"\s*\}|"type"\s*:\s*null')
_IMAGE_TOOL = re.compile(rb'"type"\s*:\s*"image_generation"')
# Where binary data begins as the value of a link. Base64 in a message is text like any other, and so is what would look
# like a link if its escapes were read.
_DATA = re.compile(
    rb'"(?:file_data"|image_url"(?:\s*:\s*\{\s*(?:"detail"\s*:\s*"[a-z]*"\s*,\s*)?"url")?)\s*:\s*'
    rb'"data:[a-zA-Z0-9.+/\\;=-]{0,128}?base64,'
    rb'|"input_audio"\s*:\s*\{\s*(?:"format"\s*:\s*"[a-z0-9]*"\s*,\s*)?"data"\s*:\s*"'
)
_ESCAPED = re.compile(rb"\\u00(3[0-9]|5[fF]|6[1-9a-fA-F]|7[0-9aA])")  # 0-9, _ and a-z


def weigh(body: bytes, *, items: bool = False) -> tuple[int, int]:
    """The bytes of a body that may be text, and the number of things whose tokens they do not tell. `items`: it may
    refer to items that OpenAI has stored. Raises InvalidRequest."""
    plain = _plain(body)
    links = len(_BARE_ITEM.findall(plain)) if items and b'"id"' in plain else 0
    if b'"type"' not in plain:
        return len(body), links
    links += sum(1 for _ in _LINKS.finditer(plain))
    return len(body) - (_binary(body) if links else 0), links


def count_image_tools(body: bytes) -> int:
    """How many tools of a body make images. Raises InvalidRequest."""
    plain = _plain(body)
    return len(_IMAGE_TOOL.findall(plain)) if b"image_generation" in plain else 0


def _binary(body: bytes) -> int:
    """The bytes of data within links."""
    total = 0
    found = _DATA.search(body)
    while found:
        end = body.find(b'"', found.end())
        total += end - found.end()
        found = _DATA.search(body, end)
    return total


def _plain(body: bytes) -> bytes:
    """A body without escapes that spell letters: nothing is hidden by writing `image\\u005furl`."""
    if b"\\" not in body or b"\\u00" not in body:
        return body
    plain, count = _ESCAPED.subn(lambda match: bytes([int(match[1], 16)]), body, MAX_ESCAPES + 1)
    if count > MAX_ESCAPES:
        raise InvalidRequest(f"The request body has over {MAX_ESCAPES} escapes of plain letters.")
    return plain
