"""Token counts out of OpenAI's answers, whole or streamed: its own numbers, or none.

A count that is not a non-negative integer of sane size, or that contradicts itself, is not trusted and not
repaired: the row then says that the usage is unknown. A later usage replaces an earlier one, never adds to it.
"""

from typing import Annotated

import msgspec

from chatgpt_agent.core.sse import SseSplitter, event_data

MAX_COUNT = 10**12  # tokens; more than this in one answer is nonsense
MAX_EVENT = 8 * 1024 * 1024  # bytes of one event that are held back to be read
MAX_TEXT = 128  # characters of a name or id that a row takes

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer. `cached`, `cache_write`, `audio_input` and `image_input` are parts of `input`; `reasoning`,
    `audio_output` and `image_output` parts of `output`."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0
    cache_write: int = 0
    audio_input: int = 0
    image_input: int = 0
    audio_output: int = 0
    image_output: int = 0


class Answer(msgspec.Struct, frozen=True):
    """What the ledger takes from an answer: the model that served, OpenAI's id, the usage if there is one to trust,
    the service tier that it was served in. `failed`: an error event came in mid-stream. `complete`: the stream ended
    with its `[DONE]`."""

    usage: Usage | None = None
    model: str | None = None
    id: str | None = None
    failed: bool = False
    complete: bool = False
    service_tier: str | None = None


class _InputDetails(msgspec.Struct):
    cached_tokens: Count | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Count | None = None


class _Usage(msgspec.Struct):
    """openai.types.CompletionUsage."""

    prompt_tokens: Count
    completion_tokens: Count
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Chunk(msgspec.Struct):
    """What we read of openai.types.chat.ChatCompletion and ChatCompletionChunk."""

    id: msgspec.Raw = msgspec.Raw(b"null")
    model: msgspec.Raw = msgspec.Raw(b"null")
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")
    choices: msgspec.Raw = msgspec.Raw(b"null")


_chunk = msgspec.json.Decoder(_Chunk)
_usage = msgspec.json.Decoder(_Usage)


def read_whole(body: bytes) -> Answer:
    """What a whole JSON answer says."""
    chunk = _read(body)
    if chunk is None:
        return Answer()
    return Answer(_trusted(chunk.usage), _text(chunk.model), _text(chunk.id), complete=True)


class StreamMeter:
    """Reads a stream while it passes, and says which of its bytes may go on.

    `feed` returns what the client may have now. Events are passed whole. From `[DONE]` on everything is kept
    back, for `finish` to give out when the row is written. With `hide_usage` the extra event that we asked
    OpenAI for (decision 4: `choices` is empty, `usage` is there) does not reach the client.
    """

    def __init__(self, *, hide_usage: bool) -> None:
        self._hide = hide_usage
        self._splitter = SseSplitter()
        self._passing = False  # in the middle of an event too large to hold
        self._held: list[bytes] = []
        # What was read so far.
        self._usage: Usage | None = None
        self._model: str | None = None
        self._id: str | None = None
        self._failed = False
        self._complete = False
        self._first = True

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that may go to the client now."""
        passed: list[bytes] = []
        for event in self._splitter.feed(chunk):
            if self._passing or self._read_event(event):
                (self._held if self._complete else passed).append(event)
            self._passing = False
        if self._splitter.waiting > MAX_EVENT or self._passing:
            self._passing = True
            part = self._splitter.take_rest(keep=3)  # which may be all of a blank line but its last byte
            (self._held if self._complete else passed).append(part)
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

    @property
    def complete(self) -> bool:
        """Whether `[DONE]` was seen."""
        return self._complete

    def answer(self) -> Answer:
        """What the stream has said so far."""
        return Answer(self._usage, self._model, self._id, self._failed, self._complete)

    def _read_event(self, event: bytes) -> bool:
        """Notes what an event says. Returns whether the client may see it."""
        # Few events can hold anything for us: reading only those keeps the work per chunk small.
        interesting = event.count(b'"usage"') > event.count(b'"usage":null')
        if not (interesting or self._first or b"[DONE]" in event or b'"error"' in event):
            return True
        data = event_data(event)
        if data.strip() == b"[DONE]":
            self._complete = True
            return True
        chunk = _read(data)
        if chunk is None:
            return True
        self._first = False
        self._model = _text(chunk.model) or self._model
        self._id = _text(chunk.id) or self._id
        self._failed = self._failed or bytes(chunk.error) != b"null"
        if bytes(chunk.usage) == b"null":
            return True
        self._usage = _trusted(chunk.usage)
        return not (self._hide and bytes(chunk.choices).translate(None, b" \t\r\n") == b"[]")


def _read(data: bytes) -> _Chunk | None:
    try:
        return _chunk.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def _trusted(raw: msgspec.Raw) -> Usage | None:
    try:
        said = _usage.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    inputs = said.prompt_tokens_details
    outputs = said.completion_tokens_details
    cached = (inputs.cached_tokens or 0) if inputs else 0
    reasoning = (outputs.reasoning_tokens or 0) if outputs else 0
    if cached > said.prompt_tokens or reasoning > said.completion_tokens:
        return None
    return Usage(said.prompt_tokens, said.completion_tokens, cached, reasoning)


def _text(raw: msgspec.Raw) -> str | None:
    """A name or id, where it is one that a row can take (PostgreSQL's text holds no NUL, for one)."""
    try:
        text = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return text if isinstance(text, str) and 0 < len(text) <= MAX_TEXT and text.isprintable() else None
