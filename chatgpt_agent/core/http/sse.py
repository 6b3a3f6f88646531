"""Cuts a stream of bytes into server-sent events without losing or changing a byte.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
(lines end in LF, CR or CRLF; a blank line ends an event; a BOM may come first).
"""

import re

_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_NULL_USAGE = (b',"usage":null', b', "usage": null')
_FLAT_END = re.compile(
    rb'(?:, ?"\w+": ?(?:"[^"\\\r\n]*"|[\w.+-]+)){0,9}\}(?:\r\n|\n|\r){2}'
)  # members, and no object ends


class SseSplitter:
    """Cuts a stream into events. All events and rests together are the bytes that were fed in."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._scanned = 0  # bytes of the rest in which no event can end
        self._lf_only = True  # no CR so far

    def feed(self, chunk: bytes) -> list[bytes]:
        """Returns the events that are now complete, each with its blank line."""
        rest = self._rest
        rest += chunk
        # A CR at the very end may be half of a CRLF, so an event that ends there waits for the next byte.
        end = len(rest) - 1 if rest.endswith(b"\r") else len(rest)
        self._lf_only = self._lf_only and b"\r" not in chunk
        if self._lf_only:
            return self._cut_at_lf(rest)
        events, at = [], 0
        for match in _BLANK_LINE.finditer(rest, self._scanned, end):
            events.append(bytes(rest[at : match.end()]))
            at = match.end()
        self._drop(at)
        return events

    def _cut_at_lf(self, rest: bytearray) -> list[bytes]:
        """Cuts lines that end in LF, as OpenAI's do: `find` is 20 times as fast as the pattern on large events."""
        events, at = [], 0
        while (blank := rest.find(b"\n\n", max(at, self._scanned))) >= 0:
            # An image of megabytes is nearly always alone in the rest, and then copied only once.
            events.append(bytes(rest) if at == 0 and blank + 2 == len(rest) else bytes(rest[at : blank + 2]))
            at = blank + 2
        self._drop(at)
        return events

    def _drop(self, size: int) -> None:
        if size:
            del self._rest[:size]
        self._scanned = max(0, len(self._rest) - 4)

    def take_rest(self, *, keep: int = 0) -> bytes:
        """Removes and returns the bytes of the incomplete event, but for the last `keep`."""
        end = max(0, len(self._rest) - keep)
        rest = bytes(self._rest[:end])
        del self._rest[:end]
        self._scanned = 0
        return rest

    @property
    def waiting(self) -> int:
        """Bytes of the incomplete event."""
        return len(self._rest)


def begins_events(start: bytes) -> bool | None:
    """Returns whether a body that starts like this is a stream of events. None: more of it is needed."""
    text = start.removeprefix(_BOM).lstrip(b"\r\n")
    if text.startswith(_FIELDS):
        return True
    return None if any(field.startswith(text) for field in (*_FIELDS, _BOM)) else False


def without_null_usage(event: bytes) -> bytes:
    """Returns an event without the member `usage` of its object if that is null. It is recognized only before the end
    of the object and flat members, which are read in less than a microsecond."""
    member = _NULL_USAGE[0]
    if (at := event.rfind(member)) < 0:  # not in a text, where a quote has a backslash
        member = _NULL_USAGE[1]
        at = event.rfind(member)
    end = at + len(member)
    if at < 0 or not (event.startswith(b"}\n\n", end) or _FLAT_END.fullmatch(event, end)):
        return event
    line = max(event.rfind(b"\n", 0, at), event.rfind(b"\r", 0, at)) + 1
    return event[:at] + event[end:] if event.startswith((b"data: {", b"data:{"), line) else event


def event_data(event: bytes) -> bytes:
    """Returns the data of one event: its `data` lines joined by LF, without comments and other fields."""
    # Lines are found one by one: for an image of megabytes a regular expression would take ten times as long.
    text = event.removeprefix(_BOM)
    if b"\r" in text:
        text = _LINE_END.sub(b"\n", text)
    data, start = [], 0
    while start < len(text):
        end = text.find(b"\n", start)
        end = len(text) if end < 0 else end
        if text.startswith(b"data:", start):
            data.append(text[start + (6 if text.startswith(b" ", start + 5) else 5) : end])
        elif text[start:end] == b"data":
            data.append(b"")
        start = end + 1
    return b"\n".join(data)
