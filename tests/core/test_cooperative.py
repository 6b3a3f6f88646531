"""Large texts in steps: wherever they are cut, what is said of them is what is said of them at once."""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatgpt_agent.core import cooperative as steps
from chatgpt_agent.core.cooperative import PIECE, find, run_to_end
from chatgpt_agent.core.errors import ClientError, InvalidJson
from chatgpt_agent.core.http import input_size as contents
from chatgpt_agent.core.http import meter
from chatgpt_agent.core.http import request as requests
from chatgpt_agent.core.http.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, TRANSCRIPTIONS, Endpoint
from chatgpt_agent.core.http.meter import SLICE, read_whole, reading
from chatgpt_agent.core.http.request import ApiRequest, parse_request, parsing

sizes = st.integers(8, 40)

# What contents are made of: words, what may follow them, and what may look like one.
WORDS = (
    '"type"', '"id"', '"image_url"', '"file_data"', '"file_id"', '"input_audio"', '"url"', '"detail"', '"data"',
    '"null', "type", '"', ":", " : ", "[", "{", "}", ",", "]", " ", "  \n\t ", "null", "AAAA", '"low"', '"mcp"',
    '"image_generation"', '"web_search_1"', '"data:image/png;base64,', '"data:;base64,AAAA"',
    "\\u00", "\\u0074", "\\u0061ype", "\\", "\\\\", "é",
)  # fmt: skip
texts = st.lists(st.sampled_from(WORDS), max_size=30).map("".join)

# The same with regular expressions over all of it.
LINKS = re.compile(
    rb'"(?:image_url|file_id|file_data|file_url|input_audio)"\s*:\s*+(?!null)'
    rb'|"type"\s*:\s*"(?:item_reference|web_search[a-z0-9_]*|file_search|code_interpreter|mcp|shell)"'
)
BARE_ITEM = re.compile(rb'[\[,]\s*\{\s*"id"\s*:\s*"[^"]*"\s*\}|"type"\s*:\s*null')
IMAGE_TOOL = re.compile(rb'"type"\s*:\s*"image_generation"')
DATA = re.compile(
    rb'"(?:file_data"|image_url"(?:\s*:\s*\{\s*(?:"detail"\s*:\s*"[a-z]*"\s*,\s*)?"url")?)\s*:\s*'
    rb'"data:[a-zA-Z0-9.+/\\;=-]{0,128}?base64,([^"]*)"'
    rb'|"input_audio"\s*:\s*\{\s*(?:"format"\s*:\s*"[a-z0-9]*"\s*,\s*)?"data"\s*:\s*"([^"]*)"'
)
ESCAPED = re.compile(rb"\\u00(3[0-9]|5[fF]|6[1-9a-fA-F]|7[0-9aA])")


@contextlib.contextmanager
def cut(size: int) -> Iterator[None]:
    """Steps over so many bytes each."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (steps, contents, requests):
            patch.setattr(module, "PIECE", size)
        yield


@given(
    text=st.text("ab", max_size=40), word=st.text("ab", min_size=1, max_size=5), size=sizes, start=st.integers(0, 41)
)
def test_a_word_is_found_across_pieces(text: str, word: str, size: int, start: int) -> None:
    """At the same place as in one piece."""
    with cut(size):
        assert run_to_end(find(text.encode(), word.encode(), start)) == text.encode().find(word.encode(), start)


@settings(deadline=None)
@given(text=texts, size=sizes)
def test_escapes_are_read_across_pieces(text: str, size: int) -> None:
    """No escape is lost where the text is cut."""
    body = text.encode()
    plain = ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), body)
    with cut(size):
        assert run_to_end(contents.unescape_ascii(body)) == plain


@settings(deadline=None, max_examples=400)
@given(text=texts, size=sizes)
@example(text='"type" [ { "id" : "a" } , {"id":"b"},{"id":""}', size=8)
@example(text='[{"id":"a,{"id":"b"}"type":"mcp" "type"type":null', size=9)
def test_links_are_counted_across_pieces(text: str, size: int) -> None:
    """As regular expressions over all of the text count them."""
    plain = text.encode()
    links = len(BARE_ITEM.findall(plain))
    if b'"type"' in plain:
        links += sum(1 for _ in LINKS.finditer(plain))
    with cut(size):
        assert run_to_end(contents.measure_input(plain, plain, items=True))[1] == links
        assert run_to_end(contents.count_image_tools(plain)) == len(IMAGE_TOOL.findall(plain))


@settings(deadline=None, max_examples=400)
@given(parts=st.lists(texts, max_size=4), size=sizes)
def test_data_within_links_is_no_text_across_pieces(parts: list[str], size: int) -> None:
    """However long it is."""
    link = '"type" "image_url":{"url":"data:image/png;base64,' + "A" * 60 + '"}'
    body = link.join(parts).encode() + b'"'
    data = sum(len(found[1] or found[2] or b"") for found in DATA.finditer(body))
    with cut(size):
        text, links = run_to_end(contents.measure_input(body, body))
    assert text == len(body) - (data if links else 0)


@given(
    text=st.lists(st.sampled_from([b"a", b"\xc3", b"\xa9", b"\xe4\xb8\x96", b"\xed\xa0\x80", b"\xf0\x9f"])).map(
        b"".join
    )
)
def test_text_that_is_no_utf8_is_refused_across_pieces(text: bytes) -> None:
    """Also where a character is cut, and none else."""
    body = b'{"model": "x", "input": "' + text + b'"}'
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        with cut(8), pytest.raises(InvalidJson):
            parse_request(CHAT, body)
    else:
        with cut(8):
            assert parse_request(CHAT, body).body == body


# Of bodies as they may come, most of them good.
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["auto", "é", "a\nb", "image_generation", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "id", "image_url", "url", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = ("model", "stream", "stream_options", "n", "max_tokens", "input", "prompt", "messages", "service_tier", "a", "b")
bodies = st.lists(st.tuples(st.sampled_from(KEYS), values), max_size=5)


def verdict(endpoint: Endpoint, body: bytes) -> ApiRequest | tuple[type, str]:
    try:
        return parse_request(endpoint, body)
    except ClientError as error:
        return type(error), error.message


@settings(deadline=None, max_examples=300)
@given(
    pairs=bodies,
    size=sizes,
    endpoint=st.sampled_from([CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS]),
    stream=st.sampled_from(["true", "false", '"true"']),
    end=st.sampled_from(["}", "} ", "", "}x"]),
)
def test_a_request_is_read_alike_in_pieces(
    pairs: list[tuple[str, Any]], size: int, endpoint: Endpoint, stream: str, end: str
) -> None:
    """What is refused at once is refused in steps, with the same words, and what is taken is taken for the same."""
    members = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs]
    body = ("{" + " , ".join(['"model":"m"', f'"stream":{stream}', *members]) + end).encode()
    whole = verdict(endpoint, body)
    with cut(size):
        assert verdict(endpoint, body) == whole


def test_steps_over_a_large_body_are_many() -> None:
    """None of them is over all of it, for each kind of body."""
    text = b'{"model":"m","type":"\xc3\xa9\\u0041","a":"' + b"x" * 8 * PIECE + b'"}'
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b\r\n'
    form += b'Content-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 8 * PIECE + b"\r\n--b--"
    for endpoint, body in ((CHAT, text), (RESPONSES, text), (TRANSCRIPTIONS, form)):
        assert sum(1 for _ in parsing(endpoint, body, "multipart/form-data; boundary=b")) >= 16


# Answers.

LONG = SLICE * 2
runs = st.sampled_from(
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


@settings(deadline=None, max_examples=300)
@given(
    template=st.sampled_from(TEMPLATES),
    inner=st.lists(runs, min_size=1, max_size=2),
    shift=st.integers(0, SLICE),
    size=st.integers(SLICE, 3 * SLICE),
)
@example(template=TEMPLATES[0], inner=["A" * LONG], shift=0, size=LONG)
@example(template=TEMPLATES[1], inner=["0.125, " * (LONG // 7)], shift=0, size=LONG)
@example(template=TEMPLATES[1], inner=["7" * LONG], shift=0, size=LONG)
@example(template=TEMPLATES[2], inner=["é" * LONG], shift=1, size=LONG)
def test_an_answer_says_the_same_in_pieces(template: tuple[str, str], inner: list[str], shift: int, size: int) -> None:
    """Wherever it is cut, good JSON or not."""
    body = (" " * shift + "".join(inner).join(template)).encode()
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert run_to_end(reading(pieces, EMBEDDINGS)) == read_whole(body, EMBEDDINGS)


@pytest.mark.parametrize("run", ["A" * LONG, "word " * LONG, "世" * LONG, "0.125, " * LONG])
def test_a_long_text_or_vector_is_not_put_together(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decoded is a small part of it."""
    decoded: list[int] = []
    monkeypatch.setattr(meter, "read_whole", lambda body, endpoint: decoded.append(len(body)))
    run_to_end(reading([run.encode()], EMBEDDINGS))
    assert decoded[0] < len(run.encode()) / 3
