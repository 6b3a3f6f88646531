"""Usage in each shape that OpenAI's answers have: every kind of token, or nothing where the numbers contradict."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.usage import MAX_COUNT, Usage, UsageFormat, read_usage

COMPLETION = {
    "prompt_tokens": 1000,
    "completion_tokens": 500,
    "total_tokens": 1500,
    "prompt_tokens_details": {
        "cached_tokens": 101,
        "cache_write_tokens": 53,
        "audio_tokens": 211,
        "image_tokens": 307,
        "text_tokens": 482,
    },
    "completion_tokens_details": {"reasoning_tokens": 17, "audio_tokens": 203, "image_tokens": 5, "text_tokens": 292},
}
RESPONSE = {
    "input_tokens": 1000,
    "output_tokens": 500,
    "total_tokens": 1500,
    "input_tokens_details": {"cached_tokens": 101, "cache_write_tokens": 53},
    "output_tokens_details": {"reasoning_tokens": 17},
}
IMAGES = {
    "input_tokens": 1000,
    "output_tokens": 500,
    "total_tokens": 1500,
    "input_tokens_details": {"text_tokens": 600, "image_tokens": 400},
}
TRANSCRIPTION = {
    "type": "tokens",
    "input_tokens": 1000,
    "output_tokens": 500,
    "total_tokens": 1500,
    "input_token_details": {"text_tokens": 100, "audio_tokens": 900},
}
EMBEDDING = {"prompt_tokens": 1000, "total_tokens": 1000}
DRAWN = {**IMAGES, "output_tokens_details": {"image_tokens": 450, "text_tokens": 50}}


def read(usage: object, shape: UsageFormat) -> Usage | None:
    return read_usage(msgspec.Raw(json.dumps(usage).encode()), shape)


@pytest.mark.parametrize(
    ("usage", "shape", "expected"),
    [
        (
            COMPLETION,
            UsageFormat.COMPLETION,
            Usage(
                input=1000,
                output=500,
                cached=101,
                reasoning=17,
                cache_write=53,
                audio_input=211,
                image_input=307,
                audio_output=203,
                image_output=5,
            ),
        ),
        (RESPONSE, UsageFormat.TOKENS, Usage(input=1000, output=500, cached=101, reasoning=17, cache_write=53)),
        (EMBEDDING, UsageFormat.EMBEDDING, Usage(input=1000, output=0)),
        (IMAGES, UsageFormat.IMAGES, Usage(input=1000, output=500, image_input=400, image_output=500)),
        (DRAWN, UsageFormat.IMAGES, Usage(input=1000, output=500, image_input=400, image_output=450)),
        (TRANSCRIPTION, UsageFormat.TOKENS, Usage(input=1000, output=500, audio_input=900)),
    ],
)
def test_every_kind_of_token_is_read(usage: dict[str, Any], shape: UsageFormat, expected: Usage) -> None:
    """From where its endpoint's answers have it."""
    assert read(usage, shape) == expected


@pytest.mark.parametrize(
    ("usage", "shape"),
    [
        (RESPONSE, UsageFormat.COMPLETION),
        (COMPLETION, UsageFormat.TOKENS),
        (TRANSCRIPTION, UsageFormat.EMBEDDING),
        (EMBEDDING, UsageFormat.COMPLETION),
    ],
)
def test_another_shape_is_not_guessed_at(usage: dict[str, Any], shape: UsageFormat) -> None:
    """A usage that an endpoint's answers do not have is unknown."""
    assert read(usage, shape) is None


@pytest.mark.parametrize("total", [1499, 1501, 0, "1500", -1, 1500.5])
@pytest.mark.parametrize(
    ("usage", "shape"),
    [(COMPLETION, UsageFormat.COMPLETION), (RESPONSE, UsageFormat.TOKENS), (DRAWN, UsageFormat.IMAGES)],
)
def test_a_total_that_is_not_the_sum_is_not_trusted(usage: dict[str, Any], shape: UsageFormat, total: object) -> None:
    """There are tokens that we know nothing of, or the parts are wrong."""
    assert read({**usage, "total_tokens": total}, shape) is None


def test_a_total_may_be_left_out() -> None:
    """Some servers with OpenAI's API do."""
    assert read({"input_tokens": 3, "output_tokens": 4}, UsageFormat.TOKENS) == Usage(input=3, output=4)
    assert read({"prompt_tokens": 3, "total_tokens": None}, UsageFormat.EMBEDDING) == Usage(input=3, output=0)


@pytest.mark.parametrize(
    ("side", "details"),
    [
        ("prompt", {"cached_tokens": 1001}),
        ("prompt", {"cache_write_tokens": 1001}),
        ("prompt", {"audio_tokens": 1001}),
        ("prompt", {"image_tokens": 1001}),
        ("prompt", {"text_tokens": 1001}),
        ("prompt", {"audio_tokens": 600, "image_tokens": 401}),
        ("prompt", {"audio_tokens": 600, "text_tokens": 401}),
        ("completion", {"reasoning_tokens": 501}),
        ("completion", {"audio_tokens": 501}),
        ("completion", {"image_tokens": 300, "audio_tokens": 201}),
        ("completion", {"image_tokens": 300, "text_tokens": 201}),
    ],
)
def test_parts_over_their_whole_are_not_trusted(side: str, details: dict[str, int]) -> None:
    """No part is larger than its whole, nor are text, audio and image tokens together."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, f"{side}_tokens_details": details}
    assert read(usage, UsageFormat.COMPLETION) is None


def test_parts_may_overlap() -> None:
    """Cached tokens may be of sound: that is no contradiction."""
    details = {"cached_tokens": 900, "audio_tokens": 900}
    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "prompt_tokens_details": details}
    assert read(usage, UsageFormat.COMPLETION) == Usage(input=1000, output=0, cached=900, audio_input=900)


def test_seconds_are_no_tokens() -> None:
    """whisper-1 is charged by the minute."""
    assert read({"type": "duration", "seconds": 30}, UsageFormat.TOKENS) is None


@settings(deadline=None)
@given(st.lists(st.integers(0, MAX_COUNT // 4), min_size=6, max_size=6))
def test_no_count_is_changed(counts: list[int]) -> None:
    """Sound counts of every kind come out as they went in."""
    text, audio, image, made, drawn, spoken = counts
    usage = {
        "prompt_tokens": text + audio + image,
        "completion_tokens": made + drawn + spoken,
        "prompt_tokens_details": {"text_tokens": text, "audio_tokens": audio, "image_tokens": image},
        "completion_tokens_details": {"audio_tokens": spoken, "image_tokens": drawn},
    }
    expected = Usage(
        input=text + audio + image,
        output=made + drawn + spoken,
        cached=0,
        reasoning=0,
        cache_write=0,
        audio_input=audio,
        image_input=image,
        audio_output=spoken,
        image_output=drawn,
    )
    assert read(usage, UsageFormat.COMPLETION) == expected


@given(st.binary(max_size=40) | st.sampled_from([b"[]", b"null", b"1e999", b'{"input_tokens":', b"[" * 2000]))
def test_nothing_breaks_it(text: bytes) -> None:
    """Whatever stands where a usage should be is no usage."""
    assert [read_usage(msgspec.Raw(text), shape) for shape in UsageFormat] == [None] * 4
