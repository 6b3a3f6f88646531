"""Reads OpenAI's streams for what the ledger records of them, and decides which of their bytes the client gets when.

Usages are never added. A running count may grow in a stream, and the last one counts; usages that contradict each other
are not trusted.
"""

import re
from collections.abc import Callable

from chatgpt_agent.core.http.answer import (
    FIELDS,
    NO_FIELDS,
    AnswerFields,
    decode_fields,
    has_failed,
    has_output,
    has_two_usages,
    image_model,
    is_empty_list,
    name_of,
    usage_of,
)
from chatgpt_agent.core.http.decompression import Decompressor
from chatgpt_agent.core.http.endpoints import CHAT, Endpoint
from chatgpt_agent.core.http.member_filter import MemberFilter
from chatgpt_agent.core.http.sse import SseSplitter, event_data, without_null_usage
from chatgpt_agent.core.unknown_fields import unknown_fields
from chatgpt_agent.core.usage import Answer, Usage

MAX_SEARCHED = 64 * 1024  # bytes; a larger event is decoded at once, which is faster than to search it first
MAX_FREE = 256 * 1024  # bytes of an event that are held without asking for room

_ERROR_EVENT = re.compile(rb"^event: ?error\s*$", re.MULTILINE)


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
        "_image_model",
        "_model",
        "_nested",
        "_oversized",
        "_pass_through",
        "_reported",
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
        self._reported = NO_FIELDS  # the last `usage` and `tool_usage`
        self._model: str | None = None
        self._id: str | None = None
        self._tier: str | None = None
        self._image_model: str | None = None
        self._began = False  # output has passed
        self._failed = False
        self._failed_late = False  # after output
        self.complete = False  # whether the event that ends the stream was read

    def feed(self, chunk: bytes) -> bytes:
        """Returns the bytes that may go to the client now."""
        # The path of nearly every chunk: no cut and no copy.
        if self._pass_through and chunk.endswith(b"\n\n") and not self._is_of_interest(chunk):
            self._began = True
            if not self._hide_usage or chunk.find(b'"usage"') < 0:
                return chunk
            if chunk.find(b"\n\n") == len(chunk) - 2:
                return without_null_usage(chunk)
            if chunk.find(b"\r") < 0:  # several events that came at once: in half the time that `_cut` takes
                return b"".join([without_null_usage(event + b"\n\n") for event in chunk[:-2].split(b"\n\n")])
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
                self._oversized = MemberFilter(FIELDS, b"response" if self._nested else None)
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
        self._read_data(data, nested=self._nested, held=False)
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
            unknown_fields=unknown_fields(*self._reported),
            image_model=self._image_model,
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

    def _read_data(self, data: bytes, *, nested: bool, is_error: bool = False, held: bool = True) -> bool:
        """Reads the data of an event, `held`: with its output. Returns whether the client may get it."""
        fields = decode_fields(data) or (AnswerFields() if is_error else None)
        if fields is None:
            return True
        self._first = False
        kind = name_of(fields.type)
        failed = is_error or kind in ("error", "response.failed") or has_failed(fields, self._endpoint)
        if nested:
            data = bytes(fields.response)
            fields = decode_fields(data) or AnswerFields()
        self._began = self._began or has_output(fields) or (self._all_output and not failed)
        if failed and not self._failed:
            self._failed, self._failed_late = True, self._began
        self.complete = self.complete or kind in self._endpoint.final_events
        self._model = name_of(fields.model) or self._model
        self._id = name_of(fields.id) or self._id
        self._tier = name_of(fields.service_tier) or self._tier
        if bytes(fields.usage) == b"null":
            return True
        has_choices = not is_empty_list(fields.choices)
        usage = None if has_two_usages(data) else usage_of(fields, self._endpoint, held=held)
        self._image_model = image_model(fields, usage)
        self._reported = fields.usage.copy(), fields.tool_usage.copy()
        self._take_usage(usage, final=not has_choices)
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
        # `find` and not `in`, which first takes the text for a number and makes an exception: twice the time.
        if len(event) > MAX_SEARCHED:
            return True
        if event.find(b"error") >= 0 or event.find(b"[DONE]") >= 0 or (self._first and not self._nested):
            return True
        if self._words:
            for word in self._words:  # noqa: SIM110 - a generator would take as long again
                if event.find(word) >= 0:
                    return True
            return False
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
