"""Streams of every endpoint: cut anywhere, they give the same usage, and their last event is kept back."""

import itertools
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.http.endpoints import (
    COMPLETIONS,
    EMBEDDINGS,
    ENDPOINTS,
    IMAGES,
    RESPONSES,
    TRANSCRIPTIONS,
    Endpoint,
)
from chatgpt_agent.core.http.meter import StreamMeter, read_answer
from chatgpt_agent.core.usage import Answer
from tests.support.endpoints import SERVED, counts_for, response_events, stream, usage_of, whole

STREAMED = [COMPLETIONS, RESPONSES, IMAGES, TRANSCRIPTIONS]
BESIDE_CHAT = [endpoint for endpoint in ENDPOINTS if endpoint.path != "/v1/chat/completions"]
IDS = {"ids": lambda one: one.path}


def events_of(endpoint: Endpoint) -> list[bytes]:
    """A stream of this endpoint."""
    return stream(endpoint.path, usage_of(endpoint.path, counts_for(endpoint.path, 1)), {})


def passed(endpoint: Endpoint, pieces: list[bytes], *, clean: bool = True) -> tuple[bytes, bytes, Answer]:
    """What a meter lets go on at once, what it keeps back, and what it has read."""
    meter = StreamMeter(endpoint, hide_usage=False)
    passed_on = b"".join([meter.feed(piece) for piece in pieces])
    meter.end(clean=clean)
    return passed_on, meter.take_held(), meter.answer()


def read(body: bytes, endpoint: Endpoint) -> Answer:
    return run_to_end(read_answer([body], endpoint))


@pytest.mark.parametrize("endpoint", BESIDE_CHAT, **IDS)  # type: ignore[arg-type]
def test_a_whole_answer_is_read(endpoint: Endpoint) -> None:
    """Usage, model and tier where the answer has them."""
    answer = read(whole(endpoint.path, usage_of(endpoint.path, counts_for(endpoint.path, 1)), {}), endpoint)
    assert answer.usage is not None
    assert (answer.usage.input, answer.model) == (1007, SERVED.get(endpoint.path))
    assert answer.service_tier == ("default" if endpoint is RESPONSES else None)


@pytest.mark.parametrize("endpoint", STREAMED, **IDS)  # type: ignore[arg-type]
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=repr)
def test_cut_anywhere_the_same_comes_out(endpoint: Endpoint, end: bytes) -> None:
    """For each of its bytes, a stream cut in two there gives the same bytes, usage and tail."""
    text = b"".join(events_of(endpoint)).replace(b"\n", end)
    expected = passed(endpoint, [text])
    assert expected[2].usage is not None
    assert expected[2].complete
    assert expected[0] + expected[1] == text
    assert [at for at in range(len(text)) if passed(endpoint, [text[:at], text[at:]]) != expected] == []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 4000), max_size=30), st.sampled_from(STREAMED))
def test_any_pieces_give_the_same(at: list[int], endpoint: Endpoint) -> None:
    """In whatever pieces it comes."""
    text = b"".join(events_of(endpoint))
    bounds = [0, *sorted(min(offset, len(text)) for offset in at), len(text)]
    pieces = [text[start:stop] for start, stop in itertools.pairwise(bounds)]
    assert passed(endpoint, pieces) == passed(endpoint, [text])


@pytest.mark.parametrize("endpoint", STREAMED, **IDS)  # type: ignore[arg-type]
def test_the_event_with_the_usage_is_kept_back(endpoint: Endpoint) -> None:
    """And what follows it; of legacy completions, as of chat, it is `[DONE]`."""
    events = events_of(endpoint)
    kept = 2 if endpoint is TRANSCRIPTIONS else 1
    assert passed(endpoint, events)[:2] == (b"".join(events[:-kept]), b"".join(events[-kept:]))


@pytest.mark.parametrize("endpoint", STREAMED, **IDS)  # type: ignore[arg-type]
def test_a_stream_that_breaks_off_has_no_usage(endpoint: Endpoint) -> None:
    """Its last event is passed on as far as it came."""
    text = b"".join(event for event in events_of(endpoint) if b"[DONE]" not in event)[:-30]
    passed_on, held, answer = passed(endpoint, [text], clean=False)
    assert (passed_on + held, answer.usage, answer.complete) == (text, None, False)


@pytest.mark.parametrize(
    ("end", "failed", "complete", "known"),
    [
        ("completed", False, True, True),
        ("incomplete", False, True, True),
        ("failed", True, True, True),
        ("error", True, False, False),
        ("nothing", False, False, False),
    ],
)
def test_how_a_response_ends(end: str, failed: bool, complete: bool, known: bool) -> None:
    """Each with what it says."""
    events = response_events(usage_of(RESPONSES.path, counts_for(RESPONSES.path, 1)), end)
    *_, answer = passed(RESPONSES, events)
    assert (answer.failed, answer.complete, answer.usage is not None) == (failed, complete, known)
    assert (answer.id, answer.model) == ("resp_fake0001", SERVED[RESPONSES.path])


def test_the_last_tier_wins() -> None:
    """A response begins with the tier that was asked for and ends with the one that served."""
    events = response_events(usage_of(RESPONSES.path, counts_for(RESPONSES.path, 1)))
    assert passed(RESPONSES, events[:2])[2].service_tier == "auto"
    assert passed(RESPONSES, events)[2].service_tier == "default"


def test_done_ends_any_stream() -> None:
    """Also where it comes alone."""
    _, held, answer = passed(RESPONSES, [*response_events(None, "nothing"), b"data: [DONE]\n\n"])
    assert (held, answer.complete, answer.usage) == (b"data: [DONE]\n\n", True, None)


def test_what_a_message_says_is_no_event() -> None:
    """Text that looks like the end of a stream is text."""
    text = json.dumps({"type": "response.completed", "response": {"usage": {"input_tokens": 1, "output_tokens": 1}}})
    event = {"type": "response.output_text.delta", "delta": text}
    data = b"data: " + json.dumps(event).encode() + b"\n\n"
    assert passed(RESPONSES, [data]) == (data, b"", Answer())


@pytest.mark.parametrize("kind", ["failed", "completed", "in_progress"])
def test_the_status_of_a_whole_response(kind: str) -> None:
    """Only `failed` is a failure."""
    answer = read(json.dumps({"status": kind, "usage": None}).encode(), RESPONSES)
    assert answer.failed == (kind == "failed")


@pytest.mark.parametrize(
    "tools", [{"image_gen": {"total_tokens": 1}}, {"image_gen": {"total_tokens": "x"}}, {"image_gen": 5}, [], 5]
)
def test_tokens_of_a_tool_make_the_usage_unknown(tools: object) -> None:
    """They are another model's, at another price."""
    usage = usage_of(RESPONSES.path, counts_for(RESPONSES.path, 1))
    assert read(json.dumps({"usage": usage, "tool_usage": tools}).encode(), RESPONSES).usage is None
    none = {"image_gen": {"total_tokens": 0, "input_tokens": 0}, "web_search": {"num_requests": 3}}
    for fine in (None, {}, {"image_gen": None}, none):
        assert read(json.dumps({"usage": usage, "tool_usage": fine}).encode(), RESPONSES).usage is not None


def test_tokens_of_an_author_of_svg_make_the_usage_unknown() -> None:
    """They are another model's, too."""
    usage = usage_of(IMAGES.path, counts_for(IMAGES.path, 1))
    assert read(json.dumps({"usage": usage, "svg_usage": {"total_tokens": 5}}).encode(), IMAGES).usage is None


def test_a_large_image_does_not_hold_up_the_loop() -> None:
    """10 MB of base64, whole and in pieces of 64 KiB."""
    data = "iVBORw0K" * 1_250_000
    usage = usage_of(IMAGES.path, counts_for(IMAGES.path, 1))
    body = json.dumps({"data": [{"b64_json": data}], "usage": usage}).encode()
    event = {"type": "image_generation.completed", "b64_json": data, "usage": usage}
    text = b"data: " + json.dumps(event).encode() + b"\n\n"
    meter = StreamMeter(IMAGES, hide_usage=False)
    slowest = 0.0
    for at in range(0, len(text), 65536):
        began = time.process_time()
        assert meter.feed(text[at : at + 65536]) == b""
        slowest = max(slowest, time.process_time() - began)
    began = time.process_time()
    assert read(body, IMAGES).usage == meter.answer().usage is not None
    assert max(slowest, time.process_time() - began) < 0.2
    assert meter.take_held() == text


def test_embeddings_have_no_output() -> None:
    """Their tokens are all input."""
    usage = read(b'{"data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":8,"total_tokens":8}}', EMBEDDINGS).usage
    assert usage is not None
    assert (usage.input, usage.output) == (8, 0)
