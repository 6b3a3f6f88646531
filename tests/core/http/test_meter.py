"""Usage: OpenAI's own numbers or none, and a stream that passes byte for byte while it is read."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.http.endpoints import CHAT
from chatgpt_agent.core.http.meter import StreamMeter, read_answer
from chatgpt_agent.core.names import MAX_NAME
from chatgpt_agent.core.usage import MAX_COUNT, Answer, Usage

MAX_EVENT = CHAT.max_event

USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
COUNTED = Usage(input=19, output=10, cached=4, reasoning=3)


def text(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def event(value: object, end: bytes = b"\n") -> bytes:
    return b"data: " + text(value) + end + end


def chunk(content: str = "Hi", **more: Any) -> dict[str, Any]:
    """A chunk of a stream as OpenAI sends it."""
    delta = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    return {"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "choices": [delta], "usage": None, **more}


def done(end: bytes = b"\n") -> bytes:
    return b"data: [DONE]" + end + end


LAST = chunk(choices=[], usage=USAGE)  # what we ask OpenAI for


def with_usage(usage: object) -> bytes:
    return text({"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "choices": [], "usage": usage})


def counts(**changes: Any) -> dict[str, Any]:
    return {"prompt_tokens": 5, "completion_tokens": 7, **changes}


def passed(pieces: list[bytes], *, hide: bool = False, clean: bool = True) -> tuple[bytes, bytes, Answer]:
    """What a meter lets go on at once, what it keeps back, and what it has read."""
    meter = StreamMeter(hide_usage=hide)
    passed_on = b"".join([meter.feed(piece) for piece in pieces])
    meter.end(clean=clean)
    return passed_on, meter.take_held(), meter.answer()


# Whole answers.


def read(body: bytes) -> Answer:
    return run_to_end(read_answer([body]))


def test_whole_answer_is_read() -> None:
    """Model, id and the four counts come out of a whole answer."""
    body = with_usage(USAGE)
    assert read(body) == Answer(usage=COUNTED, model="gpt-4o-2024-08-06", id="chatcmpl-1", complete=True)


COUNTS_OF_NO_USE = ["5", "", 5.0, 5.5, 1e2, -1, 10**30, MAX_COUNT + 1, True, False, None, [], [5], {}, "null"]


@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
@pytest.mark.parametrize("count", COUNTS_OF_NO_USE)
def test_count_that_is_no_count_is_not_trusted(name: str, count: object) -> None:
    """A count that is not an integer from 0 to the limit makes the usage unknown, and is not repaired."""
    assert read(with_usage(counts(**{name: count}))).usage is None


@pytest.mark.parametrize("count", [count for count in COUNTS_OF_NO_USE if count is not None])
def test_detail_that_is_no_count_is_not_trusted(count: object) -> None:
    """Details that are not counts make the whole usage unknown."""
    cached = counts(prompt_tokens_details={"cached_tokens": count})
    reasoning = counts(completion_tokens_details={"reasoning_tokens": count})
    assert read(with_usage(cached)).usage is None
    assert read(with_usage(reasoning)).usage is None


@pytest.mark.parametrize(
    "usage", [None, "5", 5, 5.5, True, [], [5, 7], {}, {"prompt_tokens": 5}, {"completion_tokens": 7}]
)
def test_usage_of_another_shape_is_unknown(usage: object) -> None:
    """A usage that is missing, half there or of another type is unknown; the rest of the answer is still read."""
    answer = read(with_usage(usage))
    assert (answer.usage, answer.model) == (None, "gpt-4o-2024-08-06")


@pytest.mark.parametrize("details", [None, {}, {"cached_tokens": None, "audio_tokens": None, "other": "x"}])
def test_missing_details_count_nothing(details: object) -> None:
    """Details may be left out: then no token was cached and none was for reasoning."""
    usage = counts(prompt_tokens_details=details, completion_tokens_details={})
    assert read(with_usage(usage)).usage == Usage(input=5, output=7)


def test_explicit_zero_is_kept() -> None:
    """Zero tokens are a count like any other, and not a missing one."""
    assert read(with_usage(counts(prompt_tokens=0, completion_tokens=0))).usage == Usage(input=0, output=0)


@pytest.mark.parametrize(
    "details",
    [{"prompt_tokens_details": {"cached_tokens": 6}}, {"completion_tokens_details": {"reasoning_tokens": 8}}],
)
def test_part_over_its_whole_is_not_trusted(details: dict[str, Any]) -> None:
    """More cached tokens than input, or more reasoning than output, contradict the count: it is unknown."""
    assert read(with_usage(counts(**details))).usage is None


@settings(deadline=None)
@given(*[st.integers(0, MAX_COUNT)] * 4)
def test_sane_counts_are_taken_as_they_are(inputs: int, output: int, cached: int, reasoning: int) -> None:
    """Counts within the limit that do not contradict each other are the usage, unchanged."""
    details = {"cached_tokens": min(cached, inputs)}, {"reasoning_tokens": min(reasoning, output)}
    usage = counts(prompt_tokens=inputs, completion_tokens=output)
    usage |= {"prompt_tokens_details": details[0], "completion_tokens_details": details[1]}
    assert read(with_usage(usage)).usage == Usage(
        input=inputs, output=output, cached=min(cached, inputs), reasoning=min(reasoning, output)
    )


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"<html>", b'{"usage":', b'{"id":NaN}', b"\xef\xbb\xbf{}", b'{"a":' + b"[" * 100_000]
)
def test_body_that_is_no_answer_says_nothing(body: bytes) -> None:
    """A body that is not a JSON object has no model, no id and no usage, and raises nothing."""
    assert read(body) == Answer()


@pytest.mark.parametrize(
    "name",
    [
        b"null",
        b"12",
        b"1e999",
        b"[]",
        b"{}",
        b'""',
        b'"%s"' % (b"x" * (MAX_NAME + 1)),
        b'"a\\u0000"',
        b'"a\\n"',
        b'"\xff"',
    ],
)
def test_name_that_no_row_could_hold_is_dropped(name: bytes) -> None:
    """A model or id that is not a printable string within the limit is left out, and the usage is still read."""
    body = b'{"id":%s,"model":%s,"usage":%s}' % (name, name, text(USAGE))
    assert read(body) == Answer(usage=COUNTED, complete=True)


# Streams: what is read.


def test_stream_is_read_like_a_whole_answer() -> None:
    """Model, id, usage and the end come out of a stream."""
    *_, answer = passed([event(chunk()) + event(chunk("!")) + event(LAST) + done()])
    assert answer == Answer(usage=COUNTED, model="gpt-4o-2024-08-06", id="chatcmpl-1", complete=True)


@pytest.mark.parametrize("later", [counts(), counts(prompt_tokens=0, completion_tokens=0)])
def test_last_usage_wins(later: dict[str, int]) -> None:
    """Where usage comes more than once, the last one counts, and nothing is summed."""
    pieces = [event(chunk(usage=USAGE)), event(chunk(usage=counts(prompt_tokens=9))), event(chunk(usage=later)), done()]
    *_, answer = passed(pieces)
    assert answer.usage == Usage(input=later["prompt_tokens"], output=later["completion_tokens"])


def test_last_usage_wins_even_if_it_is_not_to_be_trusted() -> None:
    """A broken usage after a good one leaves the usage unknown: nobody knows which of them holds."""
    *_, answer = passed([event(chunk(usage=USAGE)), event(chunk(usage=counts(prompt_tokens=-1))), done()])
    assert answer.usage is None


def test_null_usage_takes_nothing_back() -> None:
    """Chunks with `usage: null` say nothing, before the usage or after it."""
    *_, answer = passed([event(chunk()), event(LAST), event(chunk()), b'data: {"usage" : null}\n\n', done()])
    assert answer.usage == COUNTED


def test_null_usage_elsewhere_hides_nothing() -> None:
    """An event with a usage is read even if `usage: null` stands in another place of it."""
    pieces = [event(chunk()), event(chunk(choices=[], usage=USAGE, meta={"usage": None})), done()]
    passed_on, held, answer = passed(pieces, hide=True)
    assert answer.usage == COUNTED
    assert passed_on + held == pieces[0] + pieces[2]


def test_usage_in_a_message_is_not_a_usage() -> None:
    """A message that talks about usage is not taken for one."""
    words = json.dumps({"usage": USAGE, "choices": []})
    passed_on, held, answer = passed([event(chunk()), event(chunk(words)), event(chunk("[DONE]")), done()], hide=True)
    assert answer.usage is None
    assert passed_on + held == event(chunk()) + event(chunk(words)) + event(chunk("[DONE]")) + done()


def test_stream_without_usage_has_none() -> None:
    """A stream that never tells its usage ends complete, and unknown."""
    *_, answer = passed([event(chunk()), done()])
    assert (answer.usage, answer.complete, answer.model) == (None, True, "gpt-4o-2024-08-06")


def test_stream_without_done_is_not_complete() -> None:
    """A stream that ends without `[DONE]` says so, keeps its usage, and none is made up."""
    passed_on, held, answer = passed([event(chunk()) + event(LAST)])
    assert (answer.usage, answer.complete) == (COUNTED, False)
    assert passed_on + held == event(chunk()) + event(LAST)


@pytest.mark.parametrize("usage", [None, USAGE])
def test_error_event_fails_the_answer(usage: dict[str, Any] | None) -> None:
    """An error in mid-stream is passed on and noted, whatever usage comes with it."""
    failing = event({"error": {"message": "The server had an error", "type": "server_error"}, "usage": usage})
    passed_on, _, answer = passed([event(chunk()), failing])
    assert (answer.failed, answer.usage) == (True, COUNTED if usage else None)
    assert passed_on.endswith(failing)


def test_later_events_take_nothing_back() -> None:
    """An error, the model and the id stay known when the usage comes in an event that says nothing of them."""
    failing, usage = event({"error": {"message": "overloaded"}}), event({"choices": [], "usage": USAGE})
    *_, answer = passed([event(chunk()), failing, usage, done()])
    assert answer == Answer(usage=COUNTED, model="gpt-4o-2024-08-06", id="chatcmpl-1", failed=True, complete=True)


@pytest.mark.parametrize(
    "first", [b": ping\n\n", b"event: ping\ndata: {}\n\n", event({"error": None, "model": "", "id": ""})]
)
def test_model_may_come_late(first: bytes) -> None:
    """Comments, pings and an empty first chunk do not hide the model that served."""
    *_, answer = passed([first, event(chunk()), event(LAST), done()])
    assert (answer.model, answer.failed) == ("gpt-4o-2024-08-06", False)


# Streams: what goes on.


def sample(end: bytes, *, bom: bytes = b"") -> tuple[bytes, bytes, bytes]:
    """A stream in three parts: what comes before the usage event, that event, and the end."""
    many_lines = end.join(
        [b"event: message", *(b"data:" + line for line in json.dumps(chunk(), indent=1).encode().split(b"\n"))]
    )
    before = bom + b": hello" + end + end + event(chunk('é 模 \r\n "usage"'), end) + many_lines + end + end
    return before, event(LAST, end), done(end)


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["", "BOM"])
def test_cut_anywhere_the_same_comes_out(bom: bytes, end: bytes, hide: bool) -> None:
    """For each of its bytes, a stream cut in two there gives the same bytes, the same usage and the same tail."""
    before, usage, tail = sample(end, bom=bom)
    stream = before + usage + tail
    expected = (before if hide else before + usage, tail, passed([stream])[2])
    assert expected[2].usage == COUNTED
    assert [at for at in range(len(stream) + 1) if passed([stream[:at], stream[at:]], hide=hide) != expected] == []


@settings(deadline=None)
@given(st.lists(st.integers(0, 1500), max_size=30), st.booleans(), st.sampled_from([b"\n", b"\r", b"\r\n"]))
def test_any_pieces_give_the_same(at: list[int], hide: bool, end: bytes) -> None:
    """In whatever pieces it comes, what goes on is the stream less exactly the hidden usage event."""
    before, usage, tail = sample(end)
    stream = before + usage + tail
    bounds = [0, *sorted(min(offset, len(stream)) for offset in at), len(stream)]
    pieces = [stream[start:stop] for start, stop in itertools.pairwise(bounds)]
    passed_on, held, answer = passed(pieces, hide=hide)
    assert passed_on + held == (before + tail if hide else stream)
    assert (answer.usage, answer.complete) == (COUNTED, True)


@pytest.mark.parametrize("usage", [counts(prompt_tokens=-1), counts(prompt_tokens="5"), {}, "5", 0])
def test_usage_event_is_hidden_even_if_it_is_broken(usage: object) -> None:
    """The extra event is hidden by its shape, whether its numbers are of use or not."""
    pieces = [event(chunk()), event(chunk(choices=[], usage=usage)), done()]
    passed_on, held, _ = passed(pieces, hide=True)
    assert passed_on + held == pieces[0] + pieces[2]


@pytest.mark.parametrize(
    "kept",
    [chunk(usage=USAGE), chunk(choices=[]), {"usage": USAGE}, chunk(choices=None, usage=USAGE), {"choices": []}],
)
def test_only_the_extra_event_is_hidden(kept: dict[str, Any]) -> None:
    """An event with choices and usage, or with neither, was not made for us and is passed on."""
    pieces = [event(chunk()), event(kept), done()]
    passed_on, held, _ = passed(pieces, hide=True)
    assert passed_on + held == b"".join(pieces)


@pytest.mark.parametrize(
    "choices", [b"[1e999]", b"[" + b"9" * 5000 + b"]", b'["\xff"]', b"[[]]", b'"[]"', b"[" * 500 + b"]" * 500]
)
def test_choices_of_any_kind_are_passed_on(choices: bytes) -> None:
    """An event is hidden only if its choices are an empty list; nothing in them breaks the meter."""
    pieces = [event(chunk()), b'data: {"choices":%s,"usage":%s}\n\n' % (choices, text(USAGE)), done()]
    passed_on, held, answer = passed(pieces, hide=True)
    assert passed_on + held == b"".join(pieces)
    assert answer.usage == COUNTED


def test_end_is_kept_back_until_it_is_taken() -> None:
    """From `[DONE]` on nothing goes out by itself, and what is taken does not come again."""
    meter = StreamMeter(hide_usage=False)
    assert meter.feed(event(chunk()) + done() + event(chunk("more"))) == event(chunk())
    assert meter.complete
    assert meter.take_held() == done() + event(chunk("more"))
    assert (meter.feed(b": late\n\n"), meter.take_held(), meter.take_held()) == (b"", b": late\n\n", b"")


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\r"])
@pytest.mark.parametrize("hide", [False, True])
def test_last_event_may_lack_its_blank_line(end: bytes, hide: bool) -> None:
    """A clean end ends the last event too: `[DONE]` is seen and kept back, a usage is counted and hidden."""
    assert passed([event(chunk()), done()[:-2] + end], hide=hide)[1:] == (
        done()[:-2] + end,
        Answer(usage=None, model="gpt-4o-2024-08-06", id="chatcmpl-1", complete=True),
    )
    _, held, answer = passed([event(chunk()), event(LAST)[:-2] + end], hide=hide)
    assert (held, answer.usage) == (b"" if hide else event(LAST)[:-2] + end, COUNTED)


@pytest.mark.parametrize("at", [1, 8, 40, len(event(LAST)) - 1])
def test_cut_off_usage_event_stays_hidden(at: int) -> None:
    """A stream that breaks off within the extra event shows no part of it, and its usage is unknown."""
    passed_on, held, answer = passed([event(chunk()), event(LAST)[:at]], hide=True, clean=False)
    assert (passed_on, held) == (event(chunk()), b"")
    assert answer.usage is None


def test_cut_off_message_is_passed_on() -> None:
    """A stream that breaks off within a message passes on the part that came."""
    part = event(chunk("a message"))[:-5]
    assert passed([event(chunk()), part], hide=True, clean=False)[:2] == (event(chunk()), part)
    assert passed([event(chunk()), part[:9]], hide=False, clean=False)[:2] == (event(chunk()), part[:9])


# Streams: bounds.


def huge() -> bytes:
    return b"data: " + b"x" * MAX_EVENT


def test_huge_event_passes_without_being_held() -> None:
    """An event over the limit goes on while it comes, so it takes no memory."""
    meter = StreamMeter(hide_usage=True)
    assert len(meter.feed(huge())) >= MAX_EVENT
    assert len(meter.feed(b"x" * 1000)) >= 1000


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n"], ids=repr)
def test_what_follows_a_huge_event_is_read(end: bytes) -> None:
    """The usage after an event over the limit is found and hidden, wherever the blank line between them is cut."""
    expected = (huge() + end + done(), COUNTED)
    for at in range(len(end) + 1):
        pieces = [huge() + end[:at], end[at:] + event(LAST) + done()]
        passed_on, held, answer = passed(pieces, hide=True)
        assert (passed_on + held == expected[0], answer.usage) == (True, expected[1])


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("hide", [False, True])
def test_huge_event_loses_nothing_at_the_end(hide: bool, clean: bool) -> None:
    """An event over the limit that never ends is passed on to its last byte."""
    passed_on, held, _ = passed([huge(), b"the end\r\n"], hide=hide, clean=clean)
    assert passed_on + held == huge() + b"the end\r\n"


def test_huge_event_after_done_keeps_its_place() -> None:
    """What follows `[DONE]` never overtakes it, whatever its size."""
    meter = StreamMeter(hide_usage=False)
    assert meter.feed(event(chunk()) + done() + huge()) == event(chunk())
    meter.end(clean=True)
    assert meter.take_held() == done() + huge()


# Whatever comes.

PIECES = [
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


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=20), st.booleans())
def test_no_stream_breaks_the_meter(pieces: list[bytes], clean: bool) -> None:
    """Any bytes in any pieces pass in their order, and raise nothing."""
    passed_on, held, _ = passed(pieces, clean=clean)
    assert passed_on + held == b"".join(pieces)


ODD = [b"null", b"[]", b"[ ]", b"[{}]", b'"\xff"', b"1e999", b"9" * 400, b"{}", text(USAGE), b"-1", b"true"]
ODD_EVENT = b'data: {"choices":%s,"usage":%s,"id":%s,"model":%s,"error":%s}\n\n'


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(*[st.sampled_from(ODD)] * 5), max_size=4))
def test_no_event_breaks_the_meter(events: list[tuple[bytes, ...]]) -> None:
    """Events with any values are passed on, except those without choices and with some usage."""
    passed_on, held, _ = passed([ODD_EVENT % fields for fields in events], hide=True)
    shown = [fields for fields in events if fields[0] not in (b"[]", b"[ ]") or fields[1] == b"null"]
    assert passed_on + held == b"".join([ODD_EVENT % fields for fields in shown])
