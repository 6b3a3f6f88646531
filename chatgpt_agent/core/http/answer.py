"""Reads OpenAI's whole answers, and the objects in its streams, for what the ledger records of them."""

import json
import re
from collections.abc import Iterable

import msgspec

from chatgpt_agent.core.cooperative import SLICE, Cooperative
from chatgpt_agent.core.http.decompression import Decompressor
from chatgpt_agent.core.http.endpoints import CHAT, Endpoint
from chatgpt_agent.core.http.member_filter import MemberFilter
from chatgpt_agent.core.http.tool_usage import add_tools, image_model_of
from chatgpt_agent.core.names import MAX_NAME, is_printable
from chatgpt_agent.core.unknown_fields import unknown_fields
from chatgpt_agent.core.usage import DECODE_ERRORS, Answer, Usage, read_usage

_NULL = msgspec.Raw(b"null")
NO_FIELDS = (_NULL, _NULL)  # `usage` and `tool_usage` of an answer without them
_NOTHING = (b"null", b"[]")


class AnswerFields(msgspec.Struct, kw_only=True):
    """The fields that we read of an answer or of an event. The others are only checked to be JSON, in C."""

    id: msgspec.Raw = _NULL
    model: msgspec.Raw = _NULL
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    choices: msgspec.Raw = _NULL
    service_tier: msgspec.Raw = _NULL
    type: msgspec.Raw = _NULL
    status: msgspec.Raw = _NULL
    response: msgspec.Raw = _NULL
    # Output, beside `choices`.
    output: msgspec.Raw = _NULL
    data: msgspec.Raw = _NULL
    # Tokens of another model in the same answer, and calls of tools.
    svg_usage: msgspec.Raw = _NULL
    tool_usage: msgspec.Raw = _NULL
    tools: msgspec.Raw = _NULL


_answer_fields = msgspec.json.Decoder(AnswerFields)
FIELDS = {name.encode() for name in AnswerFields.__struct_fields__} - {b"choices", b"output", b"data", b"response"}


def read_answer(chunks: Iterable[bytes], endpoint: Endpoint = CHAT) -> Cooperative[Answer]:
    """Reads a whole JSON answer. Of what exceeds SLICE bytes, long strings and lists of numbers are shortened, so that
    a huge answer is neither joined nor decoded whole."""
    body, size = bytearray(), 0
    for chunk in chunks:
        size += len(chunk)
        if size <= SLICE:
            body += chunk
        else:
            body += _shortened(chunk)
            yield
    return _whole_answer(body, endpoint)


class PassingAnswer:
    """Reads a whole JSON answer as it passes, without holding it."""

    def __init__(self, endpoint: Endpoint, decompressor: Decompressor | None) -> None:
        self._endpoint = endpoint
        self._decompressor = decompressor
        self._filter = MemberFilter(FIELDS)

    def feed(self, chunk: bytes) -> None:
        """Reads the next bytes."""
        self._filter.feed(self._decompressor.feed(chunk) if self._decompressor else chunk)

    def answer(self) -> Answer:
        """Returns what the answer reports, at its end."""
        return _whole_answer(self._filter.result(), self._endpoint, held=False)


def _whole_answer(body: bytes | bytearray, endpoint: Endpoint, *, held: bool = True) -> Answer:
    fields = decode_fields(body)
    if fields is None:
        return Answer()
    usage = None if has_two_usages(body) else usage_of(fields, endpoint, held=held)
    return Answer(
        usage=usage,
        image_model=image_model(fields, usage),
        model=name_of(fields.model),
        id=name_of(fields.id),
        failed=has_failed(fields, endpoint),
        began=has_output(fields),
        complete=True,
        service_tier=name_of(fields.service_tier),
        unknown_fields=unknown_fields(fields.usage, fields.tool_usage),
    )


# Answers are huge because of images, which are strings of megabytes, and vectors, which are thousands of numbers. The
# middle of either may be replaced by a shorter one: the fields that we read stay the same, and JSON stays JSON.
WINDOW = 4096  # bytes that are shortened at once
BLOCK = 16 * WINDOW  # as those within an image can be
_KEPT = 8 * MAX_NAME  # bytes of a string: too long for a name even if all are escapes, and more than half an escape
_IN_STRINGS = bytes({*range(0x20, 0x100)} - {*b'"\\'})  # bytes that stand for themselves in a string
_IN_NUMBERS = b"0123456789+-.eE, \t\r\n"
_IN_STRINGS_ALONE = re.compile(rb"[b-dg-kmo-qv-zA-DF-Z/_\x80-\xff]")  # not in numbers, true, false or null
_NUMBERS = b"0," * MAX_NAME + b"0"
_any = msgspec.json.Decoder(msgspec.Raw)


def _shortened(chunk: bytes) -> bytes:
    """Returns a chunk with the middle of its long strings and lists of numbers shortened, where it can by the block: a
    kilobyte of each window of 64 MiB would still take 22 ms to read at the end."""
    parts = []
    for start in range(0, len(chunk), BLOCK):
        block = chunk[start : start + BLOCK]
        short = _shorten(block)
        if len(short) < len(block):
            parts.append(short)
        else:
            parts += [_shorten(block[at : at + WINDOW]) for at in range(0, len(block), WINDOW)]
    return b"".join(parts)


def _shorten(text: bytes) -> bytes:
    if len(text) < WINDOW:
        return text
    if not text.translate(None, _IN_NUMBERS):
        start, end = text.find(b",") + 1, text.rfind(b",")
        return text[:start] + _NUMBERS + text[end:] if start and _are_values(text[start:end]) else text
    # If this is outside of a string it is not JSON, neither whole nor shortened.
    if not text.translate(None, _IN_STRINGS) and _IN_STRINGS_ALONE.search(text, 0, _KEPT):
        return text[:_KEPT]
    return text


def _are_values(text: bytes) -> bool:
    """Whether a text is a comma-separated list of JSON values."""
    try:
        _any.decode(b"[%s]" % text)
    except msgspec.DecodeError:
        return False
    return bool(text.strip())


def decode_fields(data: bytes | bytearray | msgspec.Raw) -> AnswerFields | None:
    """Returns the fields of an object, or None for anything else."""
    try:
        return _answer_fields.decode(data)
    except DECODE_ERRORS:
        return None


def has_failed(fields: AnswerFields, endpoint: Endpoint) -> bool:
    """Whether an answer or an event reports an error."""
    return bytes(fields.error) != b"null" or (endpoint.nested and bytes(fields.status) == b'"failed"')


def has_output(fields: AnswerFields) -> bool:
    """Whether an answer or an event holds output, which is in one of these lists."""
    return any(bytes(output) not in _NOTHING for output in (fields.choices, fields.output, fields.data))


def usage_of(fields: AnswerFields, endpoint: Endpoint, *, held: bool = True) -> Usage | None:
    """Returns the usage, or None if there is none to be trusted. `held`: the fields include the output."""
    if bytes(fields.svg_usage) != b"null":
        return None  # a second model used tokens, at another price, which `usage` does not include
    usage = read_usage(fields.usage, endpoint.usage_format)
    if usage is None or not endpoint.hosts_tools:
        return usage
    return add_tools(usage, fields.tool_usage, fields.output if held else None, fields.tools)


def image_model(fields: AnswerFields, usage: Usage | None) -> str | None:
    """Returns the model that drew for the tool image_generation, if the answer names it."""
    return None if usage is None or usage.image_tool is None else image_model_of(fields.tools)


def is_empty_list(raw: msgspec.Raw) -> bool:
    """Whether a value is missing, null or an empty list."""
    return bytes(raw).translate(None, b" \t\r\n") in _NOTHING


def has_two_usages(data: bytes | bytearray) -> bool:
    """Whether an object has the key `usage` twice, with different values: then parsers disagree."""
    if data.count(b'"usage"') < 2:  # in a text it has escapes
        return False
    short = _shortened(bytes(data))
    try:
        members = json.loads(short, object_pairs_hook=tuple)
    except (ValueError, RecursionError):  # Python refuses to convert thousands of digits
        return True
    usages = [value for key, value in members if key == "usage"]
    return any(usage != usages[0] for usage in usages)


def name_of(raw: msgspec.Raw) -> str | None:
    """Returns a name or id, or None if it is not a string that a row can hold."""
    try:
        text = msgspec.json.decode(raw)
    except DECODE_ERRORS:
        return None
    return text if isinstance(text, str) and is_printable(text) else None
