"""Answers of every endpoint are read for their usage, and the last event of their streams is held."""

import itertools
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.http.answer import read_answer
from chatgpt_agent.core.http.endpoints import (
    COMPACT,
    COMPLETIONS,
    EDITS,
    EMBEDDINGS,
    IMAGES,
    METERED,
    RESPONSES,
    TRANSCRIPTIONS,
    Endpoint,
)
from chatgpt_agent.core.http.meter import StreamMeter
from chatgpt_agent.core.usage import Answer
from tests.support.endpoints import SERVED, counts_for, response_events, stream, usage_of, whole

STREAMING = [COMPLETIONS, RESPONSES, IMAGES, EDITS, TRANSCRIPTIONS]
BESIDE_CHAT = [endpoint for endpoint in METERED if endpoint.path != "/v1/chat/completions"]


def path_of(endpoint: Endpoint) -> str:
    """Names a case."""
    return endpoint.path


def events_of(endpoint: Endpoint) -> list[bytes]:
    """Returns the events of a stream of this endpoint."""
    return stream(endpoint.path, usage_of(endpoint.path, counts_for(endpoint.path, 1)), {})


def run_meter(endpoint: Endpoint, chunks: list[bytes], *, clean: bool = True) -> tuple[bytes, bytes, Answer]:
    """Returns what a meter passes at once, what it holds, and what it has read."""
    meter = StreamMeter(endpoint, hide_usage=False)
    passed = b"".join([meter.feed(chunk) for chunk in chunks])
    meter.end(clean=clean)
    return passed, meter.take_held(), meter.answer()


def read(body: bytes, endpoint: Endpoint) -> Answer:
    return run_to_end(read_answer([body], endpoint))


@pytest.mark.parametrize("endpoint", BESIDE_CHAT, ids=path_of)
def test_whole_answer_is_read(endpoint: Endpoint) -> None:
    """Usage, model and tier are read from a whole answer that has them."""
    answer = read(whole(endpoint.path, usage_of(endpoint.path, counts_for(endpoint.path, 1)), {}), endpoint)
    assert answer.usage is not None
    assert (answer.usage.input, answer.model) == (1007, SERVED.get(endpoint.path))
    assert answer.service_tier == ("default" if endpoint in (RESPONSES, COMPACT) else None)


@pytest.mark.parametrize("endpoint", STREAMING, ids=path_of)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=repr)
def test_stream_may_be_split_at_any_byte(endpoint: Endpoint, end: bytes) -> None:
    """A stream split at any byte gives the same bytes, usage and held end."""
    text = b"".join(events_of(endpoint)).replace(b"\n", end)
    expected = run_meter(endpoint, [text])
    assert expected[2].usage is not None
    assert expected[2].complete
    assert expected[0] + expected[1] == text
    assert [at for at in range(len(text)) if run_meter(endpoint, [text[:at], text[at:]]) != expected] == []


@settings(max_examples=60)
@given(st.lists(st.integers(0, 4000), max_size=30), st.sampled_from(STREAMING))
def test_stream_may_be_split_into_any_chunks(at: list[int], endpoint: Endpoint) -> None:
    """A stream gives the same however it is split into chunks."""
    text = b"".join(events_of(endpoint))
    bounds = [0, *sorted(min(offset, len(text)) for offset in at), len(text)]
    chunks = [text[start:stop] for start, stop in itertools.pairwise(bounds)]
    assert run_meter(endpoint, chunks) == run_meter(endpoint, [text])


@pytest.mark.parametrize("endpoint", STREAMING, ids=path_of)
def test_event_with_the_usage_is_held(endpoint: Endpoint) -> None:
    """The event with the usage and all after it are held; for legacy completions it is `[DONE]`."""
    events = events_of(endpoint)
    held = 2 if endpoint is TRANSCRIPTIONS else 1
    assert run_meter(endpoint, events)[:2] == (b"".join(events[:-held]), b"".join(events[-held:]))


@pytest.mark.parametrize("endpoint", STREAMING, ids=path_of)
def test_truncated_stream_has_no_usage(endpoint: Endpoint) -> None:
    """The last event of a truncated stream is passed as far as it arrived, and not read."""
    text = b"".join(event for event in events_of(endpoint) if b"[DONE]" not in event)[:-30]
    passed, held, answer = run_meter(endpoint, [text], clean=False)
    assert (passed + held, answer.usage, answer.complete) == (text, None, False)


@pytest.mark.parametrize(
    ("end", "failed", "complete", "has_usage"),
    [
        ("completed", False, True, True),
        ("incomplete", False, True, True),
        ("failed", True, True, True),
        ("error", True, False, False),
        ("nothing", False, False, False),
    ],
)
def test_final_event_decides_the_outcome(end: str, failed: bool, complete: bool, has_usage: bool) -> None:
    """Each final event of a response decides whether the answer failed and is complete."""
    events = response_events(usage_of(RESPONSES.path, counts_for(RESPONSES.path, 1)), end)
    *_, answer = run_meter(RESPONSES, events)
    assert (answer.failed, answer.complete, answer.usage is not None) == (failed, complete, has_usage)
    assert (answer.id, answer.model) == ("resp_fake0001", SERVED[RESPONSES.path])


def test_last_service_tier_counts() -> None:
    """A response begins with the tier that was asked for and ends with the one that served."""
    events = response_events(usage_of(RESPONSES.path, counts_for(RESPONSES.path, 1)))
    assert run_meter(RESPONSES, events[:2])[2].service_tier == "auto"
    assert run_meter(RESPONSES, events)[2].service_tier == "default"


def test_done_ends_any_stream() -> None:
    """`[DONE]` ends a stream of every endpoint, also without a final event."""
    _, held, answer = run_meter(RESPONSES, [*response_events(None, "nothing"), b"data: [DONE]\n\n"])
    assert (held, answer.complete, answer.usage) == (b"data: [DONE]\n\n", True, None)


def test_text_that_looks_like_an_event_is_not_read() -> None:
    """The text of a message that looks like a final event is not read as one."""
    text = json.dumps({"type": "response.completed", "response": {"usage": {"input_tokens": 1, "output_tokens": 1}}})
    event = {"type": "response.output_text.delta", "delta": text}
    data = b"data: " + json.dumps(event).encode() + b"\n\n"
    assert run_meter(RESPONSES, [data]) == (data, b"", Answer())


@pytest.mark.parametrize("status", ["failed", "completed", "in_progress"])
def test_status_of_a_whole_response_is_read(status: str) -> None:
    """A whole response failed if its status is `failed`."""
    answer = read(json.dumps({"status": status, "usage": None}).encode(), RESPONSES)
    assert answer.failed == (status == "failed")


@pytest.mark.parametrize(
    "tools", [{"image_gen": {"total_tokens": 1}}, {"image_gen": {"total_tokens": "x"}}, {"image_gen": 5}, [], 5]
)
def test_contradictory_tokens_of_a_tool_make_the_usage_unknown(tools: object) -> None:
    """If the tokens of a tool contradict each other, the usage is unknown; a tool without tokens does not matter."""
    usage = usage_of(RESPONSES.path, counts_for(RESPONSES.path, 1))
    assert read(json.dumps({"usage": usage, "tool_usage": tools}).encode(), RESPONSES).usage is None
    unused = {"image_gen": {"total_tokens": 0, "input_tokens": 0}, "web_search": {"num_requests": 3}}
    for other in (None, {}, {"image_gen": None}, unused):
        assert read(json.dumps({"usage": usage, "tool_usage": other}).encode(), RESPONSES).usage is not None


def test_tokens_for_svg_make_the_usage_unknown() -> None:
    """If SVG used tokens of another model, the usage is unknown."""
    usage = usage_of(IMAGES.path, counts_for(IMAGES.path, 1))
    assert read(json.dumps({"usage": usage, "svg_usage": {"total_tokens": 5}}).encode(), IMAGES).usage is None


def test_large_image_is_read_quickly() -> None:
    """An image of 10 MB of base64 is read in less than 0.2 seconds, whole or in chunks of 64 KiB."""
    data = "iVBORw0K" * 1_250_000
    usage = usage_of(IMAGES.path, counts_for(IMAGES.path, 1))
    body = json.dumps({"data": [{"b64_json": data}], "usage": usage}).encode()
    event = {"type": "image_generation.completed", "b64_json": data, "usage": usage}
    text = b"data: " + json.dumps(event).encode() + b"\n\n"
    meter = StreamMeter(IMAGES, hide_usage=False)
    slowest = 0.0
    for at in range(0, len(text), 65536):
        started = time.process_time()
        assert meter.feed(text[at : at + 65536]) == b""
        slowest = max(slowest, time.process_time() - started)
    started = time.process_time()
    assert read(body, IMAGES).usage == meter.answer().usage is not None
    assert max(slowest, time.process_time() - started) < 0.2
    assert meter.take_held() == text


def test_embeddings_have_no_output() -> None:
    """All tokens of embeddings are input."""
    usage = read(b'{"data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":8,"total_tokens":8}}', EMBEDDINGS).usage
    assert usage is not None
    assert (usage.input, usage.output) == (8, 0)
