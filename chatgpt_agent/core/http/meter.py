"""Reads OpenAI's answers, whole or streamed, for what the ledger takes of them.

A later usage replaces an earlier one, never adds to it.
"""

import re
from collections.abc import Iterable

import msgspec

from chatgpt_agent.core.cooperative import Cooperative
from chatgpt_agent.core.http.decompression import Decompressor
from chatgpt_agent.core.http.endpoints import CHAT, Endpoint
from chatgpt_agent.core.http.sse import SseSplitter, event_data
from chatgpt_agent.core.usage import MAX_TEXT, Answer, Count, Usage, read_usage

SEARCHED = 64 * 1024  # bytes of an event that is searched before it is decoded

_NULL = msgspec.Raw(b"null")


class _AnswerFields(msgspec.Struct):
    """What we read of an answer, or of an event. Everything else is only checked to be JSON, in C."""

    id: msgspec.Raw = _NULL
    model: msgspec.Raw = _NULL
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    choices: msgspec.Raw = _NULL
    service_tier: msgspec.Raw = _NULL
    type: msgspec.Raw = _NULL
    status: msgspec.Raw = _NULL
    response: msgspec.Raw = _NULL
    # Tokens of another model in the same answer.
    svg_usage: msgspec.Raw = _NULL
    tool_usage: msgspec.Raw = _NULL


class _Counted(msgspec.Struct):
    total_tokens: Count = 0


class _ToolUsage(msgspec.Struct):
    """openai.types.responses.response.ToolUsage: searches are not counted in tokens."""

    image_gen: _Counted | None = None


_said = msgspec.json.Decoder(_AnswerFields)
_tool_usage = msgspec.json.Decoder(_ToolUsage | None)


def read_whole(body: bytes | bytearray, endpoint: Endpoint = CHAT) -> Answer:
    """What a whole JSON answer says."""
    said = _read(body)
    if said is None:
        return Answer()
    failed = endpoint.nested and bytes(said.status) == b'"failed"'
    tier = _text(said.service_tier)
    return Answer(
        usage=_usage(said, endpoint),
        model=_text(said.model),
        id=_text(said.id),
        failed=failed,
        complete=True,
        service_tier=tier,
    )


# What makes answers huge is images, as strings of megabytes, and vectors, as thousands of numbers. A slice out of the
# middle of one may be replaced by a shorter one without changing what the answer says, or whether it is JSON at all.
SLICE = 4096  # bytes
_KEPT = 8 * MAX_TEXT  # bytes; a text that is too long for a row stays so, and half an escape at the front stays there
_IN_STRINGS = bytes({*range(0x20, 0x100)} - {*b'"\\'})  # that stand for themselves
_IN_NUMBERS = b"0123456789+-.eE, \t\r\n"
_IN_STRINGS_ALONE = re.compile(rb"[b-dg-kmo-qv-zA-DF-Z/_\x80-\xff]")  # in no number, and not in true, false, null
_NUMBERS = b"0," * MAX_TEXT + b"0"
_any = msgspec.json.Decoder(msgspec.Raw)


def reading(pieces: Iterable[bytes], endpoint: Endpoint) -> Cooperative[Answer]:
    """What `read_whole` says of these bytes together, which are not put together where they are huge."""
    kept = bytearray()
    for piece in pieces:
        for at in range(0, len(piece), SLICE):
            kept += _shortened(piece[at : at + SLICE])
        yield
    return read_whole(kept, endpoint)


def _shortened(text: bytes) -> bytes:
    if len(text) < SLICE:
        return text
    if not text.translate(None, _IN_NUMBERS):
        start, end = text.find(b",") + 1, text.rfind(b",")
        return text[:start] + _NUMBERS + text[end:] if start and _are_values(text[start:end]) else text
    # Outside of strings it would be no JSON, with all of its bytes or with the first ones alone.
    if not text.translate(None, _IN_STRINGS) and _IN_STRINGS_ALONE.search(text, 0, _KEPT):
        return text[:_KEPT]
    return text


def _are_values(text: bytes) -> bool:
    """Whether a text is JSON's values with commas between them."""
    try:
        _any.decode(b"[%s]" % text)
    except msgspec.DecodeError:
        return False
    return bool(text.strip())


class StreamMeter:
    """Reads a stream while it passes, and says which of its bytes may go on.

    `feed` returns what the client may have now. Events are passed whole. From the event that ends the stream on
    (`[DONE]`, or one of the endpoint's own) everything is kept back, for `finish` to give out when the row is written.
    With `hide_usage` the extra event that we asked OpenAI for (docs/decisions/0004-ask-streams-for-usage.md) does
    not reach the client.
    """

    __slots__ = (
        "_endpoint",
        "_failed",
        "_first",
        "_free",
        "_held",
        "_hide",
        "_id",
        "_marks",
        "_model",
        "_nested",
        "_passing",
        "_splitter",
        "_tier",
        "_usage",
        "complete",
    )

    def __init__(self, endpoint: Endpoint = CHAT, *, hide_usage: bool) -> None:
        self._endpoint = endpoint
        self._nested = endpoint.nested
        self._marks = (b'"response"',) if endpoint.nested else tuple(b'"%s"' % kind.encode() for kind in endpoint.ends)
        self._hide = hide_usage
        self._splitter = SseSplitter()
        self._passing = False  # in the middle of an event too large to hold
        self._held: list[bytes] = []
        # What was read so far.
        self._usage: Usage | None = None
        self._model: str | None = None
        self._id: str | None = None
        self._tier: str | None = None
        self._failed = False
        self.complete = False  # whether the event that ends the stream was seen
        self._first = True
        self._free = False  # whether whole events may pass without being cut from others

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that may go to the client now."""
        if self._free and chunk.endswith(b"\n\n") and not self._is_of_interest(chunk):
            return chunk  # as nearly every one: nothing to cut, nothing to copy
        ready = self._cut(chunk)
        self._free = not (self._splitter.waiting or self._passing or self.complete or self._first)
        return ready

    def _cut(self, chunk: bytes) -> bytes:
        passed: list[bytes] = []
        for event in self._splitter.feed(chunk):
            if self._passing or self._read_event(event):
                (self._held if self.complete else passed).append(event)
            self._passing = False
        if self._splitter.waiting > self._endpoint.max_event or self._passing:
            self._passing = True
            part = self._splitter.take_rest(keep=3)  # which may be all of a blank line but its last byte
            (self._held if self.complete else passed).append(part)
        return b"".join(passed)

    def end(self, *, clean: bool) -> None:
        """Says that no more comes. `clean`: the upstream ended its answer, it was not cut off."""
        rest = self._splitter.take_rest()
        if not rest:
            return
        if self._passing:
            keep = True
        elif clean:
            keep = self._read_event(rest)
        else:  # a part of an event, which may be the one that the client must not see
            keep = not self._hide or b'"choices":[{' in rest.replace(b" ", b"")
        if keep:
            self._held.append(rest)

    def take_held(self) -> bytes:
        """What was kept back, to be sent once the row is written."""
        held = b"".join(self._held)
        self._held.clear()
        return held

    def answer(self) -> Answer:
        """What the stream has said so far."""
        return Answer(
            usage=self._usage,
            model=self._model,
            id=self._id,
            failed=self._failed,
            complete=self.complete,
            service_tier=self._tier,
        )

    def _read_event(self, event: bytes) -> bool:
        """Notes what an event says. Returns whether the client may see it."""
        if not self._is_of_interest(event):
            return True
        data = event_data(event)
        if data.strip() == b"[DONE]":
            self.complete = True
            return True
        said = _read(data)
        if said is None:
            return True
        self._first = False
        kind = _text(said.type)
        self._failed = self._failed or bytes(said.error) != b"null" or kind == "error"
        if self._nested:
            said = _read(said.response) or _AnswerFields()
            self._failed = self._failed or kind == "response.failed"
        self.complete = self.complete or kind in self._endpoint.ends
        self._model = _text(said.model) or self._model
        self._id = _text(said.id) or self._id
        self._tier = _text(said.service_tier) or self._tier
        if bytes(said.usage) == b"null":
            return True
        self._usage = _usage(said, self._endpoint)
        return not (self._hide and bytes(said.choices).translate(None, b" \t\r\n") == b"[]")

    def _is_of_interest(self, event: bytes) -> bool:
        """Whether an event may hold anything for us. Few do: reading only those keeps the work per chunk small. One of
        a megabyte is decoded in less time than it is searched."""
        if len(event) > SEARCHED:
            return True
        if b'"error"' in event or b"[DONE]" in event or (self._first and not self._nested):
            return True
        if self._marks:
            return any(mark in event for mark in self._marks)
        named = event.count(b'"usage"')
        return named > 0 and named > event.count(b'"usage":null')


class CompressedMeter:
    """Reads a stream along that nobody asked to be compressed: it passes as it is, to its end."""

    complete = False

    def __init__(self, endpoint: Endpoint, inflater: Decompressor) -> None:
        self._meter = StreamMeter(endpoint, hide_usage=False)
        self._inflater = inflater

    def feed(self, chunk: bytes) -> bytes:
        """All of it."""
        self._meter.feed(self._inflater.feed(chunk))
        return chunk

    def end(self, *, clean: bool) -> None:
        """Says that no more comes."""
        self._meter.end(clean=clean)

    def take_held(self) -> bytes:
        """Nothing: nothing was kept back."""
        return b""

    def answer(self) -> Answer:
        """What the stream has said so far."""
        return self._meter.answer()


def _read(data: bytes | bytearray | msgspec.Raw) -> _AnswerFields | None:
    try:
        return _said.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def _usage(said: _AnswerFields, endpoint: Endpoint) -> Usage | None:
    if bytes(said.svg_usage) != b"null" or _counts_images(said.tool_usage):
        return None  # tokens of a second model, and so at another price: this one's are not all
    return read_usage(said.usage, endpoint.shape)


def _counts_images(raw: msgspec.Raw) -> bool:
    """Whether a tool has made images, or says something that cannot be read."""
    try:
        said = _tool_usage.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return True
    return said is not None and said.image_gen is not None and said.image_gen.total_tokens > 0


def _text(raw: msgspec.Raw) -> str | None:
    """A name or id, where it is one that a row can take (PostgreSQL's text holds no NUL, for one)."""
    try:
        text = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return text if isinstance(text, str) and 0 < len(text) <= MAX_TEXT and text.isprintable() else None
