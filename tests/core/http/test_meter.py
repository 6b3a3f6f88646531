"""Streams of chat are read for their usage and pass byte for byte meanwhile."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.http.endpoints import CHAT
from chatgpt_agent.core.http.meter import StreamMeter
from chatgpt_agent.core.usage import Answer, Usage
from tests.support.chat_answers import COUNTED, LAST, USAGE, chunk, counts, done, event, text

MAX_EVENT = CHAT.max_event


def run_meter(chunks: list[bytes], *, hide_usage: bool = False, clean: bool = True) -> tuple[bytes, bytes, Answer]:
    """Returns what a meter passes at once, what it holds, and what it has read."""
    meter = StreamMeter(hide_usage=hide_usage)
    passed = b"".join([meter.feed(chunk) for chunk in chunks])
    meter.end(clean=clean)
    return passed, meter.take_held(), meter.answer()


def unasked(stream: bytes) -> bytes:
    """Returns what a client that did not ask for the usage gets of events without one."""
    return stream.replace(b',"usage":null', b"")


# Reading.


def test_stream_is_read_like_a_whole_answer() -> None:
    """Model, id, usage and the end are read from a stream."""
    *_, answer = run_meter([event(chunk()) + event(chunk("!")) + event(LAST) + done()])
    assert answer == Answer(usage=COUNTED, model="gpt-6-sol-2026-09-15", id="chatcmpl-1", complete=True)


def test_running_count_may_grow() -> None:
    """If a stream reports its usage with each chunk, the last one counts, and they are not added."""
    grown = [counts(completion_tokens=tokens) for tokens in (0, 1, 7)]
    *_, answer = run_meter([event(chunk(usage=usage)) for usage in grown] + [event(chunk(choices=[], usage=grown[2]))])
    assert answer.usage == Usage(input=counts()["prompt_tokens"], output=7)


@pytest.mark.parametrize(
    "pairs",
    [
        [(counts(), False), (counts(prompt_tokens=1), False)],
        [(counts(), False), (counts(completion_tokens=0), False)],
        [(counts(completion_tokens=9), False), (counts(completion_tokens=3), True)],
        [(counts(completion_tokens=3), True), (counts(completion_tokens=9), True)],
        [(counts(completion_tokens=3), True), (counts(completion_tokens=9), False)],
        [(counts(completion_tokens=9), True), (counts(completion_tokens=3), True), (counts(completion_tokens=9), True)],
    ],
)
def test_usages_that_disagree_are_not_trusted(pairs: list[tuple[dict[str, int], bool]]) -> None:
    """If a stream reports a count that shrinks, or two different counts of the whole answer, its usage is unknown."""
    whole: list[dict[str, Any]] = [{}, {"choices": []}]
    chunks = [event(chunk(usage=usage, **whole[final])) for usage, final in pairs]
    *_, answer = run_meter([*chunks, done()])
    assert answer.usage is None
    assert answer.complete


@pytest.mark.parametrize("second", ['{"prompt_tokens":1,"completion_tokens":1}', "null", "[]"])
def test_event_with_two_usages_is_not_trusted(second: str) -> None:
    """An event that has the key `usage` twice, with different values, has no usage that can be trusted."""
    first = json.dumps(USAGE)
    for one, other in ((first, second), (second, first)):
        data = b'data: {"choices":[],"usage":%b,"usage":%b}\n\n' % (one.encode(), other.encode())
        *_, answer = run_meter([event(chunk()), data, done()])
        assert answer.usage is None


def test_last_usage_counts_even_if_it_is_invalid() -> None:
    """An invalid usage after a valid one makes the usage unknown."""
    *_, answer = run_meter([event(chunk(usage=USAGE)), event(chunk(usage=counts(prompt_tokens=-1))), done()])
    assert answer.usage is None


def test_null_usage_is_ignored() -> None:
    """Chunks with `usage: null` before or after the usage have no effect."""
    *_, answer = run_meter([event(chunk()), event(LAST), event(chunk()), b'data: {"usage" : null}\n\n', done()])
    assert answer.usage == COUNTED


def test_null_usage_in_another_member_is_ignored() -> None:
    """An event with a usage is read even if it has `usage: null` in another member."""
    chunks = [event(chunk()), event(chunk(choices=[], usage=USAGE, meta={"usage": None})), done()]
    passed, held, answer = run_meter(chunks, hide_usage=True)
    assert answer.usage == COUNTED
    assert passed + held == unasked(chunks[0]) + chunks[2]


def test_usage_in_a_message_is_not_read() -> None:
    """A message that contains the text of a usage is not read as one."""
    message = json.dumps({"usage": USAGE, "choices": []})
    passed, held, answer = run_meter(
        [event(chunk()), event(chunk(message)), event(chunk("[DONE]")), done()], hide_usage=True
    )
    assert answer.usage is None
    assert passed + held == unasked(event(chunk()) + event(chunk(message)) + event(chunk("[DONE]")) + done())


def test_stream_without_usage_is_complete() -> None:
    """A stream without usage is complete, and its usage is unknown."""
    *_, answer = run_meter([event(chunk()), done()])
    assert (answer.usage, answer.complete, answer.model) == (None, True, "gpt-6-sol-2026-09-15")


def test_stream_without_done_is_not_complete() -> None:
    """A stream that ends without `[DONE]` is not complete and keeps its usage, and no `[DONE]` is added."""
    passed, held, answer = run_meter([event(chunk()) + event(LAST)])
    assert (answer.usage, answer.complete) == (COUNTED, False)
    assert passed + held == event(chunk()) + event(LAST)


@pytest.mark.parametrize("usage", [None, USAGE])
def test_error_event_fails_the_answer(usage: dict[str, Any] | None) -> None:
    """An error event is passed and makes the answer failed, with or without a usage."""
    failing = event({"error": {"message": "The server had an error", "type": "server_error"}, "usage": usage})
    passed, _, answer = run_meter([event(chunk()), failing])
    assert (answer.failed, answer.usage) == (True, COUNTED if usage else None)
    assert passed.endswith(failing)


def test_error_and_model_stay_known() -> None:
    """Error, model and id stay known when the usage comes in an event without them."""
    failing, usage = event({"error": {"message": "overloaded"}}), event({"choices": [], "usage": USAGE})
    *_, answer = run_meter([event(chunk()), failing, usage, done()])
    assert answer == Answer(
        usage=COUNTED, model="gpt-6-sol-2026-09-15", id="chatcmpl-1", failed=True, began=True, complete=True
    )


@pytest.mark.parametrize(
    "first", [b": ping\n\n", b"event: ping\ndata: {}\n\n", event({"error": None, "model": "", "id": ""})]
)
def test_model_is_read_from_a_later_event(first: bytes) -> None:
    """Comments, pings and an empty first chunk do not prevent that the model is read."""
    *_, answer = run_meter([first, event(chunk()), event(LAST), done()])
    assert (answer.model, answer.failed) == ("gpt-6-sol-2026-09-15", False)


# Passing.


def sample(end: bytes, *, bom: bytes = b"") -> tuple[bytes, bytes, bytes]:
    """Returns a stream in three parts: all before the usage event, that event, and the end."""
    many_lines = end.join(
        [b"event: message", *(b"data:" + line for line in json.dumps(chunk(), indent=1).encode().split(b"\n"))]
    )
    before = bom + b": hello" + end + end + event(chunk('é 模 \r\n "usage"'), end) + many_lines + end + end
    return before, event(LAST, end), done(end)


@pytest.mark.parametrize("hide_usage", [False, True])
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["", "BOM"])
def test_stream_may_be_split_at_any_byte(bom: bytes, end: bytes, hide_usage: bool) -> None:
    """A stream split at any byte gives the same bytes, usage and held end."""
    before, usage, tail = sample(end, bom=bom)
    stream = before + usage + tail
    expected = (unasked(before) if hide_usage else before + usage, tail, run_meter([stream])[2])
    assert expected[2].usage == COUNTED
    assert [
        at for at in range(len(stream) + 1) if run_meter([stream[:at], stream[at:]], hide_usage=hide_usage) != expected
    ] == []


@given(st.lists(st.integers(0, 1500), max_size=30), st.booleans(), st.sampled_from([b"\n", b"\r", b"\r\n"]))
def test_stream_may_be_split_into_any_chunks(at: list[int], hide_usage: bool, end: bytes) -> None:
    """However a stream is split, all of it passes except the hidden usage event."""
    before, usage, tail = sample(end)
    stream = before + usage + tail
    bounds = [0, *sorted(min(offset, len(stream)) for offset in at), len(stream)]
    chunks = [stream[start:stop] for start, stop in itertools.pairwise(bounds)]
    passed, held, answer = run_meter(chunks, hide_usage=hide_usage)
    assert passed + held == (unasked(before) + tail if hide_usage else stream)
    assert (answer.usage, answer.complete) == (COUNTED, True)


@pytest.mark.parametrize("usage", [counts(prompt_tokens=-1), counts(prompt_tokens="5"), {}, "5", 0])
def test_invalid_usage_event_is_hidden(usage: object) -> None:
    """The extra event is hidden by its form, even if its usage is invalid."""
    chunks = [event(chunk()), event(chunk(choices=[], usage=usage)), done()]
    passed, held, _ = run_meter(chunks, hide_usage=True)
    assert passed + held == unasked(chunks[0]) + chunks[2]


@pytest.mark.parametrize(
    "data", [chunk(choices=[], usage=USAGE), chunk(choices=None, usage=USAGE), {"id": "chatcmpl-1", "usage": USAGE}]
)
def test_extra_event_is_hidden(data: dict[str, Any]) -> None:
    """The extra event is hidden where its choices are empty, null or missing."""
    passed, held, answer = run_meter([event(chunk()), event(data), done()], hide_usage=True)
    assert (passed + held, answer.usage) == (unasked(event(chunk())) + done(), COUNTED)


@pytest.mark.parametrize(
    "data", [chunk(usage=USAGE), chunk(choices=[]), {"choices": []}, {"error": {"code": "x"}, "usage": USAGE}]
)
def test_only_the_extra_event_is_hidden(data: dict[str, Any]) -> None:
    """An event with both choices and usage, or with neither, is passed, and so is an error."""
    chunks = [event(chunk()), event(data), done()]
    passed, held, _ = run_meter(chunks, hide_usage=True)
    assert passed + held == unasked(b"".join(chunks))


NULL = b',"usage":null'


@pytest.mark.parametrize(
    "text",
    [
        b'data: {"choices":[{"delta":{"content":"a"}}]%b}\n\n',
        b'data:{"choices":[{"delta":{}}]%b,"obfuscation":"aXb-9 .","created":1.5e3,"ok":true,"x":null}\n\n',
        b'event: message\r\ndata: {"choices":[{"delta":{}}]%b}\r\n\r\n',
    ],
)
def test_null_usage_of_our_question_is_removed(text: bytes) -> None:
    """A client that did not ask for the usage does not get `usage: null` in each event; one that did gets it."""
    for null in (NULL, b', "usage": null'):
        check_removal(text, null)


def check_removal(text: bytes, null: bytes) -> None:
    """Checks a stream of three events in one chunk, in small ones, and with two that come at once after the first."""
    one, stream = text % null, 3 * (text % null)
    for chunks in ([stream], [stream[at : at + 7] for at in range(0, len(stream), 7)], [one, 2 * one]):
        assert run_meter([*chunks, done()], hide_usage=True)[0] == 3 * (text % b"")
        assert run_meter([*chunks, done()])[0] == stream


@pytest.mark.parametrize(
    "text",
    [
        b'data: {"choices":[{"delta":{}%b}]}\n\n',  # of another object
        b'data: {"choices":[]%b,"more":{"usage":1}}\n\n',  # not the last of its object that is not flat
        b'data: {"choices":[{"delta":{"content":",\\"usage\\":null}"}}]}\n\n',
        b': {"choices":[]%b}\n\n',
        b'data: "a"%b}\n\n',
    ],
)
def test_null_usage_that_is_not_surely_the_answers_stays(text: bytes) -> None:
    """`usage: null` in another object, in a text or where it is not clear is left where it is."""
    first, rest = event({"choices": [1]}), 2 * text.replace(b"%b", NULL)
    for chunks in ([first + rest], [first, rest]):
        assert b"".join(run_meter(chunks, hide_usage=True)[:2]) == first + rest


@pytest.mark.parametrize(
    "choices", [b"[1e999]", b"[" + b"9" * 5000 + b"]", b'["\xff"]', b"[[]]", b'"[]"', b"[" * 500 + b"]" * 500]
)
def test_event_with_any_choices_is_passed(choices: bytes) -> None:
    """An event is hidden only if its choices are an empty list, and no value of them raises an error."""
    chunks = [event(chunk()), b'data: {"choices":%s,"usage":%s}\n\n' % (choices, text(USAGE)), done()]
    passed, held, answer = run_meter(chunks, hide_usage=True)
    assert passed + held == unasked(b"".join(chunks))
    assert answer.usage == COUNTED


def test_end_is_held_until_it_is_taken() -> None:
    """From `[DONE]` on all is held until it is taken, and taken only once."""
    meter = StreamMeter(hide_usage=False)
    assert meter.feed(event(chunk()) + done() + event(chunk("more"))) == event(chunk())
    assert meter.complete
    assert meter.take_held() == done() + event(chunk("more"))
    assert (meter.feed(b": late\n\n"), meter.take_held(), meter.take_held()) == (b"", b": late\n\n", b"")


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\r"])
@pytest.mark.parametrize("hide_usage", [False, True])
def test_last_event_may_lack_its_blank_line(end: bytes, hide_usage: bool) -> None:
    """At a clean end, an event without its blank line is read: `[DONE]` is held, and a usage is read and hidden."""
    assert run_meter([event(chunk()), done()[:-2] + end], hide_usage=hide_usage)[1:] == (
        done()[:-2] + end,
        Answer(usage=None, model="gpt-6-sol-2026-09-15", id="chatcmpl-1", complete=True),
    )
    _, held, answer = run_meter([event(chunk()), event(LAST)[:-2] + end], hide_usage=hide_usage)
    assert (held, answer.usage) == (b"" if hide_usage else event(LAST)[:-2] + end, COUNTED)


@pytest.mark.parametrize("at", [1, 8, 40, len(event(LAST)) - 1])
def test_truncated_usage_event_is_hidden(at: int) -> None:
    """If a stream breaks off within the extra event, no part of it is passed, and its usage is unknown."""
    passed, held, answer = run_meter([event(chunk()), event(LAST)[:at]], hide_usage=True, clean=False)
    assert (passed, held) == (unasked(event(chunk())), b"")
    assert answer.usage is None


def test_truncated_message_is_passed() -> None:
    """If a stream breaks off within a message, the part that has arrived is passed."""
    part = event(chunk("a message"))[:-5]
    assert run_meter([event(chunk()), part], hide_usage=True, clean=False)[:2] == (unasked(event(chunk())), part)
    assert run_meter([event(chunk()), part[:9]], hide_usage=False, clean=False)[:2] == (event(chunk()), part[:9])


# Bounds.


def huge() -> bytes:
    return b"data: " + b"x" * MAX_EVENT


def test_oversized_event_is_not_held() -> None:
    """An event over the limit is passed as it arrives, so that it takes no memory."""
    meter = StreamMeter(hide_usage=True)
    assert len(meter.feed(huge())) >= MAX_EVENT
    assert len(meter.feed(b"x" * 1000)) >= 1000


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n"], ids=repr)
def test_usage_after_an_oversized_event_is_read(end: bytes) -> None:
    """The usage after an event over the limit is read and hidden, wherever their blank line is split."""
    expected = (huge() + end + done(), COUNTED)
    for at in range(len(end) + 1):
        chunks = [huge() + end[:at], end[at:] + event(LAST) + done()]
        passed, held, answer = run_meter(chunks, hide_usage=True)
        assert (passed + held == expected[0], answer.usage) == (True, expected[1])


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("hide_usage", [False, True])
def test_oversized_event_without_an_end_is_passed(hide_usage: bool, clean: bool) -> None:
    """An event over the limit that does not end is passed to its last byte."""
    passed, held, _ = run_meter([huge(), b"the end\r\n"], hide_usage=hide_usage, clean=clean)
    assert passed + held == huge() + b"the end\r\n"


def test_oversized_event_after_done_is_held() -> None:
    """What follows `[DONE]` is held with it, whatever its size."""
    meter = StreamMeter(hide_usage=False)
    assert meter.feed(event(chunk()) + done() + huge()) == event(chunk())
    meter.end(clean=True)
    assert meter.take_held() == done() + huge()


# Any bytes.

FRAGMENTS = [
    b"data: ",
    b"\n",
    b"\r\n\r\n",
    b"\r",
    b": c",
    b"[DONE]",
    b'{"choices":',
    b"[]",
    b"[1e999]",
    b'"usage":',
    b',"error":',
    b',"usage":null',
    b'"id":"\xff"',
    b"}",
    b"1",
    b"null",
    text(USAGE),
    event(chunk()),
    event(LAST),
    done(),
]


@settings(max_examples=200)
@given(st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3), max_size=20), st.booleans())
def test_any_bytes_pass_in_order(chunks: list[bytes], clean: bool) -> None:
    """Any bytes in any chunks pass in their order, and raise no error."""
    passed, held, _ = run_meter(chunks, clean=clean)
    assert passed + held == b"".join(chunks)


ODD = [b"null", b"[]", b"[ ]", b"[{}]", b'"\xff"', b"1e999", b"9" * 400, b"{}", text(USAGE), b"-1", b"true"]
ODD_EVENT = b'data: {"choices":%s,"usage":%s,"id":%s,"model":%s,"error":%s}\n\n'


@settings(max_examples=200)
@given(st.lists(st.tuples(*[st.sampled_from(ODD)] * 5), max_size=4))
def test_any_event_passes_unless_it_is_the_extra_one(events: list[tuple[bytes, ...]]) -> None:
    """Events with any values pass, except those with a usage and without choices or an error."""
    passed, held, _ = run_meter([ODD_EVENT % fields for fields in events], hide_usage=True)
    visible = [
        fields
        for fields in events
        if fields[0] not in (b"[]", b"[ ]", b"null") or fields[1] == b"null" or fields[4] != b"null"
    ]
    assert unasked(passed + held) == unasked(b"".join([ODD_EVENT % fields for fields in visible]))
