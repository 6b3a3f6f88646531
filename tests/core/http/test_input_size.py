"""The input of a body: its text and its attachments."""

import json
import time
from typing import Any

import pytest

from chatgpt_agent.core.cooperative import run_to_end
from chatgpt_agent.core.errors import InvalidRequest
from chatgpt_agent.core.http import input_size
from chatgpt_agent.core.http.input_size import MAX_ESCAPES, unescape_ascii

DATA = "iVBORw0KGgo/+" * 400 + "A="
URI = f"data:image/png;base64,{DATA}"


def measure_input(body: bytes, *, stored_items: bool = False) -> tuple[int, int]:
    return run_to_end(input_size.measure_input(body, run_to_end(unescape_ascii(body)), stored_items=stored_items))


def count_image_tools(body: bytes) -> int:
    return run_to_end(input_size.count_image_tools(run_to_end(unescape_ascii(body))))


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
def test_text_is_measured_in_bytes(body: object) -> None:
    """Text is measured in bytes, and text that looks like an attachment is not one."""
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
def test_each_attachment_is_counted_once(part: dict[str, Any]) -> None:
    """Each attachment is counted once, however it is written, and its binary data is not text."""
    input_bytes, attachments = measure_input(chat(part, part))
    assert attachments == 2
    assert input_bytes == len(chat(part, part)) - 2 * len(DATA) * (DATA in json.dumps(part))


@pytest.mark.parametrize(
    "kind", ["web_search", "web_search_preview", "file_search", "code_interpreter", "mcp", "shell"]
)
def test_tools_of_openai_are_attachments(kind: str) -> None:
    """Each of OpenAI's own tools is an attachment, because it adds what it finds to the input."""
    assert measure_input(dump({"input": "x", "tools": [{"type": kind}, {"type": "function"}]}))[1] == 1


def test_stored_item_may_lack_its_type() -> None:
    """An object with only an id in a list refers to a stored item."""
    body = dump({"input": [{"id": "msg_1"}, {"type": "message", "id": "msg_2", "content": "x"}]})
    assert measure_input(body, stored_items=True)[1] == 1
    assert measure_input(dump({"input": [{"id": "msg_1", "type": None}]}), stored_items=True)[1] == 1


@pytest.mark.parametrize("escape", ["image\\u005furl", "\\u0069mage_url", "image_\\u0075\\u0072\\u006C"])
def test_escapes_do_not_hide_attachments(escape: str) -> None:
    """A key with escaped letters is recognized."""
    body = b'{"input":[{"type":"input_image","%s":"https://example.org/a"}]}' % escape.encode()
    assert measure_input(body)[1] == 1
    assert count_image_tools(b'{"tools":[{"type" : "image\\u005fgeneration"}]}') == 1


def test_too_many_escapes_are_refused() -> None:
    """A body with too many escaped ASCII letters is refused; other escapes are not limited."""
    with pytest.raises(InvalidRequest):
        measure_input(b'{"input":"' + b"\\u0061" * (MAX_ESCAPES + 1) + b'"}')
    measure_input(dump({"input": "é<>&" * 100_000}))


def test_base64_in_a_text_is_text() -> None:
    """Text that is written like binary data is measured as text."""
    part = {"type": "text", "text": f'"image_url": {{"url": "{URI}"'}
    assert measure_input(chat(part)) == (len(chat(part)), 0)
    escaped = chat(part).replace(b'\\"', b"\\u0022")
    assert measure_input(escaped)[0] == len(escaped)


def test_escaped_slashes_are_part_of_the_data() -> None:
    """Binary data with escaped slashes, as PHP writes them, is recognized."""
    body = chat({"type": "image_url", "image_url": {"url": URI}}).replace(b"/", b"\\/")
    assert measure_input(body)[0] < 300


@pytest.mark.parametrize(
    "part",
    [
        b'"type":"image_url",',
        b'"input_audio":{',
        b'"image_url":{"detail":"a',
        b'{"id" ',
        b"\\\\u00",
        b'"file_data":"data:a',
    ],
)
def test_adversarial_body_is_measured_quickly(part: bytes) -> None:
    """A body of 10 MB that is made to be slow to search takes less than two seconds."""
    body = b'"type" "input_audio" base64, image_generation ' + part * (10_000_000 // len(part))
    started = time.process_time()
    measure_input(body, stored_items=True)
    count_image_tools(body)
    assert time.process_time() - started < 2
