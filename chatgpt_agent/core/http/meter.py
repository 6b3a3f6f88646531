"""Reads OpenAI's answers, whole or streamed, for what the ledger records of them.

Usages are never added. A running count may grow in a stream, and the last one counts; usages that contradict each other
are not trusted.
"""

import json
import re
from collections.abc import Callable, Iterable

import msgspec

from chatgpt_agent.core.cooperative import SLICE, Cooperative
from chatgpt_agent.core.http.decompression import Decompressor
from chatgpt_agent.core.http.endpoints import CHAT, Endpoint
from chatgpt_agent.core.http.member_filter import MemberFilter
from chatgpt_agent.core.http.sse import SseSplitter, event_data, without_null_usage
from chatgpt_agent.core.names import MAX_NAME, is_printable
from chatgpt_agent.core.usage import Answer, Count, Usage, read_usage

MAX_SEARCHED = 64 * 1024  # bytes; a larger event is decoded at once, which is faster than to search it first
MAX_FREE = 256 * 1024  # bytes of an event that are held without asking for room

_NULL = msgspec.Raw(b"null")
_NOTHING = (b"null", b"[]")
_ERROR_EVENT = re.compile(rb"^event: ?error\s*$", re.MULTILINE)


class _AnswerFields(msgspec.Struct, kw_only=True):
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
    # Tokens of another model in the same answer.
    svg_usage: msgspec.Raw = _NULL
    tool_usage: msgspec.Raw = _NULL


class _ToolCount(msgspec.Struct):
    total_tokens: Count = 0


class _ToolUsage(msgspec.Struct):
    """openai.types.responses.response.ToolUsage; searches are not counted in tokens."""

    image_gen: _ToolCount | None = None


_answer_fields = msgspec.json.Decoder(_AnswerFields)
_FIELDS = {name.encode() for name in _AnswerFields.__struct_fields__} - {b"choices", b"output", b"data", b"response"}
_tool_usage = msgspec.json.Decoder(_ToolUsage | None)


def read_answer(chunks: Iterable[bytes], endpoint: Endpoint = CHAT) -> Cooperative[Answer]:
    """Reads a whole JSON answer. Of what exceeds SLICE bytes, long strings and lists of numbers are shortened, so that
    a huge answer is neither joined nor decoded whole."""
    body, size = bytearray(), 0
    for chunk in chunks:
        size += len(chunk)
        if size <= SLICE:
            body += chunk
        else:
            for at in range(0, len(chunk), WINDOW):
                body += _shorten(chunk[at : at + WINDOW])
            yield
    return _whole_answer(body, endpoint)


class PassingAnswer:
    """Reads a whole JSON answer as it passes, without holding it."""

    def __init__(self, endpoint: Endpoint, decompressor: Decompressor | None) -> None:
        self._endpoint = endpoint
        self._decompressor = decompressor
        self._filter = MemberFilter(_FIELDS)

    def feed(self, chunk: bytes) -> None:
        """Reads the next bytes."""
        self._filter.feed(self._decompressor.feed(chunk) if self._decompressor else chunk)

    def answer(self) -> Answer:
        """Returns what the answer reports, at its end."""
        return _whole_answer(self._filter.result(), self._endpoint)


def _whole_answer(body: bytes | bytearray, endpoint: Endpoint) -> Answer:
    fields = _decode(body)
    if fields is None:
        return Answer()
    return Answer(
        usage=None if _has_two_usages(body) else _usage(fields, endpoint),
        model=_name(fields.model),
        id=_name(fields.id),
        failed=_has_failed(fields, endpoint),
        began=_has_output(fields),
        complete=True,
        service_tier=_name(fields.service_tier),
    )


# Answers are huge because of images, which are strings of megabytes, and vectors, which are thousands of numbers. The
# middle of either may be replaced by a shorter one: the fields that we read stay the same, and JSON stays JSON.
WINDOW = 4096  # bytes that are shortened at once
_KEPT = 8 * MAX_NAME  # bytes of a string: too long for a name even if all are escapes, and more than half an escape
_IN_STRINGS = bytes({*range(0x20, 0x100)} - {*b'"\\'})  # bytes that stand for themselves in a string
_IN_NUMBERS = b"0123456789+-.eE, \t\r\n"
_IN_STRINGS_ALONE = re.compile(rb"[b-dg-kmo-qv-zA-DF-Z/_\x80-\xff]")  # not in numbers, true, false or null
_NUMBERS = b"0," * MAX_NAME + b"0"
_any = msgspec.json.Decoder(msgspec.Raw)


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


class StreamMeter:
    """Reads a stream as it passes, and decides which of its bytes may go to the client.

    `feed` returns what the client may have now, always whole events. The event that ends the stream (`[DONE]`, or one
    of the endpoint's final events) and all after it are held, for `take_held` to return once the row is written. With
    `hide_usage` the client does not get that for which only we asked: the extra event (with `usage`, without
    `choices`) and `"usage":null` in all others (docs/decisions/0004-ask-streams-for-usage.md).
    """

    __slots__ = (
        "_all_output",
        "_began",
        "_contradicted",
        "_endpoint",
        "_failed",
        "_failed_late",
        "_final_usage",
        "_first",
        "_has_room",
        "_held",
        "_hide_usage",
        "_id",
        "_model",
        "_nested",
        "_oversized",
        "_pass_through",
        "_splitter",
        "_tier",
        "_usage",
        "_words",
        "complete",
    )

    def __init__(
        self, endpoint: Endpoint = CHAT, *, hide_usage: bool, has_room: Callable[[int], bool] = lambda _: True
    ) -> None:
        """`has_room`: whether so many bytes of an event may be held. An event for which there is no room passes as it
        comes, and is read meanwhile: if it ends the stream, its end is held."""
        self._endpoint = endpoint
        self._has_room = has_room
        self._nested = endpoint.nested
        names = ("response",) if endpoint.nested else tuple(endpoint.final_events)
        self._all_output = bool(endpoint.final_events) and not endpoint.nested  # each event, but for errors
        self._words = tuple(b'"%s"' % name.encode() for name in names)  # of events that we read
        self._hide_usage = hide_usage
        self._splitter = SseSplitter()
        self._oversized: MemberFilter | None = None  # reads the event that is too large to be held
        self._held: list[bytes] = []
        self._first = True  # no event has been read yet
        self._pass_through = False  # whether a chunk of whole events may pass without being cut
        # The answer so far.
        self._usage: Usage | None = None
        self._final_usage = False  # whether it is the usage of the whole answer, and not a running count
        self._contradicted = False  # by another one
        self._model: str | None = None
        self._id: str | None = None
        self._tier: str | None = None
        self._began = False  # output has passed
        self._failed = False
        self._failed_late = False  # after output
        self.complete = False  # whether the event that ends the stream was read

    def feed(self, chunk: bytes) -> bytes:
        """Returns the bytes that may go to the client now."""
        # The path of nearly every chunk: no cut and no copy.
        if self._pass_through and chunk.endswith(b"\n\n") and not self._is_of_interest(chunk):
            self._began = True
            if not self._hide_usage or b'"usage"' not in chunk:
                return chunk
            if chunk.find(b"\n\n") == len(chunk) - 2:
                return without_null_usage(chunk)
        passed = self._cut(chunk)
        self._pass_through = not (self._splitter.waiting or self._oversized or self.complete or self._first)
        return passed

    def _cut(self, chunk: bytes) -> bytes:
        passed: list[bytes] = []
        for event in self._splitter.feed(chunk):
            if not self._end_oversized(event):
                if not self._read_event(event):
                    continue
                if self._hide_usage:
                    event = without_null_usage(event)
            (self._held if self.complete else passed).append(event)
        if self._oversized or self._is_oversized(self._splitter.waiting):
            part = self._splitter.take_rest(keep=3)  # a blank line may lack only its last byte
            if self._oversized is None:
                self._oversized = MemberFilter(_FIELDS, b"response" if self._nested else None)
                self._oversized.feed(part[max(0, part.find(b"{")) :])  # from the data on
            else:
                self._oversized.feed(part)
            (self._held if self.complete else passed).append(part)
        return b"".join(passed)

    def _is_oversized(self, size: int) -> bool:
        return size > MAX_FREE and (size > self._endpoint.max_event or not self._has_room(size))

    def _end_oversized(self, rest: bytes) -> bool:
        """Reads the end of an event that was too large to be held. Returns False where this is another event."""
        if self._oversized is None:
            return False
        self._oversized.feed(rest)
        data, self._oversized = self._oversized.result(), None
        self._read_data(data, nested=self._nested)
        return True

    def end(self, *, clean: bool) -> None:
        """Ends the stream. `clean`: the upstream ended its answer; it was not cut off."""
        rest = self._splitter.take_rest()
        if not rest:
            return
        if clean:
            keep = self._end_oversized(rest) or self._read_event(rest)
        elif self._oversized:
            keep = True
        else:  # a part of an event, which may be the one that the client must not get
            keep = not self._hide_usage or b'"choices":[{' in rest.replace(b" ", b"")
        if keep:
            self._held.append(rest)

    def take_held(self) -> bytes:
        """Returns what was held, to be sent once the row is written."""
        held = b"".join(self._held)
        self._held.clear()
        return held

    def answer(self) -> Answer:
        """Returns what the stream has reported so far."""
        return Answer(
            usage=None if self._contradicted else self._usage,
            model=self._model,
            id=self._id,
            failed=self._failed,
            began=self._failed_late,
            complete=self.complete,
            service_tier=self._tier,
        )

    def _read_event(self, event: bytes) -> bool:
        """Reads an event. Returns whether the client may get it."""
        if not self._is_of_interest(event):
            self._began = True
            return True
        data = event_data(event)
        if data.strip() == b"[DONE]":
            self.complete = True
            return True
        if not data and self._first and event.lstrip().startswith(b"{"):
            return self._read_data(event, nested=False)  # a whole answer, or an error, that is typed as a stream
        return self._read_data(data, nested=self._nested, is_error=_ERROR_EVENT.search(event) is not None)

    def _read_data(self, data: bytes, *, nested: bool, is_error: bool = False) -> bool:
        """Reads the data of an event. Returns whether the client may get it."""
        fields = _decode(data) or (_AnswerFields() if is_error else None)
        if fields is None:
            return True
        self._first = False
        kind = _name(fields.type)
        failed = is_error or kind in ("error", "response.failed") or _has_failed(fields, self._endpoint)
        if nested:
            data = bytes(fields.response)
            fields = _decode(data) or _AnswerFields()
        self._began = self._began or _has_output(fields) or (self._all_output and not failed)
        if failed and not self._failed:
            self._failed, self._failed_late = True, self._began
        self.complete = self.complete or kind in self._endpoint.final_events
        self._model = _name(fields.model) or self._model
        self._id = _name(fields.id) or self._id
        self._tier = _name(fields.service_tier) or self._tier
        if bytes(fields.usage) == b"null":
            return True
        has_choices = bytes(fields.choices).translate(None, b" \t\r\n") not in _NOTHING
        self._take_usage(None if _has_two_usages(data) else _usage(fields, self._endpoint), final=not has_choices)
        return not self._hide_usage or failed or has_choices

    def _take_usage(self, usage: Usage | None, *, final: bool) -> None:
        """Takes a usage for the last one, unless it contradicts an earlier one. Some servers report a running count
        with each chunk."""
        earlier = self._usage
        if earlier is not None and usage != earlier:
            grown = usage is not None and usage.input >= earlier.input and usage.output >= earlier.output
            self._contradicted = self._contradicted or self._final_usage or not grown
        self._usage, self._final_usage = usage, self._final_usage or final

    def _is_of_interest(self, event: bytes) -> bool:
        """Whether an event may hold anything that we read. Few do, which keeps the work for each chunk small."""
        if len(event) > MAX_SEARCHED:
            return True
        if b"error" in event or b"[DONE]" in event or (self._first and not self._nested):
            return True
        if self._words:
            return any(word in event for word in self._words)
        usages = event.count(b'"usage"')
        return usages > 0 and usages > event.count(b'"usage":null')


class CompressedMeter:
    """Reads a stream that came compressed although we asked OpenAI not to: all of it passes unchanged."""

    complete = False

    def __init__(
        self, endpoint: Endpoint, decompressor: Decompressor, *, has_room: Callable[[int], bool] = lambda _: True
    ) -> None:
        self._meter = StreamMeter(endpoint, hide_usage=False, has_room=has_room)
        self._decompressor = decompressor

    def feed(self, chunk: bytes) -> bytes:
        """Returns the chunk."""
        self._meter.feed(self._decompressor.feed(chunk))
        return chunk

    def end(self, *, clean: bool) -> None:
        """Ends the stream."""
        self._meter.end(clean=clean)

    def take_held(self) -> bytes:
        """Returns nothing, because nothing is held."""
        return b""

    def answer(self) -> Answer:
        """Returns what the stream has reported so far."""
        return self._meter.answer()


def _decode(data: bytes | bytearray | msgspec.Raw) -> _AnswerFields | None:
    try:
        return _answer_fields.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def _has_failed(fields: _AnswerFields, endpoint: Endpoint) -> bool:
    return bytes(fields.error) != b"null" or (endpoint.nested and bytes(fields.status) == b'"failed"')


def _has_output(fields: _AnswerFields) -> bool:
    """Whether an answer or an event holds output, which is in one of these lists."""
    return any(bytes(output) not in _NOTHING for output in (fields.choices, fields.output, fields.data))


def _usage(fields: _AnswerFields, endpoint: Endpoint) -> Usage | None:
    if bytes(fields.svg_usage) != b"null" or _has_image_tokens(fields.tool_usage):
        return None  # a second model used tokens, at another price, which `usage` does not include
    return read_usage(fields.usage, endpoint.usage_format)


def _has_two_usages(data: bytes | bytearray) -> bool:
    """Whether an object has the key `usage` twice, with different values: then parsers disagree."""
    if data.count(b'"usage"') < 2:  # in a text it has escapes
        return False
    short = b"".join(_shorten(bytes(data[at : at + WINDOW])) for at in range(0, len(data), WINDOW))
    try:
        members = json.loads(short, object_pairs_hook=tuple)
    except (ValueError, RecursionError):  # Python refuses to convert thousands of digits
        return True
    usages = [value for key, value in members if key == "usage"]
    return any(usage != usages[0] for usage in usages)


def _has_image_tokens(raw: msgspec.Raw) -> bool:
    """Whether a tool has used tokens for images, or reports something unreadable."""
    try:
        tools = _tool_usage.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return True
    return tools is not None and tools.image_gen is not None and tools.image_gen.total_tokens > 0


def _name(raw: msgspec.Raw) -> str | None:
    """Returns a name or id, or None if it is not a string that a row can hold."""
    try:
        text = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return text if isinstance(text, str) and is_printable(text) else None
