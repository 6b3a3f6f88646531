"""Server-sent events are split as the standard says, without losing a byte."""

import itertools
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.http.sse import SseSplitter, event_data

BOM = b"\xef\xbb\xbf"
LINES = [b"data: x", b"data:x", b"data:  two ", b"data", b"data:", b": comment", b":", b"event: ping", b"datax: no"]
LINES += [b" data: no", b"id", 'data: {"é":"模"}'.encode(), b"", b"", b""]

ends = st.sampled_from([b"\n", b"\r", b"\r\n"])
lines = st.lists(st.tuples(st.sampled_from(LINES), ends).map(b"".join), max_size=12)
streams = st.tuples(st.sampled_from([b"", BOM]), lines.map(b"".join), st.sampled_from([b"", b"data: cut"])).map(
    b"".join
)
cuts = st.lists(st.integers(0, 200), max_size=8)


def split(stream: bytes, at: list[int]) -> list[bytes]:
    """Returns a stream split at these offsets; chunks may be empty."""
    bounds = [0, *sorted(min(offset, len(stream)) for offset in at), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(bounds)]


def events_of(chunks: list[bytes]) -> tuple[list[bytes], bytes]:
    """Returns the events in these chunks, and the rest."""
    splitter = SseSplitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return events, splitter.take_rest()


def standard_data(stream: bytes) -> list[bytes]:
    """Returns the data of each event, read line by line as section 9.2.6 of the standard describes."""
    text = stream.removeprefix(BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[bytes] = []
    data: list[bytes] = []
    for line in text.split(b"\n")[:-1]:
        if not line:
            events.append(b"\n".join(data))
            data = []
        elif line.startswith(b"data:") or line == b"data":
            data.append(line[5:].removeprefix(b" "))
    return [event for event in events if event]


@settings(max_examples=200)
@given(stream=streams, at=cuts)
def test_no_byte_is_lost(stream: bytes, at: list[int]) -> None:
    """The events and the rest, joined, are the stream, however it is split."""
    events, rest = events_of(split(stream, at))
    assert b"".join(events) + rest == stream


@settings(max_examples=200)
@given(stream=streams, at=cuts)
def test_events_do_not_depend_on_chunks(stream: bytes, at: list[int]) -> None:
    """A stream gives the same events however it is split into chunks."""
    assert events_of(split(stream, at)) == events_of([stream])


@settings(max_examples=200)
@given(stream=streams)
def test_events_are_those_of_the_standard(stream: bytes) -> None:
    """The events have the data that a parser by the letter of the standard finds."""
    stream += b"\n: more\n\n"  # a CR at the very end would wait for its LF
    events, _ = events_of([stream])
    assert [data for data in map(event_data, events) if data] == standard_data(stream)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_stream_may_be_split_at_any_byte(end: bytes) -> None:
    """A stream split at any byte, or into single bytes, gives the same events."""
    lines = [BOM + b": hello", b"", b"data: one", b"event: x", b"data: two", b"", "data: é".encode(), b"", b": end"]
    stream = end.join(lines)
    whole = events_of([stream])
    assert list(map(event_data, whole[0])) == [b"", b"one\ntwo", "é".encode()]
    assert all(events_of([stream[:at], stream[at:]]) == whole for at in range(len(stream) + 1))
    assert events_of([stream[at : at + 1] for at in range(len(stream))]) == whole


@pytest.mark.parametrize(("one", "other"), itertools.product([b"\n", b"\r", b"\r\n"], repeat=2))
def test_two_line_ends_end_an_event(one: bytes, other: bytes) -> None:
    """Line ends may be mixed, even in a blank line; CR LF is one line end."""
    stream = b"data: x" + one + other + b"data: y"
    expected = ([], stream) if one + other == b"\r\n" else ([b"data: x" + one + other], b"data: y")
    assert events_of([stream]) == expected
    assert events_of([stream[at : at + 1] for at in range(len(stream))]) == expected


def test_event_is_returned_with_its_last_byte() -> None:
    """An event is returned as soon as its blank line is complete."""
    splitter = SseSplitter()
    assert splitter.feed(b"data: x\n") == []
    assert splitter.feed(b"\n") == [b"data: x\n\n"]
    assert splitter.waiting == 0


def test_carriage_return_waits_for_a_line_feed() -> None:
    """A CR at the end of a chunk may be half of a CRLF, so the event that it ends waits for the next byte."""
    splitter = SseSplitter()
    assert splitter.feed(b"data: x\r\n\r") == []
    assert splitter.feed(b"\ndata: y") == [b"data: x\r\n\r\n"]
    assert splitter.waiting == len(b"data: y")


@given(stream=streams, at=cuts, keep=st.integers(0, 10))
def test_rest_is_taken_once(stream: bytes, at: list[int], keep: int) -> None:
    """What is taken of the rest is removed, and what is kept stays."""
    splitter = SseSplitter()
    for chunk in split(stream, at):
        splitter.feed(chunk)
    waiting = splitter.waiting
    rest = splitter.take_rest(keep=keep)
    assert splitter.waiting == min(keep, waiting)
    assert stream.endswith(rest + splitter.take_rest())


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\r\n\r\n", b"x"),
        (b"data:  x \r\r", b" x "),
        (b"data: a\ndata:b\ndata\ndata: c\n\n", b"a\nb\n\nc"),
        (b": data: no\nevent: data\nid: 1\nretry: 1\nData: no\n data: no\ndata : no\n\n", b""),
        (BOM + b"data: x\n\n", b"x"),
        (b"data: a: b\n\n", b"a: b"),
        (b"\n\ndata: x", b"x"),
        (b"", b""),
    ],
)
def test_data_lines_are_joined(event: bytes, data: bytes) -> None:
    """The data of an event is its `data` lines, without one space after the colon, joined by LF."""
    assert event_data(event) == data


def test_long_line_in_small_chunks_is_scanned_once() -> None:
    """A line of 4 MB in chunks of 1 kB is not scanned again with every chunk, which would take many seconds."""
    splitter = SseSplitter()
    started = process_time()
    assert [splitter.feed(b"x" * 1024) for _ in range(4096)] == [[]] * 4096
    assert process_time() - started < 1.0
    assert splitter.feed(b"\n\n") == [b"x" * 4096 * 1024 + b"\n\n"]
