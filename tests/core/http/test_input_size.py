"""How much input a body may be: its text, and what its bytes do not tell."""

import json
import time
from typing import Any

import pytest

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.errors import InvalidRequest
from chatgpt_agent.core.http import input_size as contents
from chatgpt_agent.core.http.input_size import MAX_ESCAPES, unescape_ascii

DATA = "iVBORw0KGgo/+" * 400 + "A="
URI = f"data:image/png;base64,{DATA}"


def measure_input(body: bytes, *, items: bool = False) -> tuple[int, int]:
    return run_to_end(contents.measure_input(body, run_to_end(unescape_ascii(body)), stored_items=items))


def count_image_tools(body: bytes) -> int:
    return run_to_end(contents.count_image_tools(run_to_end(unescape_ascii(body))))


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def chat(*parts: dict[str, Any]) -> bytes:
    return dump({"model": "x", "messages": [{"role": "user", "content": list(parts)}]})


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "hello"}]},
        {"messages": [{"role": "user", "content": 'a "image_url": and a "file_id": "x" and base64,AAAA'}]},
        {"messages": [], "tools": [{"type": "function", "function": {"name": "search_files"}}]},
        {"input": "x", "tools": [{"type": "custom", "name": "image_url"}]},
        {"input": [{"type": "input_image", "image_url": None}]},
    ],
)
def test_text_is_weighed_by_its_bytes(body: object) -> None:
    """Text that speaks of links has none."""
    assert measure_input(dump(body)) == (len(dump(body)), 0)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "image_url", "image_url": {"url": URI}},
        {"type": "image_url", "image_url": {"detail": "high", "url": URI}},
        {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": DATA}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{DATA}"}},
        {"type": "input_image", "image_url": URI},
        {"type": "input_image", "file_id": "file-1", "image_url": None},
        {"type": "input_file", "file_url": "https://example.org/a.pdf"},
        {"type": "item_reference", "id": "msg_1"},
    ],
)
def test_each_link_counts_once(part: dict[str, Any]) -> None:
    """However it is written; binary data within is no text."""
    text, links = measure_input(chat(part, part))
    assert links == 2
    assert text == len(chat(part, part)) - 2 * len(DATA) * (DATA in json.dumps(part))


@pytest.mark.parametrize(
    "kind", ["web_search", "web_search_preview", "file_search", "code_interpreter", "mcp", "shell"]
)
def test_tools_bring_in_what_they_find(kind: str) -> None:
    """Each of OpenAI's own tools is a link."""
    assert measure_input(dump({"input": "x", "tools": [{"type": kind}, {"type": "function"}]}))[1] == 1


def test_a_stored_item_may_lack_its_type() -> None:
    """An id alone refers to one."""
    body = dump({"input": [{"id": "msg_1"}, {"type": "message", "id": "msg_2", "content": "x"}]})
    assert measure_input(body, items=True)[1] == 1
    assert measure_input(dump({"input": [{"id": "msg_1", "type": None}]}), items=True)[1] == 1


@pytest.mark.parametrize("escape", ["image\\u005furl", "\\u0069mage_url", "image_\\u0075\\u0072\\u006C"])
def test_escapes_hide_no_link(escape: str) -> None:
    """A key is the same with its letters escaped."""
    body = b'{"input":[{"type":"input_image","%s":"https://example.org/a"}]}' % escape.encode()
    assert measure_input(body)[1] == 1
    assert count_image_tools(b'{"tools":[{"type" : "image\\u005fgeneration"}]}') == 1


def test_too_many_escapes_are_refused() -> None:
    """Nobody writes letters so."""
    with pytest.raises(InvalidRequest):
        measure_input(b'{"input":"' + b"\\u0061" * (MAX_ESCAPES + 1) + b'"}')
    measure_input(dump({"input": "é<>&" * 100_000}))


def test_base64_in_a_text_is_text() -> None:
    """Nobody gets tokens for nothing by writing them like data."""
    part = {"type": "text", "text": f'"image_url": {{"url": "{URI}"'}
    assert measure_input(chat(part)) == (len(chat(part)), 0)
    escaped = chat(part).replace(b'\\"', b"\\u0022")
    assert measure_input(escaped)[0] == len(escaped)


def test_escaped_slashes_are_no_end() -> None:
    """PHP writes them."""
    body = chat({"type": "image_url", "image_url": {"url": URI}}).replace(b"/", b"\\/")
    assert measure_input(body)[0] < 300


@pytest.mark.parametrize(
    "piece",
    [
        b'"type":"image_url",',
        b'"input_audio":{',
        b'"image_url":{"detail":"a',
        b'{"id" ',
        b"\\\\u00",
        b'"file_data":"data:a',
    ],
)
def test_a_large_body_takes_no_long_time(piece: bytes) -> None:
    """10 MB that were made to be slow to search."""
    body = b'"type" "input_audio" base64, image_generation ' + piece * (10_000_000 // len(piece))
    began = time.process_time()
    measure_input(body, items=True)
    count_image_tools(body)
    assert time.process_time() - began < 2
