"""How much input a JSON body may be: its text, which has no more tokens than bytes, and what it only points to or
carries as binary data, whose tokens its bytes do not tell.

Nearly every body is text alone. That is seen by a few searches in C, and only where they find something are there
regular expressions.
"""

import re

# What makes other input of a request: images, sound, files, stored items, tools that bring in what they find.
_HINTS = (
    b"image_url", b"file_", b"input_audio", b"item_reference", b"_search", b"code_interpreter", b'"mcp"', b'"shell"',
)  # fmt: skip
_LINKS = re.compile(
    rb'"(?:image_url|file_id|file_data|file_url|input_audio)"\s*:\s*+(?!null)'
    rb'|"type"\s*:\s*"(?:item_reference|web_search[a-z0-9_]*|file_search|code_interpreter|mcp|shell)"'
)
_IMAGE_TOOL = re.compile(rb'"type"\s*:\s*"image_generation"')
# Binary data is the value of a link. Base64 in a message is text like any other, and so is what only looks like a link
# once its escapes are read. (Some write a slash as \/.)
_DATA = re.compile(
    rb'"(?:file_data"|image_url"(?:\s*:\s*\{\s*(?:"detail"\s*:\s*"[a-z]*"\s*,\s*)?"url")?)\s*:\s*'
    rb'"data:[a-zA-Z0-9.+/\\;=-]{0,128}?base64,((?:[A-Za-z0-9+/=]|\\/)*+)"'
    rb'|"input_audio"\s*:\s*\{\s*(?:"format"\s*:\s*"[a-z0-9]*"\s*,\s*)?"data"\s*:\s*"((?:[A-Za-z0-9+/=]|\\/)*+)"'
)
_ESCAPED_ASCII = re.compile(rb"\\u00([2-7][0-9a-fA-F])")


def weigh(body: bytes) -> tuple[int, int]:
    """The bytes of a body that may be text, and the number of things whose tokens they do not tell."""
    plain = _plain(body)
    if not any(hint in plain for hint in _HINTS):
        return len(body), 0
    links = sum(1 for _ in _LINKS.finditer(plain))
    binary = 0
    if b"base64," in body or b"input_audio" in body:
        binary = sum(len(match[1] or match[2] or b"") for match in _DATA.finditer(body))
    return len(body) - binary, links


def count_image_tools(body: bytes) -> int:
    """How many tools of a body make images."""
    plain = _plain(body)
    return len(_IMAGE_TOOL.findall(plain)) if b"image_generation" in plain else 0


def _plain(body: bytes) -> bytes:
    """A body without escapes that spell ASCII: nothing is hidden by writing `image\\u005furl`."""
    if b"\\u00" not in body:
        return body
    return _ESCAPED_ASCII.sub(lambda match: bytes([int(match[1], 16)]), body)
