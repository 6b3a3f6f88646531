"""Usage in every format of OpenAI's answers: all kinds of tokens are read, and contradictions refused."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.usage import (
    CACHED_KIND,
    IMAGE_CACHE,
    MAX_COUNT,
    Usage,
    UsageFormat,
    read_image_tool,
    read_usage,
)

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
IMAGES_WITH_TEXT = {**IMAGES, "output_tokens_details": {"image_tokens": 450, "text_tokens": 50}}


def read(usage: object, usage_format: UsageFormat) -> Usage | None:
    return read_usage(msgspec.Raw(json.dumps(usage).encode()), usage_format)


@pytest.mark.parametrize(
    ("usage", "usage_format", "expected"),
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
                uncertain_reason=CACHED_KIND,
            ),
        ),
        (RESPONSE, UsageFormat.TOKENS, Usage(input=1000, output=500, cached=101, reasoning=17, cache_write=53)),
        (EMBEDDING, UsageFormat.EMBEDDING, Usage(input=1000, output=0)),
        (IMAGES, UsageFormat.IMAGES, Usage(input=1000, output=500, image_input=400, image_output=500)),
        (IMAGES_WITH_TEXT, UsageFormat.IMAGES, Usage(input=1000, output=500, image_input=400, image_output=450)),
        (TRANSCRIPTION, UsageFormat.TOKENS, Usage(input=1000, output=500, audio_input=900)),
    ],
)
def test_every_kind_of_token_is_read(usage: dict[str, Any], usage_format: UsageFormat, expected: Usage) -> None:
    """Every kind of token is read from the place that the format has for it."""
    assert read(usage, usage_format) == expected


@pytest.mark.parametrize(
    ("usage", "usage_format"),
    [
        (RESPONSE, UsageFormat.COMPLETION),
        (COMPLETION, UsageFormat.TOKENS),
        (TRANSCRIPTION, UsageFormat.EMBEDDING),
        (EMBEDDING, UsageFormat.COMPLETION),
    ],
)
def test_usage_in_another_format_is_unknown(usage: dict[str, Any], usage_format: UsageFormat) -> None:
    """A usage that is not in the endpoint's own format is unknown."""
    assert read(usage, usage_format) is None


@pytest.mark.parametrize("total", [1499, 1501, 0, "1500", -1, 1500.5])
@pytest.mark.parametrize(
    ("usage", "usage_format"),
    [(COMPLETION, UsageFormat.COMPLETION), (RESPONSE, UsageFormat.TOKENS), (IMAGES_WITH_TEXT, UsageFormat.IMAGES)],
)
def test_total_that_is_not_the_sum_makes_the_usage_unknown(
    usage: dict[str, Any], usage_format: UsageFormat, total: object
) -> None:
    """If the total is not the sum of input and output, the usage is unknown."""
    assert read({**usage, "total_tokens": total}, usage_format) is None


@pytest.mark.parametrize("reasoning", [17, 900])
@pytest.mark.parametrize("usage_format", [UsageFormat.COMPLETION, UsageFormat.TOKENS])
def test_reasoning_beside_the_output_is_added(usage_format: UsageFormat, reasoning: int) -> None:
    """If the total says that reasoning is not in the output (xAI, Gemini), it is added to it."""
    names = ("prompt", "completion") if usage_format is UsageFormat.COMPLETION else ("input", "output")
    details = {f"{names[1]}_tokens_details": {"reasoning_tokens": reasoning}}
    counts = {f"{names[0]}_tokens": 1000, f"{names[1]}_tokens": 500, "total_tokens": 1500 + reasoning}
    assert read(counts | details, usage_format) == Usage(input=1000, output=500 + reasoning, reasoning=reasoning)
    assert read({**counts, **details, "total_tokens": 1501 + reasoning}, usage_format) is None


@pytest.mark.parametrize(("output", "total"), [(500, 1900), (0, 1400)])
def test_reasoning_in_the_total_alone_is_output(output: int, total: int) -> None:
    """If no parts of the output are reported, what the total has beyond the sum is reasoning (Gemini)."""
    usage = {"prompt_tokens": 1000, "completion_tokens": output, "total_tokens": total}
    expected = Usage(input=1000, output=total - 1000, reasoning=total - 1000 - output)
    assert read(usage, UsageFormat.COMPLETION) == expected
    assert read({**usage, "completion_tokens_details": {}}, UsageFormat.COMPLETION) is None


def test_total_may_be_missing() -> None:
    """The total may be missing, as in answers of some servers with OpenAI's API."""
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
def test_parts_above_their_whole_make_the_usage_unknown(side: str, details: dict[str, int]) -> None:
    """No part may be larger than its whole, nor the sum of text, audio and image tokens."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, f"{side}_tokens_details": details}
    assert read(usage, UsageFormat.COMPLETION) is None


def test_cached_tokens_may_be_audio() -> None:
    """Cached tokens may be audio tokens, too, which is no contradiction: those beyond all of the text are, how many of
    the others is not known."""
    details = {"cached_tokens": 900, "audio_tokens": 900}
    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "prompt_tokens_details": details}
    assert read(usage, UsageFormat.COMPLETION) == Usage(
        input=1000, output=0, cached=900, cached_audio=800, audio_input=900, uncertain_reason=CACHED_KIND
    )


def test_cached_tokens_beyond_text_and_audio_are_images() -> None:
    """If 90 tokens are cached, and only 30 are text, then 60 are audio or images: audio first."""
    details = {"cached_tokens": 90, "audio_tokens": 40, "image_tokens": 30}
    usage = read(
        {"prompt_tokens": 100, "completion_tokens": 0, "prompt_tokens_details": details}, UsageFormat.COMPLETION
    )
    assert usage is not None
    assert (usage.cached_audio, usage.cached_image) == (40, 20)


def test_seconds_are_not_tokens() -> None:
    """A usage in seconds counts only where it may be: of a transcription."""
    assert read({"type": "duration", "seconds": 30}, UsageFormat.TOKENS) is None
    assert read({"type": "duration", "seconds": 30.25}, UsageFormat.TRANSCRIPTION) == Usage(
        input=0, output=0, seconds=Decimal("30.25")
    )


def test_seconds_have_the_digits_of_a_float() -> None:
    """Seconds count to their last digit."""
    raw = msgspec.Raw(b'{"type": "duration", "seconds": 8.470000267028809}')
    usage = read_usage(raw, UsageFormat.TRANSCRIPTION)
    assert usage is not None
    assert usage.seconds == Decimal("8.470000267028809")


@pytest.mark.parametrize("seconds", ["-1", "1e13", "1e-21", '"NaN"', "null", "true"])
def test_impossible_seconds_are_unknown(seconds: str) -> None:
    """Seconds that no recording has are not trusted."""
    raw = msgspec.Raw(f'{{"type": "duration", "seconds": {seconds}}}'.encode())
    assert read_usage(raw, UsageFormat.TRANSCRIPTION) is None


@pytest.mark.parametrize(
    ("writes", "long"), [((60, 40), 40), ((100, 0), 0), ((0, 100), 100), ((60, 41), None), ((60, 39), None)]
)
def test_cache_writes_have_two_lifetimes(writes: tuple[int, int], long: int | None) -> None:
    """The tokens written for 12 hours are counted apart; details that do not add up to their sum are not trusted."""
    details = {"ttl_30m_tokens": writes[0], "ttl_12h_tokens": writes[1]}
    inputs = {"cached_tokens": 0, "cache_write_tokens": 100, "cache_write_tokens_details": details}
    usage = read({"input_tokens": 500, "output_tokens": 1, "input_tokens_details": inputs}, UsageFormat.TOKENS)
    expected = Usage(input=500, output=1, cache_write=100, cache_write_12h=long or 0)
    assert usage == (None if long is None else expected)


def test_cached_images_are_counted_apart() -> None:
    """The image tool reports cached images and cached text."""
    kinds = {"cached_image_tokens": 30, "cached_text_tokens": 20}
    used = {
        "input_tokens": 100, "output_tokens": 10, "total_tokens": 110, "cached_tokens": 50,
        "cached_tokens_details": kinds, "input_tokens_details": {"image_tokens": 60, "text_tokens": 40},
    }  # fmt: skip
    assert read_image_tool(msgspec.Raw(msgspec.json.encode(used))) == Usage(
        input=100, output=10, cached=50, cached_image=30, image_input=60, image_output=10
    )
    del used["cached_tokens"]
    usage = read_image_tool(msgspec.Raw(msgspec.json.encode(used)))
    assert usage is not None
    assert usage.uncertain_reason == IMAGE_CACHE


@given(st.lists(st.integers(0, MAX_COUNT // 4), min_size=6, max_size=6))
def test_counts_are_not_changed(counts: list[int]) -> None:
    """Valid counts of every kind are read unchanged."""
    text, audio, image, text_output, image_output, audio_output = counts
    usage = {
        "prompt_tokens": text + audio + image,
        "completion_tokens": text_output + image_output + audio_output,
        "prompt_tokens_details": {"text_tokens": text, "audio_tokens": audio, "image_tokens": image},
        "completion_tokens_details": {"audio_tokens": audio_output, "image_tokens": image_output},
    }
    expected = Usage(
        input=text + audio + image,
        output=text_output + image_output + audio_output,
        audio_input=audio,
        image_input=image,
        audio_output=audio_output,
        image_output=image_output,
    )
    assert read(usage, UsageFormat.COMPLETION) == expected


@given(st.binary(max_size=40) | st.sampled_from([b"[]", b"null", b"1e999", b'{"input_tokens":', b"[" * 2000]))
def test_any_other_value_is_unknown(text: bytes) -> None:
    """Any bytes in the place of a usage are an unknown usage, and raise no error."""
    assert [read_usage(msgspec.Raw(text), usage_format) for usage_format in UsageFormat] == [None] * 5


@pytest.mark.parametrize("usage_format", UsageFormat)
@pytest.mark.parametrize("name", ["type", "seconds", "output_tokens_details", "completion_tokens_details"])
def test_text_that_is_not_utf_8_is_no_error(usage_format: UsageFormat, name: str) -> None:
    """A usage with such a text is read or unknown."""
    text = b'"\xdf"' if "details" not in name else b'{"accepted_prediction_tokens":"\xdf"}'
    raw = msgspec.Raw(b'{"%b":%b,"duration":1,"prompt_tokens":1,"completion_tokens":1}' % (name.encode(), text))
    assert read_usage(raw, usage_format) in (None, Usage(input=1, output=0), Usage(input=1, output=1))
    assert read_image_tool(raw) in (None, Usage(input=0, output=0))
