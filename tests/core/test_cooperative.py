"""Large texts are read in slices with the same result as at once, wherever they are cut."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatgpt_agent.core.cooperative import SLICE, find, run_to_end
from chatgpt_agent.core.errors import ClientError, InvalidJson
from chatgpt_agent.core.http.answer import WINDOW, read_answer
from chatgpt_agent.core.http.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, TRANSCRIPTIONS, Endpoint
from chatgpt_agent.core.http.request import ApiRequest, parse_request
from chatgpt_agent.core.usage import Answer
from tests.support.slices import slices_of

sizes = st.integers(8, 40)


def read(chunks: list[bytes]) -> Answer:
    return run_to_end(read_answer(chunks, EMBEDDINGS))


@given(
    text=st.text("ab", max_size=40), word=st.text("ab", min_size=1, max_size=5), size=sizes, start=st.integers(0, 41)
)
def test_word_is_found_across_slices(text: str, word: str, size: int, start: int) -> None:
    """A word is found at the same place in slices as at once."""
    with slices_of(size):
        assert run_to_end(find(text.encode(), word.encode(), start)) == text.encode().find(word.encode(), start)


@given(
    text=st.lists(st.sampled_from([b"a", b"\xc3", b"\xa9", b"\xe4\xb8\x96", b"\xed\xa0\x80", b"\xf0\x9f"])).map(
        b"".join
    )
)
def test_invalid_utf8_is_refused_across_slices(text: bytes) -> None:
    """A body is refused if and only if it is not UTF-8, also where a character is cut."""
    body = b'{"model": "x", "input": "' + text + b'"}'
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        with slices_of(8), pytest.raises(InvalidJson):
            run_to_end(parse_request(CHAT, body))
    else:
        with slices_of(8):
            assert run_to_end(parse_request(CHAT, body)).body == body


# Members of bodies, most of them valid.
LONGS = ("data:image/png;base64," + "A/" * 800, "word " * 300, "é" * 700, "image_url", "input_image", "message")
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 3)
    | st.sampled_from(["auto", "é", "a\nb", "image_generation", "", *LONGS]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "id", "image_url", "url", "a", "content", "file_data", "role"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
KEYS = ("model", "stream", "stream_options", "n", "max_tokens", "input", "prompt", "messages", "service_tier", "a", "b")
bodies = st.lists(st.tuples(st.sampled_from(KEYS), values), max_size=5)


def verdict(endpoint: Endpoint, body: bytes) -> ApiRequest | tuple[type, str]:
    try:
        return run_to_end(parse_request(endpoint, body))
    except ClientError as error:
        return type(error), error.message


@settings(max_examples=300)
@example(pairs=[("stream_options", {"file_data": "é" * 700})], size=8, endpoint=CHAT, stream="true", end="}")
@given(
    pairs=bodies,
    size=sizes,
    endpoint=st.sampled_from([CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS]),
    stream=st.sampled_from(["true", "false", '"true"']),
    end=st.sampled_from(["}", "} ", "", "}x"]),
)
def test_request_is_read_alike_in_slices(
    pairs: list[tuple[str, Any]], size: int, endpoint: Endpoint, stream: str, end: str
) -> None:
    """A request is accepted as the same, or refused with the same message, in slices as at once."""
    members = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs]
    body = ("{" + " , ".join(['"model":"m"', f'"stream":{stream}', *members]) + end).encode()
    at_once = verdict(endpoint, body)
    with slices_of(size):
        assert verdict(endpoint, body) == at_once


def test_large_body_is_read_in_many_slices() -> None:
    """No slice covers the whole body, for each kind of body."""
    text = b'{"model":"m","type":"\xc3\xa9\\u0041","a":"' + b"x" * 8 * SLICE + b'"}'
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b\r\n'
    form += b'Content-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 8 * SLICE + b"\r\n--b--"
    for endpoint, body in ((CHAT, text), (RESPONSES, text), (TRANSCRIPTIONS, form)):
        assert sum(1 for _ in parse_request(endpoint, body, "multipart/form-data; boundary=b")) >= 16


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_small_body_is_read_at_once(endpoint: Endpoint) -> None:
    """A body of up to a slice is read without a yield, also if it has escapes and attachments."""
    body = b'{"model":"m","type":"\xc3\xa9\\u0041","image_url":"x","id":"a","a":"' + b"x" * (SLICE - 100) + b'"}'
    assert len(body) <= SLICE
    assert list(parse_request(endpoint, body)) == []


# Answers.

LONG = WINDOW * 2
long_texts = st.sampled_from(
    [
        "A" * LONG,
        "word " * (LONG // 5),
        "é" * LONG,
        "\\u00e9" * (LONG // 6),
        "0.125, " * (LONG // 7),
        "-1e5," * (LONG // 5),
        "1,,2," * (LONG // 5),
        "1 2," * (LONG // 4),
        "01," * (LONG // 3),
        "7" * LONG,
        " " * LONG,
        "A" * LONG + "\x01",
        "A" * LONG + "\\",
        "true," * (LONG // 5),
        '"a",' * (LONG // 4),
    ]
)
TEMPLATES = (
    ('{"data":["', '"],"usage":{"prompt_tokens":3,"total_tokens":3},"model":"m"}'),
    ('{"data":[', '1],"usage":{"prompt_tokens":3,"total_tokens":3},"model":"m"}'),
    ('{"model":"', '","usage":{"prompt_tokens":3,"total_tokens":3}}'),
    ('{"usage":{"prompt_tokens":3,"total_tokens":3,"a":[', "1]}}"),
    ('{"usage":{"prompt_tokens":3}, ', '"model":"m"}'),
    ('{"usage":{"prompt_tokens":', '3},"model":"m"}'),
)


@settings(max_examples=300)
@given(
    template=st.sampled_from(TEMPLATES),
    inner=st.lists(long_texts, min_size=1, max_size=2),
    shift=st.integers(0, WINDOW),
    size=st.integers(WINDOW, 3 * WINDOW),
)
@example(template=TEMPLATES[0], inner=["A" * LONG], shift=0, size=LONG)
@example(template=TEMPLATES[1], inner=["0.125, " * (LONG // 7)], shift=0, size=LONG)
@example(template=TEMPLATES[1], inner=["7" * LONG], shift=0, size=LONG)
@example(template=TEMPLATES[2], inner=["é" * LONG], shift=1, size=LONG)
def test_answer_is_read_alike_in_slices(template: tuple[str, str], inner: list[str], shift: int, size: int) -> None:
    """An answer reports the same in slices as at once, wherever it is cut, valid JSON or not."""
    body = (" " * shift + "".join(inner).join(template)).encode()
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    at_once = read(chunks)
    with slices_of(1):
        assert read(chunks) == at_once


def test_small_answer_is_read_at_once() -> None:
    """An answer of up to a slice is read without a yield."""
    assert list(read_answer([b" " * (SLICE // 2)] * 2, EMBEDDINGS)) == []


@pytest.mark.parametrize("text", ["A" * LONG, "word " * LONG, "世" * LONG, "0.125, " * LONG])
def test_long_string_or_vector_is_shortened(text: str) -> None:
    """Reading a huge string or vector needs memory for less than a third of it."""
    chunks = [text.encode() * (16 * SLICE // len(text.encode()))] * 2
    tracemalloc.start()
    read(chunks)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < sum(map(len, chunks)) / 3
