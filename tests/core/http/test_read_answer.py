"""Whole answers to chat requests are read for model, id and usage."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt_agent.core.cooperative import SLICE, run_to_end
from chatgpt_agent.core.http.answer import read_answer
from chatgpt_agent.core.names import MAX_NAME
from chatgpt_agent.core.usage import MAX_COUNT, Answer, Usage
from tests.support.chat_answers import COUNTED, USAGE, counts, text


def with_usage(usage: object) -> bytes:
    return text({"id": "chatcmpl-1", "model": "gpt-6-sol-2026-09-15", "choices": [], "usage": usage})


def read(body: bytes) -> Answer:
    return run_to_end(read_answer([body]))


def test_whole_answer_is_read() -> None:
    """Model, id and counts are read from a whole answer."""
    body = with_usage(USAGE)
    assert read(body) == Answer(usage=COUNTED, model="gpt-6-sol-2026-09-15", id="chatcmpl-1", complete=True)


INVALID_COUNTS = ["5", "", 5.0, 5.5, 1e2, -1, 10**30, MAX_COUNT + 1, True, False, None, [], [5], {}, "null"]


@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
@pytest.mark.parametrize("count", INVALID_COUNTS)
def test_invalid_count_makes_the_usage_unknown(name: str, count: object) -> None:
    """A count that is not an integer from 0 to the limit makes the usage unknown, and is not corrected."""
    assert read(with_usage(counts(**{name: count}))).usage is None


@pytest.mark.parametrize("count", [count for count in INVALID_COUNTS if count is not None])
def test_invalid_detail_makes_the_usage_unknown(count: object) -> None:
    """Details that are not counts make the whole usage unknown."""
    cached = counts(prompt_tokens_details={"cached_tokens": count})
    reasoning = counts(completion_tokens_details={"reasoning_tokens": count})
    assert read(with_usage(cached)).usage is None
    assert read(with_usage(reasoning)).usage is None


@pytest.mark.parametrize(
    "usage", [None, "5", 5, 5.5, True, [], [5, 7], {}, {"prompt_tokens": 5}, {"completion_tokens": 7}]
)
def test_invalid_usage_is_unknown(usage: object) -> None:
    """A usage that is missing, incomplete or of another type is unknown; the rest of the answer is still read."""
    answer = read(with_usage(usage))
    assert (answer.usage, answer.model) == (None, "gpt-6-sol-2026-09-15")


@pytest.mark.parametrize("details", [None, {}, {"cached_tokens": None, "audio_tokens": None, "other": "x"}])
def test_missing_details_are_zero(details: object) -> None:
    """Without details, no token was cached and none was for reasoning."""
    usage = counts(prompt_tokens_details=details, completion_tokens_details={})
    assert read(with_usage(usage)).usage == Usage(input=5, output=7)


def test_zero_is_a_count() -> None:
    """A usage of zero tokens is known, unlike a missing one."""
    assert read(with_usage(counts(prompt_tokens=0, completion_tokens=0))).usage == Usage(input=0, output=0)


@pytest.mark.parametrize(
    "details",
    [{"prompt_tokens_details": {"cached_tokens": 6}}, {"completion_tokens_details": {"reasoning_tokens": 8}}],
)
def test_part_above_its_whole_makes_the_usage_unknown(details: dict[str, Any]) -> None:
    """More cached tokens than input, or more reasoning than output, make the usage unknown."""
    assert read(with_usage(counts(**details))).usage is None


@given(*[st.integers(0, MAX_COUNT)] * 4)
def test_valid_counts_are_not_changed(inputs: int, output: int, cached: int, reasoning: int) -> None:
    """Counts within the limit that do not contradict each other are the usage."""
    details = {"cached_tokens": min(cached, inputs)}, {"reasoning_tokens": min(reasoning, output)}
    usage = counts(prompt_tokens=inputs, completion_tokens=output)
    usage |= {"prompt_tokens_details": details[0], "completion_tokens_details": details[1]}
    assert read(with_usage(usage)).usage == Usage(
        input=inputs, output=output, cached=min(cached, inputs), reasoning=min(reasoning, output)
    )


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"<html>", b'{"usage":', b'{"id":NaN}', b"\xef\xbb\xbf{}", b'{"a":' + b"[" * 100_000]
)
def test_body_that_is_not_an_answer_is_empty(body: bytes) -> None:
    """A body that is not a JSON object has no model, id or usage, and raises no error."""
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
def test_invalid_name_is_left_out(name: bytes) -> None:
    """A model or id that is not a printable string within the limit is left out, and the usage is still read."""
    body = b'{"id":%s,"model":%s,"usage":%s}' % (name, name, text(USAGE))
    assert read(body) == Answer(usage=COUNTED, complete=True)


def test_two_usages_that_disagree_are_not_trusted() -> None:
    """An answer that has the key `usage` twice has no usage if the values differ, whatever its size."""
    for content in (b"", b"x" * 3 * SLICE, b'\\"usage\\": 1'):
        body = b'{"model":"m","a":"%b","usage":%b,"usage":{"prompt_tokens":9,"completion_tokens":%b}}'
        usage = b'{"prompt_tokens":9,"completion_tokens":12}'
        assert read(body % (content, usage, b"12")).usage == Usage(input=9, output=12)
        assert read(body % (content, usage, b"13")).usage is None
